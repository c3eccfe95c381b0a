"""Changes of finished traces that no cluster, no clock within minutes and no network can cause.

Each change takes a deployment and returns its lines with one impossibility, or None if it does not apply to the
deployment. Shifts between clocks are a minute or more, far beyond every drawn skew. Shifts within one clock, whose skew
does not matter, are seconds.
"""

import copy
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from proof.generated.deployment import Deployment
from proof.generated.names import Json

Lines = list[Json]
Spoiler = Callable[[Deployment, random.Random], Lines | None]


def spoil(deployment: Deployment, rng: random.Random) -> tuple[str, Lines]:
    """Return a changed copy of a deployment's lines, and the name of the impossibility."""
    while True:
        name = rng.choice(sorted(SPOILERS))
        lines = SPOILERS[name](deployment, rng)
        if lines is not None:
            return name, lines


def _created_later(resource: str) -> Spoiler:
    """The creation stamp of an object is long after its receipt."""

    def spoiled(deployment: Deployment, rng: random.Random) -> Lines:
        at = deployment.truth["endpoint_ready"] + timedelta(seconds=rng.uniform(70, 4000))
        return _changed(deployment, resource, lambda obj: obj["metadata"].update(creationTimestamp=_second(at)))

    return spoiled


def _created_twice(deployment: Deployment, rng: random.Random) -> Lines | None:
    """Two versions of one pod have different creation stamps."""
    lines = copy.deepcopy(deployment.lines)
    mine = [line for line in lines if _is(line, "pods", "pod-worker")]
    if len(mine) < 2:
        return None
    metadata = rng.choice(mine)["object"]["metadata"]
    metadata["creationTimestamp"] = _moved(metadata["creationTimestamp"], -rng.uniform(60, 600))
    return lines


def _deleted_before_created(deployment: Deployment, rng: random.Random) -> Lines:
    """The RayService was deleted before its creation."""
    lines = copy.deepcopy(deployment.lines)
    last = [line for line in lines if line["resource"] == "rayservices"][-1]["object"]["metadata"]
    last["deletionTimestamp"] = _moved(last["creationTimestamp"], -rng.uniform(60, 600))
    return lines


def _endpoint_before_submission(deployment: Deployment, rng: random.Random) -> Lines:
    """The ready endpoint was received before the RayService was created."""
    early = deployment.truth["submitted"] - timedelta(seconds=rng.uniform(60, 600))
    lines = copy.deepcopy(deployment.lines)
    for line in lines:
        if line["resource"] == "endpointslices":
            line["received_at"] = early.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return lines


def _pulled_before_pulling(deployment: Deployment, rng: random.Random) -> Lines | None:
    """A kubelet finished a pull before it began it."""
    back = rng.uniform(300, 900)
    return _events(deployment, "Pulled", "Successfully pulled", lambda at: _moved(at, -back), also="Pulling")


def _pull_longer_than_the_pod(deployment: Deployment, rng: random.Random) -> Lines | None:
    """A pull took hours in a pod of minutes."""
    lines = copy.deepcopy(deployment.lines)
    found = False
    for line in lines:
        key = "message" if line["resource"] == "events" else "note"
        text = line["object"].get(key, "") if line["resource"] in _EVENTS else ""
        if "Successfully pulled" in text:
            line["object"][key] = re.sub(r" in [0-9a-z.]+", f" in {rng.randint(2, 9)}h0m0s", text, count=1)
            found = True
    return lines if found else None


def _started_before_created(deployment: Deployment, rng: random.Random) -> Lines | None:
    """The worker's container ran before its pod was created."""
    at = _second(deployment.truth["submitted"] - timedelta(seconds=rng.uniform(60, 600)))

    def early(obj: Json) -> None:
        for status in obj.get("status", {}).get("containerStatuses", []):
            if obj["metadata"]["uid"] == "pod-worker":
                status["state"]["running"]["startedAt"] = at

    lines = _changed(deployment, "pods", early)
    changed = _restamped(lines, "Started", "Started container ray-worker", lambda _: at)
    return lines if changed else None


def _ready_before_created(deployment: Deployment, rng: random.Random) -> Lines | None:
    """A node was Ready before it registered."""
    if "worker.node_created" not in deployment.truth:
        return None
    at = _second(deployment.truth["worker.node_created"] - timedelta(seconds=rng.uniform(60, 600)))

    def early(obj: Json) -> None:
        for entry in obj["status"].get("conditions", []) if obj["metadata"]["name"] == "node-gpu" else []:
            entry["lastTransitionTime"] = at

    return _changed(deployment, "nodes", early)


def _kubelet_jumps(deployment: Deployment, rng: random.Random) -> Lines | None:
    """A kubelet's clock jumps ahead during the trial: its later stamps are long after their receipts."""
    ahead = rng.uniform(120, 900)
    return _events(deployment, "Started", "Started container ray-worker", lambda at: _moved(at, ahead))


def _scheduled_in_the_future(deployment: Deployment, rng: random.Random) -> Lines | None:
    """A scheduler with one or two messages writes a stamp in the future."""
    ahead = rng.uniform(120, 900)
    return _events(deployment, "Scheduled", "Successfully assigned", lambda at: _moved(at, ahead))


