"""A pod without a node is waited for, and named with the sentences of scheduler, autoscaler and cloud."""

from typing import Any

import pytest
from blocker_lines import (
    HOUR_S,
    WORKER,
    blocked,
    ended,
    event,
    judged,
    pod,
    ready_head,
    running,
    service,
    stamp,
    waiting,
)

TAINT = "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {sku: gpu}."
CLAIM = '0/6 nodes are available: persistentvolumeclaim "models-pvc" not found. preemption: not helpful.'
UNBOUND = "0/6 nodes are available: pod has unbound immediate PersistentVolumeClaims."


def unscheduled(second: float, message: str, **more: Any) -> dict[str, Any]:
    told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(second, node=None, conditions=[told], **more)


@pytest.mark.parametrize("message", [TAINT, UNBOUND, "0/1 nodes are available: 1 Insufficient memory."])
def test_a_pod_that_waits_for_a_node_ends_no_wait_and_is_named(message: str) -> None:
    """A new node is what a cold start waits for; the limit names each pod with the scheduler's sentence."""
    lines = service(), ready_head(), unscheduled(20, message), unscheduled(21, message, name="a-x1-gpu-worker-2")
    assert judged(*lines, until_s=HOUR_S).state == "pending"
    found = blocked(*lines)
    assert [one.about for one in found] == ["Pod n/a-x1-gpu-worker-1", "Pod n/a-x1-gpu-worker-2"]
    assert all(message.rstrip(".") in one.sentence for one in found)


def test_what_no_node_mends_ends_the_wait() -> None:
    """A claim that does not exist keeps the pod from every node; so it is with a device claim."""
    found = judged(service(), ready_head(), unscheduled(20, CLAIM), until_s=HOUR_S)
    assert 'persistentvolumeclaim "models-pvc" not found' in str(found.reason)
    assert "Create the claim" in str(found.reason)
    dra = '0/2 nodes are available: resourceclaim "gpu" not found.'
    assert judged(service(), ready_head(), unscheduled(20, dra), until_s=HOUR_S).state == "failed"


@pytest.mark.parametrize(
    ("component", "reason", "message"),
    [
        ("cluster-autoscaler", "NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"),
        ("cluster-autoscaler", "FailedScaleUp", "Node scale up in zones us-central1-a failed: GCE out of resources."),
        ("karpenter", "FailedScheduling", 'incompatible with nodepool "gpu", no instance type satisfied resources'),
        ("luna-manager", "NodeCreationFailed", "no node: VcpuLimitExceeded: you have requested more vCPU capacity"),
        ("karpenter", "Nominated", "Pod should schedule on: nodeclaim/gpu-x"),
    ],
)
def test_the_autoscalers_sentence_is_beside_the_schedulers(component: str, reason: str, message: str) -> None:
    """The scheduler cannot know whether a node comes; the autoscaler says so on the same pod."""
    told = event(30, reason, message, component=component)
    (found,) = blocked(service(), unscheduled(20, TAINT), told)
    assert TAINT.rstrip(".") in found.sentence
    assert f"{component}, {reason}: {message}" in found.sentence
    assert blocked(service(), unscheduled(20, TAINT), told, pod(40, running())) == []


@pytest.mark.parametrize(
    ("component", "message", "advice"),
    [
        ("cluster-autoscaler", "pod didn't trigger scale-up: 3 max node group size reached", "Raise the limit"),
        ("cluster-autoscaler", "Node scale up in zones us-central1-b failed: IP space exhausted.", "more addresses"),
        ("karpenter", "UnauthorizedOperation: not authorized to perform: ec2:RunInstances", "node autoscaler"),
        ("karpenter", "NodeClass not ready", "Correct the node class"),
        ("cluster-autoscaler", "Capacity not found: CA could not find requested capacity.", "more zones"),
        ("cluster-autoscaler", "pod triggered scale-up: [{gpu 0->1}]", "toleration"),
    ],
)
def test_the_advice_is_for_what_the_autoscaler_says(component: str, message: str, advice: str) -> None:
    """The scheduler's `Insufficient` and taints describe the nodes that exist, and count where nothing else is told."""
    (found,) = blocked(service(), unscheduled(20, TAINT), event(30, "X", message, component=component), second=60)
    assert advice in found.advice


