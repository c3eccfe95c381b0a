"""Strata, arms and confounders: what is equal, what is told apart, and what is named."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trial_builders import a_stratum

from airflow_llm_provisioning.core.arm import (
    Arm,
    Stratum,
    comparable_environment,
    confounders,
    confounders_between,
    image_digest,
    observed_facts,
    told_apart,
)

VALUES = (
    st.none()
    | st.integers()
    | st.text(max_size=8)
    | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
)
COMPARED = [field.name for field in fields(Stratum) if field.compare]


def environment(**facts: str) -> dict[str, object]:
    """An environment as `environment_of` returns it; facts as `worker_zone`, `head_instance_type`, `ray`."""
    found: dict[str, object] = {"head": {}, "worker": {}}
    for name, value in facts.items():
        role, _, key = name.partition("_")
        if role in ("head", "worker"):
            found[role][key] = value  # type: ignore[index]
        else:
            found[name] = value
    return found


@pytest.mark.parametrize("name", COMPARED)
def test_every_compared_field_makes_another_stratum(name: str) -> None:
    """Another value of any field gives another key, and the difference is named by it."""
    one, other = a_stratum(), a_stratum(**{name: "something else"})
    assert one.key != other.key
    assert one.differences(other) == (name,)
    assert Arm(one, "improved").key != Arm(other, "improved").key


def test_a_label_makes_no_other_stratum() -> None:
    """The workload's name is for people: two experiment files may give the same content two names."""
    one, other = a_stratum(workload="phi3"), a_stratum(workload="my phi")
    assert one == other
    assert one.key == other.key


def test_an_arm_is_its_stratum_its_variant_and_its_treatments_in_any_order() -> None:
    """The same variant with another list of treatments is another arm; the order of the list says nothing."""
    stratum = a_stratum()
    keys = [Arm(stratum, "v", treatments).key for treatments in (("a", "b"), ("b", "a"), ("a",), ())]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert Arm(stratum, "w", ("a", "b")).key != keys[0]


def test_a_baseline_has_no_treatments() -> None:
    """A variant that calls itself baseline and has treatments is not what others are compared with."""
    assert Arm(a_stratum(), "baseline").is_baseline
    assert not Arm(a_stratum(), "baseline", ("fast_download",)).is_baseline
    assert not Arm(a_stratum(), "improved").is_baseline


@given(
    st.builds(Stratum, **{name: st.text(max_size=5) for name in (*COMPARED, "workload")}),
    st.lists(st.text(), max_size=3),
)
def test_an_arm_reads_back_as_it_was_written(stratum: Stratum, treatments: list[str]) -> None:
    """As JSON and back: the same arm with the same key, its label included."""
    arm = Arm(stratum, "v", tuple(treatments))
    read = Arm.from_dict(arm.as_dict())
    assert read == arm
    assert read.key == arm.key
    assert read.label == arm.label


def test_strata_that_differ_in_their_set_up_only_are_one_family() -> None:
    """Static and dynamic stand under one heading, and are two strata."""
    static, dynamic = a_stratum(), a_stratum(setup="dynamic")
    assert static.key != dynamic.key
    assert static.family == dynamic.family
    assert told_apart([static, dynamic]) == {static.family: ""}


def test_a_heading_names_what_differs_and_nothing_else() -> None:
    """Of two families with another node autoscaler only the autoscaler is named."""
    luna, karpenter = a_stratum(), a_stratum(autoscaler="karpenter")
    assert told_apart([luna, karpenter]) == {
        luna.family: "node autoscaler luna",
        karpenter.family: "node autoscaler karpenter",
    }


def test_a_row_of_version_0_1_says_so() -> None:
    """In its label and in a heading beside newer rows; what it did not record is not said three times."""
    old = a_stratum(region=None, autoscaler=None, nodes="0.1:nightly")
    new = a_stratum()
    assert "version 0.1, experiment nightly" in old.label
    assert "version 0.1" not in new.label
    headings = told_apart([old, new])
    assert headings[old.family] == "version 0.1, experiment nightly"
    assert headings[new.family] == "region us-west-2, node autoscaler luna, node profile ba9876543210"


