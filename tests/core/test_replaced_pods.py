"""A pod that was lost and replaced is a flag and a phase of its own, and its trial is not compared."""

import copy
import json
from typing import Any

import pytest
from recording_changes import (
    Lines,
    changed,
    in_order,
    instant,
    is_worker,
    recorded,
    seen,
    stamps_moved,
    twin,
    worker_lines,
)
from trial_builders import a_result

from airflow_llm_provisioning.core.comparison import excluded
from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse
from airflow_llm_provisioning.core.trace import TraceView

LOST = "llm-model-serve-n9mkr-gpu-group-worker-aaaaa"
NODE = "spot-node-1"


def lost_worker(*, node: str = NODE, reason: str = "DeletionByTaintManager", node_gone: bool = True) -> Lines:
    """`node-late` with a first worker: on a node at 8 s, deleted at 18.5 s, gone at 19.6 s. The recorded one follows.

    `reason`: of its condition DisruptionTarget; empty for none.
    """
    lines = recorded("node-late")
    first = worker_lines(lines)[0]["object"]
    pod = json.loads(json.dumps(first).replace(first["metadata"]["uid"], "uid-lost"))
    pod["metadata"]["name"] = LOST
    bound = copy.deepcopy(pod)
    bound["metadata"]["resourceVersion"] = "100000001"
    bound["spec"] |= {"nodeName": node} if node else {}
    ending = copy.deepcopy(bound)
    ending["metadata"] |= {"resourceVersion": "100000002", "deletionTimestamp": instant(lines, 48.5)[:19] + "Z"}
    if reason:
        told = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        ending["status"]["conditions"] = [*ending["status"].get("conditions", []), told]
    recorded_node = next(line["object"] for line in lines if line["resource"] == "nodes" and line["type"] == "ADDED")
    standing = copy.deepcopy(recorded_node)
    standing["metadata"] |= {"name": NODE, "uid": "uid-spot", "creationTimestamp": instant(lines, 6.0)[:19] + "Z"}
    added = [
        seen(lines, 2.1, "ADDED", "pods", pod),
        seen(lines, 6.1, "ADDED", "nodes", standing),
        seen(lines, 8.0, "MODIFIED", "pods", bound),
        seen(lines, 18.5, "MODIFIED", "pods", ending),
        seen(lines, 19.6, "DELETED", "pods", ending),
    ]
    added += [seen(lines, 19.2, "DELETED", "nodes", standing)] if node_gone else []

    def born_later(line: dict[str, Any]) -> None:
        if is_worker(line["object"]):
            line["object"]["metadata"]["creationTimestamp"] = instant(lines, 19.7)[:19] + "Z"

    born = instant(lines, 19.75)
    later = changed(lines, "pods", born_later)
    early = [line for line in later if line["received_at"] < born and first["metadata"]["uid"] in json.dumps(line)]
    for line in worker_lines(early):
        line["received_at"] = born
        line["object"]["status"] = stamps_moved(line["object"].get("status", {}), 17.0)
    # The lost pod had these events.
    return in_order([*(line for line in later if line not in early or line in worker_lines(early)), *added])


def flags(analysis: Analysis) -> list[str]:
    return [str(flag) for flag in analysis.flags if flag.kind == "replaced"]


def test_the_lost_time_has_a_name_of_its_own() -> None:
    """The time until the lost pod was gone is not the creation of a pod, and the rest of the path is as recorded."""
    analysis = analyse(lost_worker())
    phases = {phase.name: phase for phase in analysis.phases}
    assert phases["worker_replacement"].duration_s == pytest.approx(17.5, abs=0.1)
    assert phases["worker_pod_creation"].duration_s < 1.0
    assert sum(phase.duration_us for phase in analysis.phases) == analysis.total_us
    plain = {phase.name: phase.duration_s for phase in analyse(recorded("node-late")).phases}
    for name in ("worker_gpu_setup", "worker_image_pull", "worker_wait_gcs", "model_load"):
        assert phases[name].duration_s == pytest.approx(plain[name], abs=0.01)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, f"on node {NODE}, its node went away (DeletionByTaintManager)"),
        ({"reason": ""}, f"on node {NODE}, its node went away"),
        ({"reason": "PreemptionByScheduler", "node_gone": False}, "a pod of higher priority preempted it"),
        ({"reason": "EvictionByEvictionAPI"}, "it was evicted, as a drain does"),
        ({"reason": "", "node": "", "node_gone": False}, "before it had a node, for a reason that the recording"),
    ],
)
def test_a_lost_pod_is_flagged_with_its_node_and_its_reason(change: dict[str, Any], told: str) -> None:
    """The flag names the pod, its age, its node and why it ended, as far as the recording says."""
    (flag,) = flags(analyse(lost_worker(**change)))
    assert flag.startswith(f"replaced: pod {LOST} was deleted after ")
    assert told in flag


