"""Proof of the blockers: the reason of every dead end that the simulator can produce names the right object and cause.

A dead end's own words (`llm_provisioning_simulator.dead_ends`) are the truth: which object says it, with which reason,
in which sentence. The judge is the shipped one (`gateways.recording.progress`). `proof.valid` is the other
half: no valid trial may end early.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.gateways.recording.progress import Progress
from llm_provisioning_simulator.dead_ends import ALL, DeadEnd, Line, produce, says
from proof import Size
from proof.workers import report, workers

_TICK: Final = timedelta(seconds=5)
# So long after its first word a dead end goes on until the time limit: longer than every grace period.
_AFTER_S: Final = 400.0


@dataclass(frozen=True, slots=True)
class Judged:
    """How the wait for a dead end went. `ended_s`: seconds from the first line to its early end, None at the limit."""

    told: str
    ended_s: float | None


def prove(size: Size) -> dict[str, Any]:
    """Run the dead ends; return the figures and {missed: {name: what was told}}."""
    chosen = tried(size)
    with workers(size.processes) as pool:
        found = {ALL[place].name: why for place, why in zip(chosen, pool.map(_missed, chosen), strict=True) if why}
    report(f"blockers: {len(chosen) - len(found)} of {len(chosen)} dead ends named")
    return {
        "dead_ends": len(chosen),
        "blockers_named_ratio": (len(chosen) - len(found)) / len(chosen),
        "missed": found,
    }


def tried(size: Size) -> range:
    """Return the tested dead ends: all, or in a short run every sixth."""
    return range(len(ALL)) if size.valid_trials >= len(ALL) else range(size.seed % 6, len(ALL), 6)


def missed(end: DeadEnd, *, seed: int = 1) -> str | None:
    """Run a dead end; return what was told instead of its object and its cause, or None if both are named."""
    lines = produce(end.name, after_s=_AFTER_S, seed=seed)
    judged = judge(lines)
    wanted = [*_names(end, lines), end.says.text]
    lacking = [part for part in wanted if part and part not in judged.told]
    return f"without {lacking}: {judged.told}" if lacking else None


def judge(lines: Sequence[Line]) -> Judged:
    """Judge a recording as the wait does, until its early end; the recording's end is the time limit."""
    service = next(line["object"]["metadata"] for line in lines if line["resource"] == "rayservices")
    progress = Progress(service["namespace"], service["name"], service["uid"])
    begun = _at(lines[0])
    for now, line in _in_time(lines):
        if line is not None:
            progress.take(line, now)
        progress.tick(now)
        if progress.failure:
            return Judged(progress.failure, (now - begun).total_seconds())
    return Judged(progress.status, None)


def _in_time(lines: Sequence[Line]) -> Iterator[tuple[datetime, Line | None]]:
    """Yield the lines, and every few seconds between them."""
    now = _at(lines[0])
    for line in lines:
        while now + _TICK < _at(line):
            now += _TICK
            yield now, None
        now = _at(line)
        yield now, line


def _names(end: DeadEnd, lines: Sequence[Line]) -> list[str]:
    """Return what a reason must name: the object that the dead end's own words are about.

    A RayCluster's condition is about its head, or about the RayCluster where no head exists; the RayService's status is
    about the application or the deployment whose message it is.
    """
    obj = mapping(next(line for line in lines if says(line, end.says))["object"])
    name = text(dig(obj, "involvedObject", "name")) or text(dig(obj, "metadata", "name"))
    if end.says.where in ("application", "deployment"):
        return list(_named_in_status(obj, end))
    if (end.says.kind, end.says.where) == ("RayCluster", "condition"):
        return [f"RayCluster {name}" if end.says.reason.startswith("Failed") else f"{name}-head"]
    return [name]


def _named_in_status(service: Mapping[str, Any], end: DeadEnd) -> Iterator[str]:
    for part in ("pendingServiceStatus", "activeServiceStatus"):
        for name, status in mapping(dig(service, "status", part, "applicationStatuses")).items():
            if end.says.where == "application":
                yield f"Serve application {name!r}"
                continue
            for deployment, told in mapping(dig(status, "serveDeploymentStatuses")).items():
                if end.says.text in text(dig(told, "message")):
                    yield f"eployment {deployment!r}"


def _at(line: Line) -> datetime:
    found = parse_instant(line["received_at"])
    if found is None:
        raise ValueError(f"a line of the simulator has the time {line['received_at']!r}")
    return found


def _missed(position: int) -> str | None:
    # By position, because an entry contains functions, which cannot be passed between processes.
    return missed(ALL[position])