def test_a_fact_with_two_values_is_named_with_their_numbers() -> None:
    """What was not observed in a trial says nothing about it."""
    seen = [environment(worker_zone=zone, ray="2.33.0") for zone in ("a", "b", "a")]
    (found,) = confounders([*seen, environment(ray="2.33.0")])
    assert str(found) == "worker zone: a (2), b (1)"


def test_a_fact_that_differs_between_two_arms_is_named_with_both_sides() -> None:
    """16 GB instead of 15 GB, as the origin noted of one of its own arms."""
    own = [environment(head_instance_type="e2-standard-4", ray="2.33.0")] * 3
    base = [environment(head_instance_type="e2-custom-4-15360", ray="2.33.0", kuberay="v1.1.0")] * 2
    (found,) = confounders_between(own, base)
    assert str(found) == "head instance type: e2-standard-4 (3), baseline e2-custom-4-15360 (2)"


def test_the_same_values_in_other_numbers_are_no_confounder() -> None:
    """Two arms that both ran in zones a and b have the same set of zones."""
    a, b = environment(worker_zone="a"), environment(worker_zone="b")
    assert confounders_between([a, a, b], [b, a]) == ()


def test_another_image_is_the_work_of_a_treatment_and_another_digest_is_not() -> None:
    """A baked image has a digest of its own. The same reference with two digests is a tag that moved."""
    plain = environment(worker_image="ray:1", worker_image_digest="sha256:a")
    baked = environment(worker_image="registry/serving:r-1", worker_image_digest="sha256:b")
    moved = replace_digest(plain, "sha256:c")
    assert confounders_between([baked], [plain]) == ()
    (found,) = confounders_between([moved], [plain])
    assert str(found) == "image digest of ray:1: sha256:c (1), baseline sha256:a (1)"


def replace_digest(seen: dict[str, object], digest: str) -> dict[str, object]:
    return {**seen, "worker": {**seen["worker"], "image_digest": digest}}  # type: ignore[dict-item]


def test_the_minor_version_is_read_from_what_the_api_server_says() -> None:
    """A patch release is no other Kubernetes; another minor is. A version that is no text is not observed."""
    minor = [
        observed_facts({"cluster": {"gitVersion": version}})
        for version in ("v1.34.1-eks-3025e55", "v1.34.0", "v1.35.0")
    ]
    assert [facts["Kubernetes minor"] for facts in minor] == ["1.34", "1.34", "1.35"]
    assert observed_facts({"cluster": {"gitVersion": 1.34}}) == {}
    assert observed_facts({"cluster": "v1.34", "worker": ["x"]}) == {}


def test_an_origin_that_the_cluster_states_replaces_the_planned_one() -> None:
    """Everything else of the arm stays."""
    arm = Arm(a_stratum(origin="unknown"), "improved", ("a",))
    assert arm.seen_at("simulated") == replace(arm, stratum=a_stratum())


@given(
    head=st.none() | st.just("text") | st.dictionaries(st.sampled_from(["instance_type", "zone", "node"]), VALUES),
    worker=st.dictionaries(
        st.sampled_from(["instance_type", "zone", "gpu", "driver", "os_image", "image", "image_digest"]), VALUES
    ),
    cluster=st.none() | st.just("v1.34") | st.dictionaries(st.sampled_from(["gitVersion", "minor"]), VALUES),
    kuberay=VALUES,
)
def test_the_part_that_many_trials_share_says_the_same_facts(**parts: Any) -> None:
    """What the store repeats of an environment gives every fact and the digest of the whole."""
    kept = comparable_environment(parts)
    assert observed_facts(kept) == observed_facts(parts)
    assert image_digest(kept) == image_digest(parts)
    assert comparable_environment(kept) == kept
