"""A buffer: nodes that placeholders hold, believed and called cold only where they are the prepared ones."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Line, Recording, is_event, told, without_events

from airflow_llm_provisioning.core.manifests.groups import ray_groups
from airflow_llm_provisioning.core.prepared_objects import PreparedObjects
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.treatments import StepContext, treatment
from airflow_llm_provisioning.core.treatments.kept_nodes import GROUP_LABEL, LABEL
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.preparation.objects import with_image_of

sys.path.insert(0, str(Path(__file__).parents[1] / "manifests"))

from sample_manifests import sample

NAME = "capacity_buffer"
PLANNED = target("eks", NAME, "karpenter")
PULLED = 'Successfully pulled image "i" in 3m20s (3m20s including waiting). Image size: 12674145693 bytes.'


@pytest.fixture(scope="module")
def proving() -> Recording:
    return Recording(Scenario(target=PLANNED, declared=SERVED_2025, variant=NAME, noise=False))


def prepared(change: Any) -> Any:
    """Change what the trial's header says of the buffer."""

    def changed(line: Line) -> Line:
        if line.get("type") == "HEADER":
            change(line["object"]["trial"]["opened"]["prepared"]["steps"])
        return line

    return changed


def forgotten(steps: dict[str, Any]) -> None:
    steps.clear()


def on_other_nodes(steps: dict[str, Any]) -> None:
    for node in steps["prepare_capacity_buffer"]["nodes"]:
        node["uid"] = f"another-{node['uid']}"


def with_young_nodes(line: Line) -> Line:
    if line["resource"] == "nodes":
        line["object"]["metadata"]["creationTimestamp"] = "2099-01-01T00:00:00Z"
    return line


def with_full_pulls(line: Line) -> Line:
    for key in ("message", "note") if is_event(line, "Pulled") else ():
        if key in line["object"]:
            line["object"][key] = PULLED
    return line


def without_nodes(line: Line) -> Line | None:
    return None if line["resource"] == "nodes" else line


def test_nodes_that_held_placeholders_and_the_image_prove_it(proving: Recording) -> None:
    """Head and worker; their nodes are older than the submission, and the start is cold, because they are the prepared
    ones. What was kept warm is told.
    """
    found = proving.verdict(NAME)
    assert found.value == "yes"
    assert told(found).count("held a placeholder when the trial was opened") == 2
    assert told(found).count("already present on machine") == 2
    (cold,) = [item for item in proving.row.verdicts if item["claim"] == "cold_start"]
    assert "Kept warm on purpose, and it is what was prepared." in cold["evidence"]
    assert (proving.row.start, proving.row.flags) == ("cold", ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (prepared(forgotten), "No buffer was prepared"),
        (prepared(on_other_nodes), "held no placeholder when the trial was opened"),
        (with_young_nodes, "was created after the submission"),
        (with_full_pulls, "was not on its node"),
    ],
)
def test_other_nodes_or_a_pull_refute_it(proving: Recording, change: Any, words: str) -> None:
    """No buffer, nodes of another origin, new nodes, an image that was pulled all the same."""
    found = proving.verdict(NAME, change)
    assert found.value == "no"
    assert words in told(found)


@pytest.mark.parametrize("change", [prepared(forgotten), prepared(on_other_nodes)])
def test_old_nodes_that_were_not_prepared_are_not_kept(proving: Recording, change: Any) -> None:
    """A leftover of another trial is warm although the variant declares a buffer."""
    view = proving.view(change)
    assert treatment(NAME).kept(view).value == "no"
    assert treatment(NAME).kept(proving.view()).value == "yes"


@pytest.mark.parametrize("silence", [without_nodes, without_events("Pulled", "Pulling")], ids=["nodes", "kubelet"])
def test_a_recording_that_does_not_tell_is_unknown(proving: Recording, silence: Any) -> None:
    """Without the nodes, or without the kubelets' word on the images."""
    assert proving.verdict(NAME, silence).value == "unknown"


def test_a_users_own_manifest_gets_a_placeholder_for_each_of_its_groups() -> None:
    """KubeRay's LLM sample: shape and marks of head and workers, the built image, one priority class, selectors that
    find their own pods only.
    """
    mine = Workload("mine", sample("kuberay-llm-serve"))
    (step,) = treatment(NAME).steps
    context = StepContext(PLANNED, mine.recipe, {"image": "ours:r-1"}, manifest=lambda: mine.manifest)
    arguments = dict(step.arguments(context))
    wanted = PreparedObjects.from_dict(
        {**arguments, "objects": with_image_of(arguments["objects"], arguments["image"])}
    )
    priority, *deployments = wanted.placed("t", "default", datetime(2026, 1, 1, tzinfo=UTC))
    groups = {group.name: group for group in ray_groups(mine.manifest)}
    assert {item["spec"]["selector"]["matchLabels"][GROUP_LABEL] for item in deployments} == set(groups)
    for item in deployments:
        pod, selector = item["spec"]["template"], item["spec"]["selector"]["matchLabels"]
        assert selector.items() <= pod["metadata"]["labels"].items()
        assert selector[LABEL] == priority["metadata"]["name"] == pod["spec"]["priorityClassName"]
        assert {container["image"] for container in pod["spec"]["containers"]} == {"ours:r-1"}
    assert len({item["metadata"]["name"] for item in deployments}) == len(deployments)
    assert arguments["idle"] == [{"what": "node", "amount": 1}]


def test_the_buffers_nodes_are_no_other_variants() -> None:
    """A baseline on the same target would find them; an early node has nothing to be early for."""
    nodes = treatment(NAME).nodes(NodeProfile("t", "eks", "karpenter", "1.34"))
    assert nodes.has(NAME)
    assert any("exclude each other" in why for why in treatment("early_node").requires(nodes, SERVED_2025))