@pytest.mark.parametrize(("reason", "flagged"), [("PreemptionByScheduler", 1), ("EvictionByEvictionAPI", 1), ("", 0)])
def test_a_worker_of_another_group_may_replace_one_that_was_disrupted(reason: str, flagged: int) -> None:
    """As an on-demand node replaces a spot node. Without a disruption an autoscaler may have removed it."""

    def of_spot(line: dict[str, Any]) -> None:
        if line["object"]["metadata"].get("name") == LOST:
            line["object"]["metadata"]["labels"]["ray.io/group"] = "spot-group"

    assert len(flags(analyse(changed(lost_worker(reason=reason), "pods", of_spot)))) == flagged


def test_workers_that_were_lost_together_have_successors_of_their_own() -> None:
    """The flags name which pod replaced which."""
    lines = lost_worker()
    both = json.loads(json.dumps(lines).replace("uid-lost", "uid-lost-2").replace(LOST, f"{LOST}2"))
    second = [line for line in both if line["resource"] == "pods" and line["object"]["metadata"]["name"] == f"{LOST}2"]
    later = [line for line in twin(recorded("node-late"), "late-worker", later_s=18.0) if line["resource"] == "pods"]
    told = TraceView(in_order([*lines, *second, *later])).lost_pods
    assert sorted(lost.pod.name for lost in told) == [LOST, f"{LOST}2"]
    assert len({lost.successor.name for lost in told}) == 2


@pytest.mark.parametrize(
    ("part", "after_s", "flagged"), [("rayClusterConfig", 5.0, 1), ("serveConfigV2", 5.0, 1), ("suspend", 5.0, 0),
                                     ("rayClusterConfig", 500.0, 0)],
)  # fmt: skip
def test_a_manifest_that_was_changed_before_it_served_is_flagged(part: str, after_s: float, flagged: int) -> None:
    """By another writer: what was measured is not what was planned. What a queue sets is no part of the deployment."""
    lines = recorded("node-late")

    def change(line: dict[str, Any]) -> None:
        if line["received_at"] >= instant(lines, after_s):
            told = line["object"]["spec"].get(part)
            line["object"]["spec"][part] = {**told, "rayVersion": "9"} if isinstance(told, dict) else f"{told} # other"

    found = [str(flag) for flag in analyse(changed(lines, "rayservices", change)).flags if flag.kind == "changed"]
    assert len(found) == flagged
    assert a_result("a", variant="baseline", total_s=67.4, flags=tuple(found)).exclusion == (
        "manifest changed" if flagged else None
    )


def test_a_trial_that_lost_a_pod_is_not_compared() -> None:
    """It is counted by its reason, like any trial that is not comparable."""
    odd = a_result("a", variant="baseline", total_s=67.4, flags=tuple(map(str, analyse(lost_worker()).flags)))
    assert excluded([odd]) == {"a": "pod replaced"}


@pytest.mark.parametrize("name", ["static", "node-late", "dynamic", "failed"])
def test_pods_that_a_teardown_deletes_are_not_lost(name: str) -> None:
    """In the recordings every pod is deleted at the end, and none was replaced."""
    assert not TraceView(recorded(name)).lost_pods
    assert not flags(analyse(recorded(name)))


def test_a_pod_lost_after_the_service_answered_is_no_flag() -> None:
    """The total had ended before."""
    lines = recorded("static")
    worker = worker_lines(lines)[-1]["object"]
    text = json.dumps(worker).replace(worker["metadata"]["uid"], "uid-new")
    new = json.loads(text.replace(worker["metadata"]["name"], "another"))
    new["metadata"] |= {"creationTimestamp": instant(lines, 60.0)[:19] + "Z", "resourceVersion": "100000001"}
    new["metadata"].pop("deletionTimestamp", None)
    gone = {**worker, "metadata": {**worker["metadata"], "resourceVersion": "100000000"}}
    extra = [seen(lines, 58.0, "DELETED", "pods", gone), seen(lines, 60.1, "ADDED", "pods", new)]
    lines = [line for line in lines if line["received_at"] < instant(lines, 57.0)]
    assert TraceView([*lines, *extra]).lost_pods
    assert not flags(analyse([*lines, *extra]))


