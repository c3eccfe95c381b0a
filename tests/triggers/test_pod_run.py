"""The wait for a pod that runs once: the pod decides before the clock does."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.triggers.deadline import Deadline
from airflow_llm_provisioning.triggers.pod_run import PodRunWait

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class ScriptedCluster:
    """One pod in one phase, at one instant."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def clock(self) -> datetime:
        return NOW

    def real_seconds(self, cluster_seconds: float) -> float:
        return 0.0

    async def get(self, *_: Any) -> dict[str, Any]:
        return {"status": {"phase": self.phase}}

    async def list(self, _: str, namespace: str) -> tuple[list[dict[str, Any]], str]:
        return [], ""


async def test_an_image_that_is_refused_ends_the_wait_early_and_is_named() -> None:
    """The node is paid for while the kubelet tries again and again; the sentence names pod, image and what to do."""

    class Refused(ScriptedCluster):
        def __init__(self) -> None:
            super().__init__("Pending")
            self.now = NOW

        def clock(self) -> datetime:
            self.now += timedelta(seconds=20)
            return self.now

        async def get(self, *_: Any) -> dict[str, Any]:
            message = 'failed to resolve reference "r/i:1": r/i:1: not found'
            waiting = {"reason": "ErrImagePull", "message": message}
            status = {"name": "pull", "image": "r/i:1", "state": {"waiting": waiting}}
            metadata = {"name": "p", "namespace": "n"}
            return {"metadata": metadata, "status": {"phase": "Pending", "containerStatuses": [status]}}

    wait = PodRunWait(
        cluster={}, namespace="n", name="p", uid="u", ledger_entry="e", started_at=NOW.isoformat(), timeout_s=3600
    )
    cluster = cast("Cluster", Refused())
    _, found = await wait._ended(cluster, Deadline(cluster, NOW, 3600))
    for part in ("cannot pull the image", "Pod n/p cannot pull r/i:1", "r/i:1: not found", "Check name and tag"):
        assert part in str(found)


@pytest.mark.parametrize(
    ("phase", "why"), [("Succeeded", None), ("Failed", "failed before it had"), ("Pending", "did not end within 600 s")]
)
async def test_a_wait_that_begins_after_the_limit_looks_first(phase: str, why: str | None) -> None:
    """The triggerer was away until the limit had passed; how the pod ended was known long before."""
    began_at = NOW - timedelta(hours=2)
    wait = PodRunWait(
        cluster={}, namespace="n", name="p", uid="u", ledger_entry="e", started_at=began_at.isoformat(), timeout_s=600
    )
    cluster = cast("Cluster", ScriptedCluster(phase))
    _, found = await wait._ended(cluster, Deadline(cluster, began_at, 600))
    assert found == why if why is None else str(found).startswith(why)


async def test_a_pod_that_got_no_machine_says_so() -> None:
    """A preparation that fails for capacity is told as such, in the words of the autoscaler; NoCapacityError."""

    class Empty(ScriptedCluster):
        name = "c"

        async def get(self, *_: Any) -> dict[str, Any]:
            return {"metadata": {"name": "p", "namespace": "n"}, "spec": {}, "status": {"phase": "Pending"}}

        async def list(self, _: str, namespace: str) -> tuple[list[dict[str, Any]], str]:
            message = "Node scale up in zones us-central1-a associated with this pod failed: GCE out of resources."
            about = {"kind": "Pod", "name": "p"}
            told = {"reason": "FailedScaleUp", "message": message, "lastTimestamp": NOW.isoformat()}
            return ([{"metadata": {"uid": "e"}, "involvedObject": about, **told}] if namespace == "n" else []), ""

        async def delete(self, *_: Any, **__: Any) -> None:
            return None

        async def wait_gone(self, *_: Any, **__: Any) -> bool:
            return True

    wait = PodRunWait(
        cluster={}, namespace="n", name="p", uid="u", ledger_entry="e", started_at=NOW.isoformat(), timeout_s=0
    )
    event = await wait._watched(cast("Cluster", Empty("Pending")))
    assert event["error_type"] == "NoCapacityError"
    assert event["error"].startswith("No capacity (stock-out in us-central1-a): Pod n/p on c did not end within 0 s")
    assert "GCE out of resources" in event["error"]
