"""What the recordings say, and the same questions asked of a simulated trace: orders and shapes, without times."""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from trial_rig import Seen

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def read_recording(path: Path) -> tuple[list[Seen], dict[str, list[Any]]]:
    """Return the watch lines (without what was there before) and, by resource, everything that was asked once."""
    watched: list[Seen] = []
    asked: dict[str, list[Any]] = defaultdict(list)
    with gzip.open(path, "rt") as lines:
        for line in lines:
            item = json.loads(line)
            if item.get("type") in ("LISTED", "BOOKMARK"):
                continue
            if item.get("type"):
                at = datetime.fromisoformat(item["received_at"])
                watched.append(Seen(at, item["type"], item["resource"], item["object"]))
            else:
                asked[item["resource"]].append(item)
    return watched, asked


def role(obj: Mapping[str, Any]) -> str:
    """Return what an object is in a trial, for any generated name: `head`, `serve-svc`, `RayCluster`, ..."""
    name, kind = obj["name"], obj.get("kind", "")
    for part in ("-worker-", "-head-svc", "-serve-svc"):
        if part in name:
            cluster = re.fullmatch(r".*-[a-z0-9]{5}-head-svc(-\w+)?", name) and part == "-head-svc"
            return f"{'cluster' if cluster else 'service'}{part}" if "svc" in part else "worker"
    return "head" if "-head-" in name else str(kind)


def operator_events(trace: Iterable[Seen]) -> list[tuple[str, str, str]]:
    """Return the operator's events in order: change, kind, reason."""
    return [
        (seen.type, seen.object["involvedObject"]["kind"], seen.object["reason"])
        for seen in trace
        if seen.resource == "events" and str(seen.object["reportingComponent"]).startswith("ray")
    ]


def pod_events(trace: Iterable[Seen]) -> dict[str, list[tuple[str, str, str]]]:
    """Return each pod's events in order, repeats left out: role -> [(type, reason, container), ...]."""
    found: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for seen in trace:
        if seen.resource != "events" or seen.type != "ADDED" or seen.object["involvedObject"]["kind"] != "Pod":
            continue
        involved = seen.object["involvedObject"]
        found[role(involved)].append((seen.object["type"], seen.object["reason"], involved.get("fieldPath", "")))
    return dict(found)


def appearances(trace: Iterable[Seen], type_: str, *resources: str) -> list[str]:
    """Return the roles of the objects that came (or went), in order."""
    return [
        role({"kind": seen.object["kind"], **seen.object["metadata"]})
        for seen in trace
        if seen.type == type_ and seen.resource in resources
    ]


def transitions(trace: Iterable[Seen], resource: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return how conditions moved, by role: [(condition, status, reason), ...], one entry a change."""
    last: dict[tuple[str, str], tuple[str, str]] = {}
    moves: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for seen in trace:
        if seen.resource != resource:
            continue
        who = role({"kind": seen.object["kind"], **seen.object["metadata"]})
        for item in (seen.object.get("status") or {}).get("conditions") or ():
            now = (item["status"], item.get("reason", ""))
            if last.get((who, item["type"])) != now:
                last[who, item["type"]] = now
                moves[who].append((item["type"], *now))
    return dict(moves)


def application_states(trace: Iterable[Seen]) -> list[tuple[str, str]]:
    """Return where the operator showed which application status: [(active|pending, status), ...]."""
    states: list[tuple[str, str]] = []
    for seen in trace:
        if seen.resource != "rayservices":
            continue
        for part in ("active", "pending"):
            applications = ((seen.object.get("status") or {}).get(f"{part}ServiceStatus") or {}).get(
                "applicationStatuses"
            )
            for item in (applications or {}).values():
                if not states or states[-1] != (part, item["status"]):
                    states.append((part, item["status"]))
    return states


def shapes(objects: Iterable[Any]) -> dict[str, set[str]]:
    """Return every key path with the kinds of values found there; list positions and generated keys are one."""
    found: dict[str, set[str]] = defaultdict(set)
    for obj in objects:
        _walk(obj, "", found)
    return dict(found)


def _walk(value: Any, path: str, found: dict[str, set[str]]) -> None:
    found[path].add(_kind(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            plain = re.sub(r"[0-9a-f]{56}", "<id>", re.sub(r"10\.244\.\d+\.\d+", "<ip>", key))
            _walk(item, f"{path}.{plain}", found)
    elif isinstance(value, list):
        for item in value:
            _walk(item, f"{path}[]", found)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "time" if _TIME.fullmatch(value) else "text"
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, bool):
        return "bool"
    return {list: "list", int: "number", float: "number", type(None): "null"}[type(value)]
