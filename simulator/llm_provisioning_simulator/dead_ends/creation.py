"""Pods that the API server refuses: quotas, limits, policies, and fields that do not fit together."""

from typing import Any, Final

from llm_provisioning_simulator.dead_ends.scene import NAMESPACE, DeadEnd, Says, Scene

_HEAD: Final = "FailedToCreateHeadPod"
_WORKER: Final = "FailedToCreateWorkerPod"


def _quota(scene: Scene, name: str, hard: dict[str, str]) -> None:
    scene.create("resourcequotas", name, spec={"hard": hard})


def _level(scene: Scene) -> None:
    def enforce(namespace: dict[str, Any]) -> None:
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted"

    scene.store.mutate("namespaces", NAMESPACE, None, enforce, manager="kubectl")


def _lonely_mount(scene: Scene) -> None:
    scene.container("worker")["volumeMounts"] = [{"name": "models", "mountPath": "/models"}]


def _requests_above(scene: Scene) -> None:
    scene.container("head")["resources"] = {"requests": {"cpu": "4"}, "limits": {"cpu": "2", "memory": "8Gi"}}


def _largest(scene: Scene) -> None:
    scene.create("limitranges", "small", spec={"limits": [{"type": "Container", "max": {"cpu": "4"}}]})


ENDS: Final = (
    DeadEnd(
        "quota-of-head",
        "the namespace's quota has no CPU left for the head",
        lambda scene: _quota(scene, "team-a", {"requests.cpu": "1", "limits.cpu": "1"}),
        Says("RayCluster", "event", _HEAD, "is forbidden: exceeded quota: team-a, requested: "),
    ),
    DeadEnd(
        "quota-of-gpus",
        "the namespace's quota has no GPU for the worker",
        lambda scene: _quota(scene, "gpus", {"requests.nvidia.com/gpu": "0"}),
        Says("RayCluster", "event", _WORKER, "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1"),
    ),
    DeadEnd(
        "quota-condition",
        "the same, read from the RayCluster's condition",
        lambda scene: _quota(scene, "pods", {"pods": "0"}),
        Says("RayCluster", "condition", "FailedCreateHeadPod", "exceeded quota: pods"),
    ),
    DeadEnd(
        "limit-range",
        "the namespace's LimitRange allows no container of the worker's size",
        _largest,
        Says("RayCluster", "event", _WORKER, "maximum cpu usage per Container is 4, but limit is 8"),
    ),
    DeadEnd(
        "service-account-missing",
        "the worker's service account does not exist",
        lambda scene: scene.pod("worker").update(serviceAccountName="reader"),
        Says(
            "RayCluster", "event", _WORKER, 'error looking up service account serving/reader: serviceaccount "reader"'
        ),
    ),
    DeadEnd(
        "priority-class-missing",
        "the head's priority class does not exist",
        lambda scene: scene.pod("head").update(priorityClassName="urgent"),
        Says("RayCluster", "event", _HEAD, "no PriorityClass with name urgent was found"),
    ),
    DeadEnd(
        "runtime-class-missing",
        "the worker's runtime class does not exist",
        lambda scene: scene.pod("worker").update(runtimeClassName="nvidia"),
        Says("RayCluster", "event", _WORKER, 'RuntimeClass "nvidia" not found'),
    ),
    DeadEnd(
        "pod-security",
        "the namespace enforces the restricted Pod Security Standard",
        _level,
        Says("RayCluster", "event", _HEAD, 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation'),
    ),
    DeadEnd(
        "requests-above-limits",
        "the head asks for more CPU than its limit",
        _requests_above,
        Says("RayCluster", "event", _HEAD, "must be less than or equal to cpu limit"),
    ),
    DeadEnd(
        "mount-without-volume",
        "the worker mounts a volume that its pod does not have",
        _lonely_mount,
        Says("RayCluster", "event", _WORKER, 'spec.containers[0].volumeMounts[0].name: Not found: "models"'),
    ),
    DeadEnd(
        "policy-denies",
        "fault: an admission webhook denies Ray's pods",
        lambda scene: scene.fault("webhook", "denies"),
        Says("RayCluster", "event", _HEAD, "denied the request"),
    ),
    DeadEnd(
        "webhook-unreachable",
        "fault: an admission webhook does not answer",
        lambda scene: scene.fault("webhook", "unreachable"),
        Says("RayCluster", "event", _HEAD, "failed calling webhook"),
    ),
)
