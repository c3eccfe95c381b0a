"""The plan is a permutation of the cells; what cannot work is one sentence when it is read."""

import copy
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.experiment import Experiment, Target, experiment_from
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ConfigurationError


def target_data(name: str = "eks-plain", **fields: Any) -> dict[str, Any]:
    nodes = {"cloud": "eks", "autoscaler": "luna", "kubernetes_minor": "1.34", **fields.pop("nodes", {})}
    return {
        "name": name,
        "cluster": name,
        "conn_id": "k8s",
        "variants": ["baseline", "fast_download"],
        "nodes": nodes,
    } | fields


def experiment(*targets: dict[str, Any], **fields: Any) -> Experiment:
    return experiment_from({"name": "nightly", "targets": list(targets) or [target_data()], **fields})


def several(replicates: int) -> Experiment:
    one, two = target_data("a", cluster="shared"), target_data("b", cluster="shared", variants=["improved"])
    return experiment(one, two, target_data("c", nodes={"cloud": "gke"}), replicates=replicates)


@given(seed=st.integers(0, 2**63), replicates=st.integers(1, 5))
def test_a_plan_holds_every_cell_once_per_replicate(seed: int, replicates: int) -> None:
    """Nothing is left out, nothing runs twice."""
    drawn = several(replicates)
    planned = drawn.plan(seed)
    assert Counter((trial.cell, trial.replicate) for trial in planned) == Counter(
        (cell, replicate) for cell in drawn.cells() for replicate in range(replicates)
    )


@given(seed=st.integers(0, 2**63))
def test_slots_count_up_per_cluster_as_the_dag_was_unrolled(seed: int) -> None:
    """Every slot that the DAG has gets exactly one trial, numbered from 0."""
    drawn = several(3)
    taken: dict[str, list[int]] = {}
    for trial in drawn.plan(seed):
        taken.setdefault(trial.cluster, []).append(trial.slot)
    assert taken == {cluster: list(range(count)) for cluster, count in drawn.slots().items()}


@given(seed=st.integers(0, 2**63))
def test_replicates_interleave(seed: int) -> None:
    """Drift hits every cell alike: on a cluster no replicate begins before the one before it has ended."""
    for cluster in ("shared", "c"):
        replicates = [trial.replicate for trial in several(3).plan(seed) if trial.cluster == cluster]
        assert replicates == sorted(replicates)


def test_the_same_seed_draws_the_same_plan_and_others_differ() -> None:
    """A plan can be drawn again from what is stored; twenty seeds give more than one order."""
    drawn = several(2)
    assert drawn.plan(5) == drawn.plan(5)
    assert len({tuple(trial.cell for trial in drawn.plan(seed)) for seed in range(20)}) > 1


def test_a_planned_trial_is_plain_json() -> None:
    """XCom gets plain text, not an enum; the seed is in every trial."""
    data = experiment().plan(7)[0].as_dict()
    assert type(data["setup"]) is str
    assert data["seed"] == 7
    assert set(data) == {"target", "cloud", "setup", "variant", "profile", "cluster", "replicate", "slot", "seed"}


def test_narrowing_leaves_one_cell_once() -> None:
    """A trial by hand is one trial of the chosen target."""
    one = several(3).narrowed(target="b", setup="dynamic", variant="improved", profile="phi3-current")
    (trial,) = one.plan(1)
    assert (trial.cell.key, trial.cell.profile, trial.cluster) == ("b/dynamic/improved", "phi3-current", "shared")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"target": "nowhere"}, "Target 'nowhere' is unknown: choose one of a, b, c"),
        ({"variant": "improved"}, "'a' was prepared for baseline, fast_download, not for variant 'improved'"),
        ({"setup": "elastic"}, "'elastic' is unknown: choose static or dynamic"),
    ],
)
def test_a_cell_that_does_not_exist_is_refused(choice: dict[str, str], words: str) -> None:
    """What the form lets through is still checked, and what there is is named."""
    chosen = {"target": "a", "setup": "static", "variant": "baseline", "profile": "phi3-2025", **choice}
    with pytest.raises(ConfigurationError, match=words):
        several(1).narrowed(**chosen)


def test_clouds_are_chosen_by_name() -> None:
    """CLOUDS=gke leaves the targets of GKE; a cloud without targets, or none at all, is an error."""
    assert [target.name for target in several(1).on_clouds([" gke ", ""]).targets] == ["c"]
    with pytest.raises(ConfigurationError, match="no targets on aks: choose of eks, gke"):
        several(1).on_clouds(["eks", "aks"])
    with pytest.raises(ConfigurationError, match="no targets on no cloud"):
        several(1).on_clouds([""])


