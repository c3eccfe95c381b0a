"""What KubeRay cannot do is named with the API server's sentence."""

from typing import Any

import pytest
from blocker_lines import HOUR_S, at, blocked, event, judged, line, pod, ready_head, running, service, waiting

from airflow_llm_provisioning.core.blockers import GRACE_S, grace_periods
from airflow_llm_provisioning.exceptions import ConfigurationError

QUOTA = 'pods "a-x1-head" is forbidden: exceeded quota: gpus, requested: cpu=8, used: cpu=8, limited: cpu=8'
ADMISSION = 'pods "a-x1-head" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation'
LIMITS = 'Pod "a-x1-head" is invalid: spec.containers[0].resources.requests: must be less than or equal to cpu limit'
WEBHOOK = 'Internal error occurred: failed calling webhook "v.example.com": dial tcp 10.0.0.3:443: connection refused'


@pytest.mark.parametrize(
    ("message", "ends", "kind"),
    [(ADMISSION, True, "pod_refused"), (LIMITS, True, "pod_refused"), (QUOTA, False, "quota"),
     (WEBHOOK, False, "operator_retries")],
)  # fmt: skip
def test_a_pod_that_cannot_be_created_is_named(message: str, ends: bool, kind: str) -> None:
    """Admission answers alike at every try; a quota or a webhook may give way."""
    failed = event(20, "FailedToCreateHeadPod", message, kind="RayCluster", name="a-x1", count=18)
    (found,) = blocked(service(), failed)
    assert (found.kind, found.about) == (kind, "RayCluster a-x1")
    assert "FailedToCreateHeadPod (18 times)" in found.reason
    assert message in found.sentence
    assert (judged(service(), failed, until_s=HOUR_S).state == "failed") is ends
    assert blocked(service(), failed, ready_head(30)) == []


def test_a_worker_that_cannot_be_created_blocks_although_there_is_a_head() -> None:
    """The two roles are told apart, and a later creation ends it."""
    failed = event(20, "FailedToCreateWorkerPod", ADMISSION, kind="RayCluster", name="a-x1")
    assert [one.kind for one in blocked(service(), ready_head(), failed)] == ["pod_refused"]
    assert blocked(service(), ready_head(), failed, pod(30, running())) == []
    made = event(40, "CreatedWorkerPod", "Created", kind="RayCluster", name="a-x1", warning=False)
    assert blocked(service(), ready_head(), failed, made) == []


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("InvalidRayServiceSpec", "The RayService spec is invalid n/a: headGroupSpec should have a container"),
        ("InvalidRayServiceMetadata", "RayService name should be no more than 47 characters"),
    ],
)
def test_an_invalid_rayservice_ends_the_wait_at_once(reason: str, message: str) -> None:
    """KubeRay does not try again; a corrected RayService is another generation."""
    told = event(20, reason, message, kind="RayService", name="a")
    found = judged(service(), told)
    assert (found.state, reason in str(found.reason), message in str(found.reason)) == ("failed", True, True)
    corrected = service(30)
    corrected["object"]["metadata"]["generation"] = 3
    assert blocked(service(), told, corrected) == []


@pytest.mark.parametrize("reason", ["InitializingTimeout", "ValidationFailed"])
def test_what_kuberay_gives_up_ends_the_wait_at_once(reason: str) -> None:
    """The condition Ready has the reason and KubeRay's message."""
    ready = {"type": "Ready", "status": "False", "reason": reason, "message": "the cluster was not ready in time"}
    found = judged(service(conditions=[ready]))
    assert found.state == "failed"
    assert f"RayService n/a: {reason}: the cluster was not ready in time" in str(found.reason)


def test_where_nothing_exists_yet_the_missing_object_is_named() -> None:
    """No status: the operator does not run. A RayCluster without pods: no pod was created."""
    silent = service()
    silent["object"].pop("status")
    assert "KubeRay operator" in judged(silent).blockers.at(at(60))[0].reason
    assert judged(service()).blockers.at(at(60))[0].about == "RayCluster a-x1"


@pytest.mark.parametrize(
    ("spec", "cluster", "about", "words"),
    [
        ({"suspend": True}, {}, "RayService n/a", "suspended: set suspend to false"),
        ({}, {"suspend": True}, "RayCluster a-x1", "suspended: set suspend to false"),
        ({"managedBy": "kueue.x-k8s.io/multikueue"}, {}, "RayService n/a", "managed by kueue.x-k8s.io/multikueue"),
        ({"managedBy": "ray.io/kuberay-operator"}, {}, "RayCluster a-x1", "no pods yet"),
    ],
)
def test_why_the_operator_creates_nothing(spec: Any, cluster: Any, about: str, words: str) -> None:
    """A suspended RayService or RayCluster (KubeRay 1.7 and 1.1, also by Kueue), or one of another controller."""
    told = service()
    told["object"]["spec"] = spec
    metadata = {"name": "a-x1", "uid": "rc", "ownerReferences": [{"uid": "rs"}]}
    (found,) = judged(told, line(1, "rayclusters", {"metadata": metadata, "spec": cluster})).blockers.at(at(60))
    assert (found.about, words in found.reason, found.passes) == (about, True, True)


def test_grace_periods_are_checked() -> None:
    """A kind that does not exist, and a value that is no number of seconds, are refused with the known kinds."""
    assert grace_periods({"image_refused": 60, "crash_loop": None}) == {
        **GRACE_S,
        "image_refused": 60.0,
        "crash_loop": None,
    }
    for own in ({"image": 60}, {"image_refused": -1}, {"image_refused": "60"}, {"image_refused": True}):
        with pytest.raises(ConfigurationError, match="image"):
            grace_periods(own)


def test_a_grace_period_of_null_waits_until_the_limit() -> None:
    """So a user can switch each early end off."""
    lines = service(), ready_head(), pod(20, waiting("InvalidImageName", "invalid reference format"))
    assert judged(*lines, until_s=HOUR_S, graces={"image_refused": None}).state == "pending"
