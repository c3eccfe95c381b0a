"""Builds the lines of a recording in which something blocks, and judges them as the wait does."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_llm_provisioning.core.blockers import Blocker
from airflow_llm_provisioning.core.readiness import Readiness

BEGIN = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR_S = 3600
WORKER = "a-x1-gpu-worker-1"
Line = dict[str, Any]


def at(second: float) -> datetime:
    return BEGIN + timedelta(seconds=second)


def stamp(second: float) -> str:
    return at(second).isoformat().replace("+00:00", "Z")


def line(second: float, resource: str, obj: Any, kind: str | None = "MODIFIED", **extra: Any) -> Line:
    return {"received_at": stamp(second), "type": kind, "resource": resource, "object": obj, **extra}


def service(second: float = 0, applications: Any = None, **more: Any) -> Line:
    metadata = {"name": "a", "namespace": "n", "uid": "rs", "creationTimestamp": stamp(0)}
    pending = {"rayClusterName": "a-x1", "applicationStatuses": applications or {}}
    return line(second, "rayservices", {"metadata": metadata, "status": {"pendingServiceStatus": pending, **more}})


def pod(
    second: float, *containers: Any, name: str = WORKER, role: str = "worker", init: Any = (), conditions: Any = (),
    uid: str = "", kind: str = "MODIFIED", cluster: str = "a-x1", node: str | None = "node-1", **status: Any,
) -> Line:  # fmt: skip
    labels = {"ray.io/cluster": cluster, "ray.io/node-type": role, "ray.io/group": "gpu"}
    metadata = {"name": name, "namespace": "n", "uid": uid or name, "labels": labels, "creationTimestamp": stamp(0)}
    told = {"conditions": list(conditions), "containerStatuses": list(containers), "initContainerStatuses": list(init)}
    return line(second, "pods", {"metadata": metadata, "spec": {"nodeName": node}, "status": told | status}, kind)


def ready_head(second: float = 1) -> Line:
    return pod(
        second, running("ray-head"), name="a-x1-head", role="head", conditions=[{"type": "Ready", "status": "True"}]
    )


def container(state: Any, *, name: str = "ray-worker", restarts: int = 0, last: Any = None, ready: bool = False) -> Any:
    last_state = {"terminated": last} if last else {}
    told = {"state": state, "restartCount": restarts, "lastState": last_state, "ready": ready}
    return {"name": name, "image": "r/i:1", **told}


def waiting(reason: str, message: str = "", **more: Any) -> Any:
    return container({"waiting": {"reason": reason, "message": message}}, **more)


def ended(reason: str = "Error", exit_code: int = 1, **more: Any) -> Any:
    return container({"terminated": {"reason": reason, "exitCode": exit_code}}, **more)


def running(name: str = "ray-worker", **more: Any) -> Any:
    return container({"running": {}}, name=name, **more)


def event(
    second: float, reason: str, message: str, *, kind: str = "Pod", name: str = WORKER, component: str = "kubelet",
    warning: bool = True, count: int = 1,
) -> Line:  # fmt: skip
    obj = {
        "metadata": {"uid": f"{reason}-{name}", "name": reason, "namespace": "n", "creationTimestamp": stamp(second)},
        "involvedObject": {"kind": kind, "name": name}, "reason": reason, "message": message, "count": count,
        "type": "Warning" if warning else "Normal", "source": {"component": component}, "lastTimestamp": stamp(second),
    }  # fmt: skip
    return line(second, "events", obj, "ADDED")


def judged(*lines: Line, until_s: float = 0, **options: Any) -> Readiness:
    """Feed the lines and let the time pass, every five seconds, until the end or `until_s`."""
    readiness = Readiness("a", "n", **options)
    second = 0.0
    for item in lines:
        readiness.feed(item)
    last = datetime.fromisoformat(lines[-1]["received_at"])
    while readiness.state == "pending" and last + timedelta(seconds=second) < at(until_s):
        second += 5
        readiness.tick(last + timedelta(seconds=second))
    return readiness


def blocked(*lines: Line, second: float = HOUR_S) -> list[Blocker]:
    """Return what blocks at a moment, without anything that only waits."""
    readiness = Readiness("a", "n")
    for item in lines:
        readiness.blockers.feed(item)
    return [one for one in readiness.blockers.at(at(second)) if one.kind != "waiting"]
