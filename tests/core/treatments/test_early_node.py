"""An early node: a placeholder of the worker's shape beside the RayService, believed when the worker took its node."""

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025, SERVED_CURRENT
from treatment_recordings import Line, Recording, told, without_events

from airflow_llm_provisioning.core.companions import placed
from airflow_llm_provisioning.core.effects import EffectFacts
from airflow_llm_provisioning.core.manifests import with_setup
from airflow_llm_provisioning.core.treatments import StepContext, treatment
from airflow_llm_provisioning.core.treatments.early_node import LABEL, class_name
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload

sys.path.insert(0, str(Path(__file__).parents[1] / "manifests"))

from sample_manifests import sample

NAME = "early_node"
PLANNED = target("eks", NAME, "karpenter")


@pytest.fixture(scope="module")
def proving() -> Recording:
    return Recording(
        Scenario(target=PLANNED, declared=SERVED_2025, variant=NAME, setup=ScalingSetup.DYNAMIC, noise=False)
    )


def is_placeholder(line: Line) -> bool:
    return line["resource"] == "pods" and LABEL in (line["object"]["metadata"].get("labels") or {})


def without_placeholder(line: Line) -> Line | None:
    return None if is_placeholder(line) else line


def begun_late(line: Line) -> Line | None:
    """Begin the recording when the worker is there and its placeholder is gone."""
    if line["resource"] == "pods" and line["type"] == "ADDED":
        line["type"] = "LISTED"
    return without_placeholder(line)


def without_nodes(line: Line) -> Line | None:
    return None if line["resource"] == "nodes" else line


def with_another_image(line: Line) -> Line:
    if is_placeholder(line):
        for container in line["object"]["spec"]["containers"]:
            container["image"] = "another:1"
    return line


def with_late_nodes(line: Line) -> Line:
    if line["resource"] in ("nodes", "nodeclaims"):
        line["object"]["metadata"]["creationTimestamp"] = "2099-01-01T00:00:00Z"
    return line


def without_asking(line: Line) -> Line | None:
    """Leave out what tells when a node was asked for."""
    return None if line["resource"] == "nodeclaims" else without_events("TriggeredScaleUp")(line)


def test_a_node_before_its_worker_and_a_placeholder_that_made_room_prove_it(proving: Recording) -> None:
    """Cold all the same: the node is younger than the submission. The image that the placeholder pulled is no
    undeclared acceleration.
    """
    found = proving.verdict(NAME)
    assert found.value == "yes"
    assert "Preempted by pod" in told(found)
    assert "already present on machine" in told(found)
    assert (proving.row.start, proving.row.applied, proving.row.flags) == ("cold", "applied", ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_placeholder, "No placeholder pod came with the RayService"),
        (with_late_nodes, "was created after pod"),
        (with_another_image, "The placeholder pulls another:1"),
    ],
)
def test_a_node_that_nothing_asked_for_early_refutes_it(proving: Recording, change: Any, words: str) -> None:
    """No placeholder, a node that came after its worker, a placeholder with another image."""
    found = proving.verdict(NAME, change)
    assert found.value == "no"
    assert words in told(found)


@pytest.mark.parametrize(
    ("autoscaler", "words"), [("karpenter", "asked for it"), ("native", "it was asked for before")]
)
def test_a_node_that_was_asked_for_early_and_came_after_its_worker_proves_it_too(autoscaler: str, words: str) -> None:
    """With a streamed image the head is faster than the GPU's node, whose object appears at the end of its boot. What
    asked for it was there before the worker, and no part of the worker's path.
    """
    late = Recording(
        Scenario(
            target=target("aks", "streamed_early", autoscaler),
            declared=SERVED_CURRENT,
            variant="streamed_early",
            setup=ScalingSetup.DYNAMIC,
            noise=False,
        )
    )
    worker, found = late.view().worker, late.verdict(NAME)
    assert worker is not None
    node = late.view().node_of(worker)
    assert node is not None
    assert node.created is not None
    assert worker.created is not None
    assert node.created.at > worker.created.at
    assert (found.value, late.row.flags) == ("yes", ())
    assert words in told(found)
    assert late.verdict(NAME, without_asking).value in ("no", "unknown")


def test_a_worker_that_takes_the_node_as_it_comes_proves_it_too() -> None:
    """On AKS the GPU's node is slower than the head of the current workload: the placeholder waits on, and gets a node
    of its own after the worker's, which costs a second node and is no objection.
    """
    late = Scenario(
        target=target("aks", NAME),
        declared=SERVED_CURRENT,
        variant=NAME,
        setup=ScalingSetup.DYNAMIC,
        seed=11,
    )
    found = Recording(late)
    (waited,) = found.view().companions
    worker = found.view().worker
    assert worker is not None
    assert found.view().node_name_of(waited) != found.view().node_name_of(worker)
    assert (found.row.start, found.row.applied) == ("cold", "applied")


