"""A small trace as the recorder writes it: one static deployment that became ready, every value made up."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_llm_provisioning.core.trace import encode_chunk, end_line, header_line, line

AT = datetime(2026, 5, 4, 12, 0, 0, 400_000, tzinfo=UTC)
NAME, NAMESPACE = "trial-a", "serving"


def small_trace(trial_id: str = "night-1", **trial: Any) -> list[dict[str, Any]]:
    """Return the lines: submitted at 0 s, RayCluster at 2 s, head at 3 to 40 s, service and endpoint at 61 s."""
    cluster = "trial-a-x7k2p"
    pod = {"ray.io/cluster": cluster, "ray.io/node-type": "head"}
    starting = an_object("head", "trial-a-head", 3, owner="rc", labels=pod, spec={"nodeName": "node-1"})
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(40)}
    serving = {"kubernetes.io/service-name": "trial-a-serve-svc"}
    endpoint = {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"uid": "head"}}
    return [
        header_line(
            AT,
            origin="simulated",
            namespace=NAMESPACE,
            name=NAME,
            uid="rs",
            trial={"trial_id": trial_id, "treatments": [], **trial},
        ),
        seen("rayservices", 0, an_object("rs", NAME, 0)),
        seen("rayclusters", 2, an_object("rc", cluster, 2, owner="rs")),
        seen("nodes", 2, an_object("n1", "node-1", -3600), kind="LISTED"),
        seen("pods", 3, starting),
        seen("pods", 40, {**changed(starting), "status": {"conditions": [ready]}}, kind="MODIFIED"),
        seen("services", 61, an_object("svc", "trial-a-serve-svc", 61, owner="rs")),
        seen(
            "endpointslices", 61, an_object("eps", "s-1", 61, owner="svc", labels=serving) | {"endpoints": [endpoint]}
        ),
        end_line(AT + timedelta(seconds=70), "ready"),
    ]


def small_chunks(**fields: Any) -> list[bytes]:
    """Return the lines as two stored chunks."""
    lines = small_trace(**fields)
    return [encode_chunk(lines[:4]), encode_chunk(lines[4:])]


def seen(resource: str, after_s: float, obj: dict[str, Any], kind: str = "ADDED") -> dict[str, Any]:
    """Return an object's line, received 10 ms after the instant."""
    return line(AT + timedelta(seconds=after_s, milliseconds=10), kind, resource, obj)


def an_object(
    uid: str, name: str, created_s: float, *, owner: str = "", labels: dict[str, str] | None = None, **fields: Any
) -> dict[str, Any]:
    """Return an object of the trial's namespace."""
    metadata: dict[str, Any] = {
        "uid": uid, "name": name, "namespace": NAMESPACE, "resourceVersion": "100",
        "creationTimestamp": stamp(created_s), "labels": labels or {},
    }  # fmt: skip
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"metadata": metadata, **fields}


def changed(obj: dict[str, Any]) -> dict[str, Any]:
    """Return a later version of an object."""
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": "200"}}


def stamp(after_s: float) -> str:
    """Return an instant as the API server writes it: whole seconds."""
    return (AT + timedelta(seconds=after_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