def test_a_claim_that_is_not_bound_is_told_in_its_own_words() -> None:
    """The scheduler only knows that it is not bound; the claim's event says why."""
    waits = unscheduled(20, UNBOUND)
    waits["object"]["spec"]["volumes"] = [{"name": "m", "persistentVolumeClaim": {"claimName": "models"}}]
    message = 'storageclass.storage.k8s.io "fast" not found'
    told = event(30, "ProvisioningFailed", message, kind="PersistentVolumeClaim", name="models")
    (found,) = blocked(service(), waits, told)
    assert "unbound immediate PersistentVolumeClaims" in found.sentence
    assert f"PersistentVolumeClaim models, ProvisioningFailed: {message}" in found.sentence
    other = event(30, "ProvisioningFailed", message, kind="PersistentVolumeClaim", name="others")
    assert message not in blocked(service(), waits, other)[0].sentence


def test_the_newest_word_of_the_autoscaler_counts() -> None:
    """A refusal that was followed by a scale-up is over."""
    refused = event(30, "NotTriggerScaleUp", "no", component="cluster-autoscaler")
    came = event(60, "TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1}]", component="cluster-autoscaler")
    (found,) = blocked(service(), unscheduled(20, TAINT), refused, came)
    assert "TriggeredScaleUp" in found.sentence
    assert "NotTriggerScaleUp" not in found.sentence


def test_a_grace_period_of_ones_own_ends_the_wait_for_a_node() -> None:
    """Whether it is worth to wait for capacity is the user's decision."""
    lines = service(), ready_head(), unscheduled(20, TAINT)
    found = judged(*lines, until_s=HOUR_S, graces={"unschedulable": 900})
    assert "untolerated taint" in str(found.reason)
    assert "(for 900 s)" in str(found.reason)


def test_the_clouds_refusal_of_a_node_is_named_while_a_pod_needs_one() -> None:
    """Karpenter reports it on its NodeClaim; an old one says nothing about this moment."""
    told = event(
        30, "InsufficientCapacityError", "UnfulfillableCapacity in us-west-2a", kind="NodeClaim", name="gpu-x",
        component="karpenter",
    )  # fmt: skip
    found = blocked(service(), unscheduled(20, TAINT), told, second=100)
    assert [(one.about, one.reason) for one in found][1:] == [("NodeClaim gpu-x", "InsufficientCapacityError")]
    assert len(blocked(service(), unscheduled(20, TAINT), told, second=HOUR_S)) == 1
    assert blocked(service(), pod(20, running()), told, second=100) == []


@pytest.mark.parametrize(
    ("reason", "message", "ends"),
    [
        ("FailedMount", 'MountVolume.SetUp failed for volume "hf": secret "hf-token" not found', True),
        ("FailedMount", 'MountVolume.SetUp failed for volume "c": configmap "conf" not found', True),
        ("FailedMount", "Unable to attach or mount volumes: timed out waiting for the condition", False),
        ("FailedAttachVolume", "Multi-Attach error for volume pvc-1: already exclusively attached", False),
        ("FailedCreatePodSandBox", "failed to assign an IP address to container", False),
    ],
)
def test_what_keeps_containers_from_being_created_is_named(reason: str, message: str, ends: bool) -> None:
    """A volume may come later; an object that does not exist ends the wait. Once a container runs, it is over."""
    creating = pod(20, {"name": "ray-worker", "state": {"waiting": {"reason": "ContainerCreating"}}})
    lines = service(), ready_head(), creating, event(30, reason, message, count=4)
    (found,) = blocked(*lines)
    assert (found.reason, found.sentence, found.pod) == (reason, message, WORKER)
    assert (judged(*lines, until_s=HOUR_S).state == "failed") is ends
    assert blocked(*lines, pod(60, running())) == []


