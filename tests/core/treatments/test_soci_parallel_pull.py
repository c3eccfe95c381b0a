"""SOCI's parallel pull: refused where it would be ignored, believed where settings and rate agree."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from proof.recorded_trial import Scenario
from proof.targets import target, with_other_nodes
from proof.workloads import SERVED_2025
from treatment_recordings import Line, Recording, is_event, told, without_events, without_evidence

from airflow_llm_provisioning.core.manifests import images
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.treatments import (
    deployed_manifest,
    impossible,
    plan_deployment,
    resolved,
    treated_nodes,
    treatment,
)
from airflow_llm_provisioning.core.treatments.soci_parallel_pull import SETTINGS
from airflow_llm_provisioning.core.workload import Workload

sys.path.insert(0, str(Path(__file__).parents[1] / "manifests"))

from sample_manifests import sample

NAME = "soci_parallel_pull"
PLANNED = target("eks", "parallel_pull", "karpenter")


def scenario(**nodes: Any) -> Scenario:
    """Return a trial without noise, on nodes with other options than planned; None removes one."""
    options = {key: value for key, value in {**PLANNED.nodes.options, **nodes}.items() if value is not None}
    changed = with_other_nodes(PLANNED, options=options)
    return Scenario(target=PLANNED, declared=SERVED_2025, variant="parallel_pull", nodes=changed, noise=False)


@pytest.fixture(scope="module")
def proving() -> Recording:
    return Recording(scenario())


def pulled_at(bytes_s: float) -> Any:
    """Let every pull have taken as long as it takes at this rate."""

    def change(line: Line) -> Line:
        for key in ("message", "note") if is_event(line, "Pulled") else ():
            size = re.search(r"Image size: (\d+) bytes", line["object"].get(key) or "")
            if size:
                pull = f"in {int(size[1]) / bytes_s:.3f}s (1s including"
                line["object"][key] = re.sub(r"in \S+ \(\S+ including", pull, line["object"][key])
        return line

    return change


def test_settings_on_every_node_and_a_fast_pull_prove_it(proving: Recording) -> None:
    """AWS names user data and version of each node; each pod's pull has its rate."""
    found = proving.verdict(NAME)
    assert found.value == "yes"
    assert told(found).count("its settings ask for it") == 2
    assert told(found).count("faster than an ordinary pull") == 2
    assert (proving.row.start, proving.row.applied, proving.row.exclusion) == ("cold", "applied", None)


def test_an_ordinary_rate_refutes_it(proving: Recording) -> None:
    """Settings that had no effect are no acceleration."""
    found = proving.verdict(NAME, pulled_at(98e6))
    assert found.value == "no"
    assert "98 MB/s, as fast as an ordinary pull" in told(found)


def test_settings_that_the_system_ignores_refute_it() -> None:
    """Bottlerocket before 1.44 takes them without a word; the AMI's name tells it."""
    found = Recording(scenario(ami_alias="bottlerocket@v1.43.2")).verdict(NAME)
    assert found.value == "no"
    assert "Bottlerocket knows the setting since 1.44" in told(found)


@pytest.mark.parametrize(
    "silence",
    [without_evidence, without_events("Pulled"), pulled_at(180e6), pulled_at(149e6)],
    ids=["cloud", "kubelet", "doubtful", "slow link"],
)
def test_a_recording_that_does_not_tell_is_unknown(proving: Recording, silence: Any) -> None:
    """Without AWS's answer, without the kubelet's figures, and at a rate that ordinary pulls may have."""
    assert proving.verdict(NAME, silence).value == "unknown"


def test_an_image_that_was_not_pulled_was_not_pulled_in_parallel(proving: Recording) -> None:
    """A rate that no network has shows another delivery."""
    found = proving.verdict(NAME, pulled_at(5e9))
    assert found.value == "no"
    assert "was not pulled in full" in told(found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ami_alias": "bottlerocket@v1.43.2"}, "needs Bottlerocket 1.44 or newer"),
        ({"ami_alias": "al2023@latest"}, "settings of Bottlerocket"),
        ({"auto_mode": True}, "EKS Auto Mode takes no user data"),
        ({"throughput": 125}, "the disk eats the gain"),
    ],
)
def test_nodes_that_would_gain_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    """Before anything is prepared, with what to do."""
    nodes = NodeProfile("t", "eks", "karpenter", "1.34", options=options)
    assert [words in sentence for sentence in treatment(NAME).requires(nodes, SERVED_2025)] == [True]


def test_it_excludes_the_snapshot() -> None:
    """A variant with both is refused: the snapshotter does not see the snapshot's layers."""
    both = resolved(("bottlerocket_snapshot", NAME), "eks")
    treated = PLANNED.treated(treated_nodes(PLANNED.nodes, both))
    assert ["exclude each other" in sentence for sentence in impossible(both, treated, SERVED_2025)] == [True]


def test_a_volume_and_settings_of_the_users_own_stay() -> None:
    """The treatment adds its settings and the throughput that is missing."""
    given = {"throughput": 700, "user_data_settings": {"kernel": {"lockdown": "none"}}}
    nodes = treatment(NAME).nodes(NodeProfile("t", "eks", "karpenter", "1.34", options=given))
    assert nodes.options == {
        "throughput": 700,
        "iops": 16000,
        "user_data_settings": {"kernel": {"lockdown": "none"}, **SETTINGS},
    }


def test_a_manifest_of_the_users_own_is_served_from_the_targets_registry() -> None:
    """KubeRay's own LLM sample: only its image changes. Head and workers with different images are refused."""
    mine = Workload("mine", sample("kuberay-llm-serve"))
    made = deployed_manifest(plan_deployment(mine, [treatment(NAME)]), mine, "ours:r-1")
    assert images(made) == ("ours:r-1",)
    assert made["spec"]["serveConfigV2"] == mine.manifest["spec"]["serveConfigV2"]  # type: ignore[index]
    two = Workload("two", sample("kuberay-llm-serve"))
    container = two.manifest["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["image"] = "head:1"
    assert any("Give head and workers the same image" in why for why in treatment(NAME).requires(PLANNED.nodes, two))
