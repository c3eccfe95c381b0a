"""A CapacityBuffer: nodes that virtual pods keep, believed only where a pre-pull pod marks them and nothing changed."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from proof.catalogue.buffer_objects import GATES
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Line, Recording, told, without_events

from airflow_llm_provisioning.core.buffer_status import buffer_waits
from airflow_llm_provisioning.core.prepared_objects import MARKS_NODE, NODES, PreparedObjects, not_ready
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.treatments import StepContext, treatment
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.gateways.autoscalers import nodes_gone_s
from airflow_llm_provisioning.preparation.objects import with_image_of

sys.path.insert(0, str(Path(__file__).parents[1] / "manifests"))

from sample_manifests import sample

NAME = "capacity_buffer_object"
PLANNED = target("eks", NAME, "karpenter")
GONE = "CapacityBuffer llm-capacity-buffer-object is gone."
GATED_OFF = {
    "metadata": {
        "name": "karpenter",
        "namespace": "kube-system",
        "labels": {"app.kubernetes.io/name": "karpenter"},
    },
    "spec": {"template": {"spec": {"containers": [{"env": [{"name": "FEATURE_GATES", "value": "NodeRepair=true"}]}]}}},
}


@pytest.fixture(scope="module")
def proving() -> Recording:
    return Recording(Scenario(target=PLANNED, declared=SERVED_2025, variant=NAME, noise=False, gates=GATES))


def prepared(change: Any) -> Any:
    """Change what the trial's header says of the buffer."""

    def changed(line: Line) -> Line:
        if line.get("type") == "HEADER":
            change(line["object"]["trial"]["opened"]["prepared"]["steps"])
        return line

    return changed


def unmarked(steps: dict[str, Any]) -> None:
    del steps[f"prepare_{NAME}"]["nodes"][-1]


def gone(steps: dict[str, Any]) -> None:
    steps[f"prepare_{NAME}"]["problems"].append(GONE)


def without_nodes(line: Line) -> Line | None:
    return None if line["resource"] == "nodes" else line


def test_nodes_that_a_pre_pull_pod_marks_prove_it(proving: Recording) -> None:
    """Head and worker found node and image there, and no pod had to end for them."""
    found = proving.verdict(NAME)
    assert found.value == "yes"
    assert told(found).count("held a pre-pull pod when the trial was opened") == 2
    assert told(found).count("already present on machine") == 2
    assert (proving.row.start, proving.row.flags) == ("cold", ())


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda steps: steps.clear(), "No buffer was prepared"), (unmarked, "held no pre-pull pod"), (gone, GONE)],
)
def test_another_node_or_a_buffer_that_is_gone_refutes_it(proving: Recording, change: Any, words: str) -> None:
    """A node is there for a while after its buffer was deleted: it is not the buffer's any more, and the start warm."""
    found = proving.verdict(NAME, prepared(change))
    assert (found.value, words in told(found)) == ("no", True)
    assert treatment(NAME).kept(proving.view(prepared(change))).value == "no"


@pytest.mark.parametrize("silence", [without_nodes, without_events("Pulled", "Pulling")], ids=["nodes", "kubelet"])
def test_a_recording_that_does_not_tell_is_unknown(proving: Recording, silence: Any) -> None:
    """Without the nodes, or without the kubelets' word on the images."""
    assert proving.verdict(NAME, silence).value == "unknown"


def test_a_users_own_manifest_gets_a_chunk_for_each_of_its_groups() -> None:
    """KubeRay's LLM sample: buffers find their templates by name; one DaemonSet for all, which asks for nothing, goes
    where any of them goes, and waits for all of their nodes.
    """
    mine = Workload("mine", sample("kuberay-llm-serve"))
    (step,) = treatment(NAME).steps
    context = StepContext(PLANNED, mine.recipe, {"image": "ours:r-1"}, manifest=lambda: mine.manifest)
    arguments = dict(step.arguments(context))
    objects = with_image_of(arguments["objects"], arguments["image"])
    placed = PreparedObjects.from_dict({**arguments, "objects": objects}).placed(
        "t", "default", datetime(2026, 1, 1, tzinfo=UTC)
    )
    of_kind = {kind: [item for item in placed if item["kind"] == kind] for kind in (item["kind"] for item in placed)}
    names = [item["metadata"]["name"] for item in of_kind["PodTemplate"]]
    assert [item["spec"]["podTemplateRef"]["name"] for item in of_kind["CapacityBuffer"]] == names
    assert len(set(names)) == 2
    (daemonset,) = of_kind["DaemonSet"]
    pod = daemonset["spec"]["template"]
    assert [(one["image"], "resources" in one) for one in pod["spec"]["containers"]] == [("ours:r-1", False)]
    assert pod["metadata"]["labels"][MARKS_NODE] == "true"
    assert arguments["idle"] == [{"what": "node", "amount": 1}]