def failed_pod(second: float, number: int, reason: str, message: str = "") -> dict[str, Any]:
    return pod(
        second, name=f"a-x1-gpu-worker-{number}", uid=f"p{number}", phase="Failed", reason=reason, message=message
    )


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("Evicted", "The node was low on resource: ephemeral-storage."),
        (
            "UnexpectedAdmissionError",
            "Allocate failed due to no healthy devices present; cannot allocate unhealthy GPU",
        ),
        ("OutOfcpu", "Node didn't have enough resource: cpu, requested: 8000, used: 4000, capacity: 8000"),
    ],
)
def test_a_pod_that_a_node_gives_up_is_replaced_and_only_many_alike_end_the_wait(reason: str, message: str) -> None:
    """KubeRay makes another pod. The third one that ends alike shows that the next ones will too."""
    two = [failed_pod(20 * number, number, reason, message) for number in (1, 2)]
    assert judged(service(), ready_head(), *two, until_s=HOUR_S).state == "pending"
    assert {(one.kind, one.reason) for one in blocked(service(), *two)} == {("pod_failed", reason)}
    third = failed_pod(80, 3, reason, message)
    gone = [{**one, "type": "DELETED"} for one in (*two, third)]
    found = judged(service(), ready_head(), *two, third, *gone, until_s=HOUR_S)
    assert found.state == "failed"
    assert reason in str(found.reason)
    assert message.rstrip(".") in str(found.reason)
    healthy = pod(90, running(), name="a-x1-gpu-worker-4", conditions=[{"type": "Ready", "status": "True"}])
    assert judged(service(), ready_head(), *two, third, *gone, healthy, until_s=HOUR_S).state == "pending"


def test_lost_nodes_never_end_the_wait() -> None:
    """A preempted node says nothing about the next one."""
    lost = [failed_pod(20 * number, number, "Terminated", "Pod was terminated in response to imminent node shutdown.")
            for number in range(1, 6)]  # fmt: skip
    assert judged(service(), ready_head(), *lost, until_s=HOUR_S).state == "pending"
    bare = [{**one, "object": {**one["object"], "status": {**one["object"]["status"], "reason": ""}}} for one in lost]
    assert judged(service(), ready_head(), *bare, until_s=HOUR_S).state == "pending"


@pytest.mark.parametrize(
    "reason", ["PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC"]
)
def test_pods_that_were_taken_away_never_end_the_wait(reason: str) -> None:
    """A drain, a taint or a pod of higher priority ends containers with 143; only the pod's condition says why."""
    told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "it had to go"}
    taken = [
        pod(20 * number, ended("Error", 143), name=f"w-{number}", phase="Failed", conditions=[told])
        for number in range(1, 6)
    ]
    found = judged(service(), ready_head(), *taken, until_s=HOUR_S)
    assert found.state == "pending"
    assert {(one.reason, one.sentence) for one in blocked(service(), ready_head(), *taken)} == {
        (reason, "it had to go")
    }


def test_an_earlier_pod_of_the_same_name_leaves_no_event_behind() -> None:
    """A head keeps its name when it is replaced; what was told about the one before is over."""
    creating = pod(100, {"name": "ray-worker", "state": {"waiting": {"reason": "ContainerCreating"}}})
    creating["object"]["metadata"]["creationTimestamp"] = stamp(90)
    old = event(30, "FailedMount", "an old disk")
    assert blocked(service(), old, creating) == []


def claiming(message: str, **event_of: Any) -> list[dict[str, Any]]:
    waits = unscheduled(20, UNBOUND)
    waits["object"]["spec"]["volumes"] = [{"name": "m", "persistentVolumeClaim": {"claimName": "models"}}]
    told = event(30, "ProvisioningFailed", message, kind="PersistentVolumeClaim", name="models", **event_of)
    return [service(), ready_head(), waits, told]