def _deployed_before_the_head(deployment: Deployment, rng: random.Random) -> Lines:
    """Serve received its configuration before a head existed, by one of its stamps."""
    back = rng.uniform(1000, 4000)

    def early(obj: Json) -> None:
        for app in obj.get("applications", {}).values():
            app["last_deployed_time_s"] -= back

    return _changed(deployment, "serve-rest", early)


def _log_backwards(deployment: Deployment, rng: random.Random) -> Lines | None:
    """In one log, the replica began after it had ended."""
    ahead = timedelta(seconds=rng.uniform(60, 300)) + deployment.truth["replica_started"]
    shown = ahead.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
    return _log(deployment, r"INFO [-0-9 :,]+ (\S+ \S+ -- Started initializing)", rf"INFO {shown} \1")


def _built_before_asked(deployment: Deployment, rng: random.Random) -> Lines | None:
    """Serve's controller built the application some seconds before it received the configuration, by its own clock."""
    at = deployment.truth["serve_config_sent"] + timedelta(seconds=deployment.skews["serve-head"])
    shown = (at - timedelta(seconds=rng.uniform(1.5, 20))).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
    built = r"INFO [-0-9 :,]+ (\S+ \S+ -- Imported and built)"
    return _log(deployment, built, rf"INFO {shown} \1", name="controller_")


def _log_of_another_day(deployment: Deployment, rng: random.Random) -> Lines | None:
    """A log was written days before the submission."""
    shown = (deployment.truth["submitted"] - timedelta(days=rng.randint(2, 9))).strftime("%Y-%m-%d")
    return _log(deployment, r"INFO \d{4}-\d\d-\d\d", f"INFO {shown}")


def _ready_without_endpoint(deployment: Deployment, rng: random.Random) -> Lines:
    """The recorder reports ready without any ready endpoint."""
    lines = [line for line in deployment.lines if line["resource"] not in ("endpointslices", "services")]
    end = {"outcome": "ready", "reason": None}
    return [*lines, {**lines[-1], "type": "END", "resource": "trace", "object": end}]


SPOILERS: Final[dict[str, Spoiler]] = {
    "application built before its configuration": _built_before_asked,
    "container started before its pod was created": _started_before_created,
    "endpoint before submission": _endpoint_before_submission,
    "endpoint slice created after its receipt": _created_later("endpointslices"),
    "kubelet's clock jumps": _kubelet_jumps,
    "log of another day": _log_of_another_day,
    "log runs backwards": _log_backwards,
    "node ready before it registered": _ready_before_created,
    "pod created after its receipt": _created_later("pods"),
    "pod created twice": _created_twice,
    "pull longer than its pod": _pull_longer_than_the_pod,
    "pulled before pulling": _pulled_before_pulling,
    "raycluster created after its receipt": _created_later("rayclusters"),
    "rayservice deleted before it was created": _deleted_before_created,
    "ready without endpoint": _ready_without_endpoint,
    "scheduled in the future": _scheduled_in_the_future,
    "serve configured before its head": _deployed_before_the_head,
    "service created after its receipt": _created_later("services"),
}

_EVENTS: Final = ("events", "events.events.k8s.io")
_STAMPS: Final = ("eventTime", "firstTimestamp", "deprecatedFirstTimestamp", "lastTimestamp", "deprecatedLastTimestamp")


def _is(line: Json, resource: str, uid: str) -> bool:
    return bool(line["resource"] == resource and line["object"]["metadata"]["uid"] == uid)


def _changed(deployment: Deployment, resource: str, change: Callable[[Json], Any]) -> Lines:
    lines = copy.deepcopy(deployment.lines)
    for line in lines:
        if line["resource"] == resource:
            change(line["object"])
    return lines


def _events(
    deployment: Deployment, reason: str, saying: str, move: Callable[[str], str], *, also: str = ""
) -> Lines | None:
    """Move the stamps of an event; None if the trace lacks it (or the event that it must contradict)."""
    lines = copy.deepcopy(deployment.lines)
    there = not also or any(line["object"].get("reason") == also for line in lines if line["resource"] in _EVENTS)
    return lines if there and _restamped(lines, reason, saying, move) else None


def _restamped(lines: Lines, reason: str, saying: str, move: Callable[[str], str]) -> bool:
    found = False
    for line in lines:
        obj = line["object"]
        if line["resource"] in _EVENTS and obj["reason"] == reason:
            if not (obj.get("message") or obj.get("note", "")).startswith(saying):
                continue
            found = True
            for key in _STAMPS:
                if obj.get(key):
                    obj[key] = move(obj[key])
    return found


def _log(deployment: Deployment, pattern: str, instead: str, name: str = "replica_") -> Lines | None:
    lines = copy.deepcopy(deployment.lines)
    found = 0
    for line in lines:
        if line["resource"] == "ray-log-file" and name in line["filename"]:
            line["object"], count = re.subn(pattern, instead, line["object"])
            found += count
    return lines if found else None


def _second(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _moved(stamp: str, by_s: float) -> str:
    moved = datetime.fromisoformat(stamp) + timedelta(seconds=by_s)
    return moved.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if "." in stamp else _second(moved)