def test_a_recording_that_began_when_the_worker_was_there_is_unknown(proving: Recording) -> None:
    """The placeholder may have made room before: on a busy machine the triggerer began a quarter of an hour late."""
    found = proving.verdict(NAME, begun_late)
    assert found.value == "unknown"
    assert "was there when the recording began" in told(found)


def test_a_recording_without_the_workers_node_is_unknown(proving: Recording) -> None:
    """When the node came decides; the scheduler's event alone does not."""
    assert proving.verdict(NAME, without_nodes).value == "unknown"
    assert proving.verdict(NAME, without_events("Preempted")).value == "yes"


def test_the_placeholder_of_a_users_own_manifest_has_the_workers_shape_place_and_image() -> None:
    """elotl/skyray's autoscaled manifest: requests, marks and tolerations of its GPU group, and nothing of Ray."""
    mine = sample("skyray-autoscale")
    mine["metadata"]["labels"]["llm-provisioning/target"] = "My_Target"
    (pod,) = treatment(NAME).companions(mine)
    template = mine["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]
    (container,), (worker,) = pod["spec"]["containers"], template["spec"]["containers"]
    assert (container["image"], container["resources"]) == (worker["image"], worker["resources"])
    assert container["command"] == ["sleep", "infinity"]
    assert not container.keys() & {"env", "ports", "volumeMounts", "lifecycle"}
    assert pod["spec"]["tolerations"] == template["spec"]["tolerations"]
    assert pod["spec"]["priorityClassName"] == class_name("My_Target") == "llm-early-node-my-target"
    assert template["metadata"]["labels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"] == template["metadata"]["annotations"]
    service = {"metadata": {"name": "s", "namespace": "n", "uid": "u", "labels": {}}}
    (made,) = placed([pod], service)
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_each_worker_of_the_engine_has_a_placeholder() -> None:
    """An engine over two pods of one GPU each asks for two nodes, and needs both of them early."""
    wide = deepcopy(dict(with_setup(SERVED_2025.manifest, ScalingSetup.DYNAMIC)))
    wide["spec"]["serveConfigV2"] = wide["spec"]["serveConfigV2"].replace('parallel-size: "1"', 'parallel-size: "2"')
    assert len(treatment(NAME).companions(wide)) == 2


def test_a_static_start_gets_none_and_a_workload_without_a_dynamic_one_is_refused() -> None:
    """Its workers are asked for at the submission anyway."""
    static = with_setup(SERVED_2025.manifest, ScalingSetup.STATIC)
    assert treatment(NAME).companions(static) == ()
    only_static = Workload("mine", static, setups=(ScalingSetup.STATIC,))
    (why,) = treatment(NAME).requires(PLANNED.nodes, only_static)
    assert "asks for its workers at once" in why
    assert treatment(NAME).requires(PLANNED.nodes, SERVED_2025) == ()


def test_its_one_prepared_object_is_a_class_that_node_autoscalers_heed() -> None:
    """Below pods without a class, and not below the cluster autoscaler's cutoff; it ends no other pod."""
    (step,) = treatment(NAME).steps
    (made,) = step.arguments(StepContext(PLANNED, SERVED_2025.recipe))["objects"]
    assert made["metadata"]["name"] == class_name(PLANNED.name)
    assert -10 <= made["value"] < 0
    assert made["preemptionPolicy"] == "Never"


def test_node_and_pull_are_foreseen_to_begin_with_the_submission() -> None:
    """What is left of them when the worker comes follows from the other phases, not from those measured without other
    treatments.
    """
    seconds = {"head_image_pull": 300.0, "worker_node_boot": 40.0, "worker_image_pull": 200.0}
    effect = treatment(NAME).effect(EffectFacts(cloud="eks", setup="dynamic", seconds=seconds))  # type: ignore[attr-defined]
    assert {change.how for change in effect.changes} == {"beside"}
    assert {"worker_node_boot", "worker_image_pull"} <= {change.phase for change in effect.changes}


@pytest.mark.parametrize(
    "facts",
    [
        EffectFacts(cloud="eks", setup="static", seconds={"head_image_pull": 9.0, "worker_image_pull": 9.0}),
        EffectFacts(cloud="eks", setup="dynamic", seconds={"head_image_pull": 9.0}),
    ],
    ids=["static", "no pull is known"],
)
def test_nothing_is_foreseen_without_the_facts(facts: EffectFacts) -> None:
    """A static start, a pull that was not measured."""
    assert treatment(NAME).effect(facts) is None  # type: ignore[attr-defined]
