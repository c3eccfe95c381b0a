"""Changes to copies of the recordings of real deployments: another worker, a lost node, another resource, an engine's
log. Everything that is not changed stays as it was recorded.
"""

import copy
import gzip
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

Lines = list[dict[str, Any]]

# A second GPU worker in the recording `node-late`.
OTHER = "llm-model-serve-n9mkr-gpu-group-worker-zzzzz"

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"


def recorded(name: str) -> Lines:
    """Return the lines of a recording, without its bookmarks."""
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz", "rt") as file:
        return [line for line in map(json.loads, file) if line.get("type") != "BOOKMARK"]


def changed(lines: Lines, resource: str, change: Callable[[dict[str, Any]], object]) -> Lines:
    """Return a copy with `change(line)` applied to every line of a resource."""
    copied = copy.deepcopy(lines)
    for line in copied:
        if line["resource"] == resource:
            change(line)
    return copied


def replaced_text(lines: Lines, old: str, new: str) -> Lines:
    """Return the lines with one text in place of another, wherever it is."""
    copied: Lines = json.loads(json.dumps(lines).replace(old, new))
    return copied


def submitted_at(lines: Lines) -> datetime:
    """Return when the RayService was first received; the tables of the recordings count from there."""
    first = next(line for line in lines if line["resource"] == "rayservices" and line["type"] == "ADDED")
    return datetime.fromisoformat(first["received_at"])


def instant(lines: Lines, after_s: float) -> str:
    """Return a receipt so many seconds after the submission."""
    at = submitted_at(lines) + timedelta(seconds=after_s)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seen(lines: Lines, after_s: float, kind: str, resource: str, obj: dict[str, Any]) -> dict[str, Any]:
    """Return the line of one version of an object."""
    return {"received_at": instant(lines, after_s), "type": kind, "resource": resource, "object": copy.deepcopy(obj)}


def in_order(lines: Lines) -> Lines:
    """Return the lines in the order of their receipts."""
    return sorted(lines, key=lambda line: line["received_at"])


def is_head(obj: dict[str, Any]) -> bool:
    return obj["metadata"].get("labels", {}).get("ray.io/node-type") == "head"


def is_worker(obj: dict[str, Any]) -> bool:
    return obj["metadata"].get("labels", {}).get("ray.io/node-type") == "worker"


def worker_lines(lines: Lines) -> Lines:
    """Return the lines of the worker's pod."""
    return [line for line in lines if line["resource"] == "pods" and is_worker(line["object"])]


def twin(lines: Lines, name: str, *, later_s: float = 0.0, node: str = "", ip: str = "10.244.0.77") -> Lines:
    """Return the worker's pod a second time, under another name: its lines and events, moved by some seconds."""
    original = worker_lines(lines)[0]["object"]["metadata"]
    own = [
        line
        for line in lines
        if (line["resource"] == "pods" and line["object"]["metadata"].get("uid") == original["uid"])
        or (line["resource"].startswith("events") and original["uid"] in json.dumps(line["object"]))
    ]
    text = json.dumps(own).replace(original["uid"], f"uid-{name}").replace(original["name"], name)
    found: Lines = json.loads(text)
    for number, line in enumerate(found):
        line["received_at"] = moved(line["received_at"], later_s)
        obj = line["object"]
        if line["resource"] != "pods":
            obj["metadata"] |= {"uid": f"{name}-event-{obj['metadata']['uid']}", "name": f"{name}.{number}"}
        else:
            obj.get("spec", {}).update({"nodeName": node} if node and obj["spec"].get("nodeName") else {})
            if obj.get("status", {}).get("podIP"):
                obj["status"]["podIP"] = ip
        line["object"] = stamps_moved(obj, later_s)
    return found


def moved(stamp: str, by_s: float) -> str:
    """Return an instant moved, as precise as it was written."""
    at = datetime.fromisoformat(stamp) + timedelta(seconds=by_s)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if "." in stamp else "%Y-%m-%dT%H:%M:%SZ")


def stamps_moved(value: Any, by_s: float) -> Any:
    """Return an object with every instant in it moved by some seconds."""
    if isinstance(value, dict):
        return {key: stamps_moved(inner, by_s) for key, inner in value.items()}
    if isinstance(value, list):
        return [stamps_moved(inner, by_s) for inner in value]
    is_stamp = isinstance(value, str) and len(value) >= 20 and value[4] == value[7] == "-" and value.endswith("Z")
    return moved(value, by_s) if is_stamp and by_s else value


def applications(line: dict[str, Any]) -> dict[str, Any]:
    """Return the applications in an answer of Serve; empty if there are none."""
    body = line["object"]
    found: dict[str, Any] = body.get("applications") or {} if isinstance(body, dict) else {}
    return found


def replica_on(replica: dict[str, Any], pod: str, ip: str, **changes: Any) -> dict[str, Any]:
    """Return a copy of a replica on another pod."""
    return {**copy.deepcopy(replica), "node_instance_id": pod, "node_ip": ip, "node_id": f"node-{pod}", **changes}


def second_worker(lines: Lines, *, bundles: int = 0, later_s: float = 2.0) -> Lines:
    """A second GPU worker on the same node starts later. `bundles`: accelerators of the engine's placement group."""

    def told(line: dict[str, Any]) -> None:
        for application in applications(line).values():
            for deployment in application["deployments"].values():
                deployment["deployment_config"]["placement_group_bundles"] = [{"CPU": 1.0, "GPU": 1.0}] * bundles

    return in_order([*changed(lines, "serve-rest", told), *twin(lines, OTHER, later_s=later_s)])