def daemonset(there: int, ready: int, nodes: str | None) -> dict[str, Any]:
    annotations = {NODES: nodes} if nodes else {}
    status = {"observedGeneration": 1, "desiredNumberScheduled": there, "numberReady": ready}
    return {"kind": "DaemonSet", "metadata": {"generation": 1, "annotations": annotations}, "status": status}


@pytest.mark.parametrize(
    ("obj", "waits"),
    [
        (daemonset(0, 0, None), None),
        (daemonset(0, 0, "2-2"), "0 nodes are there for it, and 2 are to be kept"),
        (daemonset(2, 1, "2-2"), "1 of 2 pods are ready"),
        (daemonset(2, 2, "2-2"), None),
        (daemonset(3, 3, "2-2"), "left of earlier trials, are not gone"),
    ],
)
def test_a_pre_pull_waits_for_its_nodes_and_for_no_others(obj: dict[str, Any], waits: str | None) -> None:
    """Without a node it has nothing to pull onto, and is not ready for that."""
    found = not_ready(obj, {})
    assert (found is None) if waits is None else waits in (found or "")


def buffer(replicas: int, *conditions: tuple[str, str]) -> dict[str, Any]:
    rows = [{"type": type_, "status": status, "reason": "Why", "message": "words"} for type_, status in conditions]
    return {"kind": "CapacityBuffer", "spec": {"replicas": 2}, "status": {"replicas": replicas, "conditions": rows}}


READY = (("ReadyForProvisioning", "True"), ("Provisioning", "True"))


@pytest.mark.parametrize(
    ("obj", "waits"),
    [
        (buffer(0), "no autoscaler has set its condition ReadyForProvisioning"),
        (buffer(2, ("ReadyForProvisioning", "False")), "its condition ReadyForProvisioning is False (Why: words)"),
        (buffer(2, READY[0], ("Provisioning", "False")), "its condition Provisioning is False"),
        (buffer(1, *READY, ("LimitedByQuotas", "True")), "quotas limit it (words)"),
        (buffer(1, *READY), "it has 1 of 2 chunks"),
        (buffer(2, *READY, ("LimitedByQuotas", "False")), None),
        # The first releases of the cluster autoscaler keep the condition that they wrote last.
        (buffer(2, READY[1]), None),
        (buffer(1, READY[1]), "it has 1 of 2 chunks"),
        (buffer(2, ("Provisioning", "False")), "its condition Provisioning is False (Why: words)"),
        (buffer(2, READY[0]), "no autoscaler has set its condition Provisioning"),
    ],
)
def test_a_buffer_says_what_it_waits_for(obj: dict[str, Any], waits: str | None) -> None:
    """Its own conditions with the autoscaler's words, and fewer chunks than were asked for."""
    found = not_ready(obj, {})
    assert found == buffer_waits(obj)
    assert (found is None) if waits is None else waits in (found or "")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"capacitybuffers": None, "deployments": []}, "does not serve CapacityBuffer"),
        ({"capacitybuffers": [], "deployments": [GATED_OFF]}, "set CapacityBuffer=true in its FEATURE_GATES"),
        ({"capacitybuffers": [], "deployments": []}, ""),
    ],
)
def test_a_cluster_without_it_is_refused(found: dict[str, Any], words: str) -> None:
    """No definition, or a Karpenter that leaves it alone; a managed autoscaler shows no Deployment."""
    told_ = treatment(NAME).on_cluster(found, declared=True)
    assert words in " ".join(told_)
    assert bool(told_) is bool(words)
    assert not treatment(NAME).on_cluster(found, declared=False)


def test_a_target_has_one_buffer_and_an_autoscaler_that_knows_it() -> None:
    """Luna does not; two forms on one target would find each other's nodes; nothing is early beside a buffer."""
    plain = NodeProfile("t", "eks", "karpenter", "1.34")
    nodes = treatment(NAME).nodes(plain)
    assert treatment(NAME).requires(nodes, SERVED_2025) == ()
    assert "exclude each other" in treatment(NAME).requires(treatment("capacity_buffer").nodes(nodes), SERVED_2025)[0]
    assert "exclude each other" in treatment("early_node").requires(nodes, SERVED_2025)[0]
    luna = NodeProfile("t", "eks", "luna", "1.34")
    assert "Luna does not know CapacityBuffer" in treatment(NAME).requires(luna, SERVED_2025)[0]


def test_after_a_trial_the_next_one_waits_for_what_is_too_much() -> None:
    """A buffer may take a trial's nodes back, so their end is not waited for when the trial closes."""
    assert nodes_gone_s(PLANNED) == 0.0
    assert nodes_gone_s(target("eks", "capacity_buffer", "karpenter")) > 0.0