BAD_TARGETS = [
    ({"nodes": {"cloud": "oci"}}, "cloud 'oci' is unknown; one of eks, gke, aks, generic"),
    ({"nodes": {"autoscaler": "magic"}}, "node autoscaler 'magic' is unknown; one of luna, karpenter, native"),
    ({"nodes": {"kubernetes_minor": 1.3}}, "`kubernetes_minor` must be text, in quotes"),
    ({"nodes": {"gpu_skus": "L4"}}, "`gpu_skus` must be a list"),
    ({"nodes": {"gpus": 1}}, "unexpected keyword argument 'gpus'"),
    ({"variants": "baseline"}, "`variants` must be a list"),
    ({"colour": "red"}, "unexpected keyword argument 'colour'"),
    ({"conn_id": None}, "`conn_id` must be text"),
    ({"name": 5}, "`name` must be text"),
]


@pytest.mark.parametrize(("fields", "words"), BAD_TARGETS)
def test_a_bad_target_is_one_sentence(fields: dict[str, Any], words: str) -> None:
    """The field is named, and so is what it may be."""
    with pytest.raises(ConfigurationError, match=words) as raised:
        experiment(target_data(**fields))
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [None, [], "text", {"name": "x"}, {"name": "x", "nodes": []}])
def test_what_is_no_target_is_refused(data: Any) -> None:
    """For any YAML value in its place, the error is ours."""
    with pytest.raises(ConfigurationError):
        Target.from_dict(data)


BAD_EXPERIMENTS = [
    ({"name": "Ein Name"}, "cannot be part of a Kubernetes name"),
    ({"name": "x" * 41}, "at most 40 lower-case letters"),
    ({"name": ""}, "cannot be part of a Kubernetes name"),
    ({"name": None}, "An experiment has `name`"),
    ({"replicates": 0}, "repeats its cells 0 times"),
    ({"replicates": "two"}, "`replicates` is 'two', not a whole number"),
    ({"setups": "static"}, "`setups` must be a list"),
    ({"setups": ["elastic"]}, "'elastic' is not a valid ScalingSetup; choose static or dynamic"),
    ({"targets": []}, "needs targets with names of their own"),
    ({"targets": {"name": "x"}}, "`targets` must be a list"),
    ({"colour": "red"}, "found .*'colour'"),
]


@pytest.mark.parametrize(("fields", "words"), BAD_EXPERIMENTS)
def test_a_bad_experiment_is_one_sentence(fields: dict[str, Any], words: str) -> None:
    """It is refused when the DAG is parsed, before money is spent."""
    with pytest.raises(ConfigurationError, match=words):
        experiment_from({"name": "nightly", "targets": [target_data()], **fields})


@pytest.mark.parametrize("data", [None, [], "nightly"])
def test_what_is_no_experiment_is_refused(data: Any) -> None:
    """An empty file too."""
    with pytest.raises(ConfigurationError, match="An experiment has"):
        experiment_from(data)


def test_two_targets_of_one_name_are_refused() -> None:
    """Results are told apart by it."""
    with pytest.raises(ConfigurationError, match="names of their own"):
        experiment(target_data("a"), target_data("a"))


def test_a_cluster_has_one_namespace() -> None:
    """A lock that is a Lease does not reach over namespaces: two trials would run side by side."""
    with pytest.raises(ConfigurationError, match="'shared' use the namespaces default, other"):
        experiment(target_data("a", cluster="shared"), target_data("b", cluster="shared", namespace="other"))


def test_a_target_survives_the_round_trip() -> None:
    """What XCom carries reads back equal, tuples, options and all."""
    data = target_data(region="us-west-2", options={"project": "p"}, nodes={"gpu_skus": ["L4"], "options": {"a": 1}})
    target = Target.from_dict(copy.deepcopy(data))
    assert Target.from_dict(target.as_dict()) == target
    assert (target.variants, target.nodes.gpu_skus) == (("baseline", "fast_download"), ("L4",))


@pytest.mark.parametrize(
    ("nodes", "delivery"), [({}, "pull"), ({"snapshot": True}, "snapshot"), ({"streaming": True}, "streaming")]
)
def test_a_target_says_how_images_arrive(nodes: dict[str, Any], delivery: str) -> None:
    """One word, from its nodes."""
    assert Target.from_dict(target_data(nodes=nodes)).delivery == delivery


def test_references_hold_names_and_nothing_empty() -> None:
    """How cluster and cloud are opened; a cloud without connection has none."""
    plain = Target.from_dict(target_data())
    assert plain.cluster_reference() == {"conn_id": "k8s", "namespace": "default"}
    assert plain.cloud_reference() is None
    full = Target.from_dict(target_data(cloud_conn_id="aws", region="us-west-2", options={"account": "1"}))
    assert full.cloud_reference() == {
        "cloud": "eks",
        "conn_id": "aws",
        "region": "us-west-2",
        "account": "1",
        "cluster": {"conn_id": "k8s", "region": "us-west-2", "namespace": "default"},
    }
    generic = Target.from_dict(target_data(cloud_conn_id="x", nodes={"cloud": "generic"}))
    assert generic.cloud_reference() is None


def test_setups_default_to_both() -> None:
    """The origin ran both."""
    assert experiment().setups == (ScalingSetup.STATIC, ScalingSetup.DYNAMIC)