@pytest.mark.parametrize(
    ("message", "ends"),
    [
        ('storageclass.storage.k8s.io "fast" not found', True),
        ("no persistent volumes available for this claim and no storage class is set", True),
        ("VolumeCapabilities is invalid: specified multi writer with mount access type", True),
        ("api error VolumeLimitExceeded: You have exceeded your maximum gp3 storage limit of 50 TiB", False),
        ("Waiting for a volume to be created either by the external provisioner 'ebs.csi.aws.com'", False),
    ],
)
def test_a_claim_that_gets_no_volume_whatever_the_nodes_ends_the_wait(message: str, ends: bool) -> None:
    """The scheduler only says that it is not bound. A quota may give way."""
    assert judged(*claiming(message), until_s=195).state == "pending"
    found = judged(*claiming(message), until_s=HOUR_S)
    assert (found.state == "failed") is ends
    made = event(60, "ProvisioningSucceeded", "ok", kind="PersistentVolumeClaim", name="models", warning=False)
    assert judged(*claiming(message), made, until_s=HOUR_S).state == "pending"


def test_the_grace_period_of_a_missing_claim_begins_when_it_is_missing() -> None:
    """A claim that is made anew beside a pod that waits for its node for long is missing for a moment only."""
    long_before = unscheduled(20, TAINT)
    assert judged(service(), ready_head(), long_before, unscheduled(900, CLAIM), until_s=1000).state == "pending"
    assert judged(service(), ready_head(), long_before, unscheduled(900, CLAIM), until_s=HOUR_S).state == "failed"


def test_gates_are_named() -> None:
    """The scheduler only says that there are some; Kueue's and others' have their names in the pod."""
    gated = pod(20, node=None, conditions=[
        {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
         "message": "Scheduling is blocked due to non-empty scheduling gates"}
    ])  # fmt: skip
    gated["object"]["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    (found,) = blocked(service(), ready_head(), gated)
    assert found.sentence.endswith("scheduling gates: kueue.x-k8s.io/admission")
    assert "queue" in found.advice


def test_pods_that_a_starting_node_refused_end_nothing_once_it_takes_one() -> None:
    """A device plugin that starts refuses some pods within seconds; the next one is pulled for minutes."""
    refused = [failed_pod(20 + number, number, "UnexpectedAdmissionError", "unregistered") for number in (1, 2, 3)]
    taken = pod(30, waiting("ContainerCreating"), name="a-x1-gpu-worker-4")
    before = pod(10, running(), name="a-x1-gpu-worker-0")
    assert judged(service(), ready_head(), before, *refused, until_s=HOUR_S).state == "failed"
    assert judged(service(), ready_head(), before, *refused, taken, until_s=HOUR_S).state == "pending"
    ran = [pod(20 + number, ended("OOMKilled", 137), name=f"w-{number}", phase="Failed") for number in (1, 2, 3)]
    assert judged(service(), ready_head(), *ran, taken, until_s=HOUR_S).state == "failed"


def test_a_volume_that_a_quota_refuses_is_a_matter_of_capacity() -> None:
    """The pod has no node because its claim has no volume; another pod's claim is another matter."""
    message = "api error VolumeLimitExceeded: You have exceeded your maximum gp3 storage limit of 50 TiB in this region"
    found = blocked(*claiming(message), second=100)
    assert {(one.kind, one.about) for one in found} == {
        ("capacity", f"Pod n/{WORKER}"), ("capacity", "PersistentVolumeClaim models")
    }  # fmt: skip
    assert "Raise the quota" in found[0].advice
    other = event(30, "ProvisioningFailed", message, kind="PersistentVolumeClaim", name="others")
    assert [one.kind for one in blocked(service(), unscheduled(20, TAINT), other, second=100)] == ["unschedulable"]