def test_answers_of_a_lost_head_are_not_read() -> None:
    """Serve begins anew on the head that replaced it, and so do its stamps."""

    def pod(uid: str, created: str) -> dict[str, Any]:
        labels = {"ray.io/node-type": "head", "ray.io/group": "headgroup", "ray.io/cluster": "c"}
        metadata = {"uid": uid, "name": uid, "creationTimestamp": created, "labels": labels}
        return {"metadata": {**metadata, "ownerReferences": [{"uid": "rc"}]}, "spec": {"nodeName": "n"}}

    def line(at: str, kind: str, resource: str, obj: dict[str, Any]) -> dict[str, Any]:
        return {"received_at": at, "type": kind, "resource": resource, "object": obj}

    def answer(at: str) -> dict[str, Any]:
        told = {"received_at": at, "resource": "serve-rest", "status_code": 200, "service": "c-head-svc"}
        return {**told, "object": {"applications": {}}}

    cluster = {"metadata": {"uid": "rc", "name": "c", "ownerReferences": [{"uid": "rs"}]}}
    lines = [
        line("2026-05-04T12:00:00Z", "ADDED", "rayservices", {"metadata": {"uid": "rs", "name": "s"}}),
        line("2026-05-04T12:00:01Z", "ADDED", "rayclusters", cluster),
        line("2026-05-04T12:00:02Z", "ADDED", "pods", pod("old", "2026-05-04T12:00:02Z")),
        answer("2026-05-04T12:00:20Z"),
        line("2026-05-04T12:00:30Z", "DELETED", "pods", pod("old", "2026-05-04T12:00:02Z")),
        line("2026-05-04T12:00:31Z", "ADDED", "pods", pod("new", "2026-05-04T12:00:31Z")),
        answer("2026-05-04T12:00:50Z"),
    ]
    view = TraceView(lines)
    assert [lost.pod.name for lost in view.lost_pods] == ["old"]
    assert [item.received_at.second for item in view.polls()] == [50]
    found = analyse(lines)
    assert flags(found) == [
        (
            "replaced: pod old was deleted after 28 s on node n, for a reason that the recording does not show; "
            "pod new replaced it"
        )
    ]


AUTOSCALER = "Adding 1 node(s) of type gpu-group."


def autoscaled(lines: Lines, after_s: float) -> Lines:
    """Ray's autoscaler is on, one worker is there from the start, and the autoscaler asks for one more."""

    def spec(line: dict[str, Any]) -> None:
        told = line["object"].get("spec", {})
        told = told.get("rayClusterConfig", told)
        if told:
            told["enableInTreeAutoscaling"] = True
            told["workerGroupSpecs"][0] |= {"minReplicas": 1, "maxReplicas": 4}

    lines = changed(changed(lines, "rayservices", spec), "rayclusters", spec)
    head = next(line["object"]["metadata"]["name"] for line in lines if line["resource"] == "pods")
    stamp = instant(lines, after_s)
    inner = stamp.replace("T", " ")[:23].replace(".", ",")
    log = {"received_at": lines[-1]["received_at"], "resource": "pod-log", "pod": head, "container": "autoscaler"}
    text = f"{stamp[:-1]}446Z {inner}\tINFO event_logger.py:77 -- {AUTOSCALER}\n"
    return [*lines, {**log, "status_code": 200, "object": text}]


@pytest.mark.parametrize("after_s", [38.9, 6.0, 3.0])
def test_a_worker_from_the_start_did_not_wait_for_the_autoscaler(after_s: float) -> None:
    """The autoscaler's line belongs to another worker: the same phases as without it, and no contradiction."""
    lines = recorded("static")
    plain, both = analyse(lines), analyse(autoscaled(lines, after_s))
    assert [phase.as_dict() for phase in both.phases] == [phase.as_dict() for phase in plain.phases]
    assert both.flags == plain.flags
    assert both.milestone("worker_asked") is None


def test_a_worker_that_the_autoscaler_added_to_others_waited_for_it() -> None:
    """A set-up that starts with one worker is static; if the engine runs on a later one, that one was asked for."""
    lines = recorded("dynamic")

    def from_the_start(line: dict[str, Any]) -> None:
        told = line["object"].get("spec", {})
        told = told.get("rayClusterConfig", told)
        if told:
            for group in told["workerGroupSpecs"]:
                group |= {"minReplicas": 1, "replicas": (group.get("replicas") or 0) + 1, "maxReplicas": 4}

    lines = changed(changed(lines, "rayservices", from_the_start), "rayclusters", from_the_start)
    analysis = analyse(lines)
    assert analysis.setup == "static"
    asked = {phase.name: phase.duration_s for phase in analysis.phases}["ray_autoscaling"]
    plain = {phase.name: phase.duration_s for phase in analyse(recorded("dynamic")).phases}["ray_autoscaling"]
    assert asked == pytest.approx(plain, abs=0.01)
