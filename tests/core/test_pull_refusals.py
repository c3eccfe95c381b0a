"""An image that cannot be pulled ends the wait; one that may still be pulled does not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_llm_provisioning.core.pull_refusals import PullRefusals
from airflow_llm_provisioning.core.readiness import Readiness

BEGIN = datetime(2026, 5, 4, 12, tzinfo=UTC)
# Messages of containerd for an absent tag, of ECR for a missing permission, and of Azure for a missing role.
NOT_FOUND = 'failed to resolve reference "r/i:absent": r/i:absent: not found'
FORBIDDEN = 'failed to resolve reference "r/i:1": unexpected status from HEAD request: 403 Forbidden'
UNAUTHORIZED = "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized"


def pod(
    reason: str | None, message: str = NOT_FOUND, *, cluster: str = "a-x1", field: str = "initContainerStatuses"
) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}} if reason else {"running": {}}
    return {
        "metadata": {"name": "a-worker", "uid": "p", "labels": {"ray.io/cluster": cluster}},
        "status": {field: [{"name": "wait-gcs-ready", "image": "r/i:absent", "state": state}]},
    }


def lasting(*seen: tuple[float, dict[str, Any]], asked_s: float, kind: str = "MODIFIED") -> str | None:
    refusals = PullRefusals()
    for second, obj in seen:
        refusals.feed(obj, kind, BEGIN + timedelta(seconds=second))
    return refusals.lasting(BEGIN + timedelta(seconds=asked_s))


@pytest.mark.parametrize("message", [NOT_FOUND, FORBIDDEN, UNAUTHORIZED])
def test_a_lasting_refusal_of_a_registry_is_final(message: str) -> None:
    """The kubelet's two alternating reasons are one failure, counted from the first one."""
    turns = ((0, pod("ErrImagePull", message)), (2, pod("ImagePullBackOff", message)), (12, pod("ErrImagePull")))
    assert lasting(*turns, asked_s=179) is None
    said = lasting(*turns, asked_s=180)
    assert said is not None
    assert said.startswith("Pod a-worker cannot pull r/i:absent for wait-gcs-ready: ErrImagePull: ")
    assert message in said
    assert said.endswith("(for 180 s)")


@pytest.mark.parametrize(
    "passing",
    [
        pod("ErrImagePull", "read tcp 10.0.0.1:443: connection reset by peer"),
        pod("ErrImagePull", "429 Too Many Requests"),
        pod("ContainerCreating", ""),
        pod("PodInitializing", ""),
        pod(None),
    ],
)
def test_what_may_pass_is_waited_for(passing: dict[str, Any]) -> None:
    """Throttling, an interrupted connection and a container being created give no verdict, however long."""
    assert lasting((0, passing), asked_s=4000) is None


def test_a_late_pull_clears_the_refusal() -> None:
    """With a role that was granted late the container runs, or its pod is gone."""
    assert lasting((0, pod("ErrImagePull")), (100, pod(None)), asked_s=400) is None
    refusals = PullRefusals()
    refusals.feed(pod("ErrImagePull"), "MODIFIED", BEGIN)
    refusals.feed(pod("ErrImagePull"), "DELETED", BEGIN)
    assert refusals.lasting(BEGIN + timedelta(hours=1)) is None


def line(second: float, resource: str, obj: dict[str, Any]) -> dict[str, Any]:
    at = (BEGIN + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    return {"received_at": at, "type": "MODIFIED", "resource": resource, "object": obj}


@pytest.mark.parametrize(("cluster", "state"), [("a-x1", "failed"), ("b-x1", "pending")])
def test_the_wait_ends_for_a_pod_of_this_rayservice_only(cluster: str, state: str) -> None:
    """KubeRay does not report it: the pod of this RayService does, and pods of others do not count."""
    service = {
        "metadata": {"name": "a", "namespace": "n", "uid": "rs", "creationTimestamp": "2026-05-04T12:00:00Z"},
        "status": {"pendingServiceStatus": {"rayClusterName": "a-x1"}},
    }
    readiness = Readiness("a", "n")
    readiness.feed(line(0, "rayservices", service))
    readiness.feed(line(20, "pods", pod("ErrImagePull", cluster=cluster, field="containerStatuses")))
    assert readiness.tick(BEGIN + timedelta(seconds=199)) == "pending"
    assert readiness.tick(BEGIN + timedelta(seconds=201)) == state
