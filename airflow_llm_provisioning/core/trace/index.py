"""Sorts a trace's lines by kind: objects with histories, events, answers, logs and the recorder's own lines.

Unreadable lines are counted and raise no error. This module does not know which lines belong to a trial.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.trace.format import TRACE_RESOURCE, Line
from airflow_llm_provisioning.core.trace.objects import (
    EVENT_RESOURCES,
    AgentLog,
    Answer,
    History,
    LogText,
    Version,
    build_answer,
    build_event,
    build_history,
)

# A backlog arrives within this time.
_BURST: Final = timedelta(seconds=1)
_WATCHED: Final = frozenset({"LISTED", "ADDED", "MODIFIED", "DELETED"})
_LOGS: Final = frozenset({"ray-log-file", "pod-log"})
_AGENT_LOG: Final = "agent-log"


class TraceIndex:
    """The lines of a trace by kind. `recorder_lines`: the recorder's own lines by type; `histories`: objects by
    resource and uid.

    `lifetimes`: per object (resource, uid), every recorded pair (creationTimestamp, deletionTimestamp), including
    repeated versions.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self.unreadable_lines = 0
        self.first_received_at: datetime | None = None
        self.last_received_at: datetime | None = None
        self.answers: list[Answer] = []
        self.logs: list[LogText] = []
        self.agent_logs: list[AgentLog] = []
        self.recorder_lines: dict[str, list[tuple[datetime, Mapping[str, Any]]]] = {}
        self.lifetimes: dict[tuple[str, str], set[tuple[str, str]]] = {}
        lines = list(lines)
        self._bursts = _bursts(lines)
        versions: dict[tuple[str, str], list[Version]] = {}
        events: dict[str, list[Version]] = {}
        for item in lines:
            self._take(item, versions, events)
        self.answers.sort(key=lambda answer: answer.received_at)
        self.logs.sort(key=lambda log: (log.received_at, log.filename, log.node_ip, log.pod, log.container))
        self.histories: dict[str, dict[str, History]] = {}
        for (resource, uid), seen in versions.items():
            self.histories.setdefault(resource, {})[uid] = build_history(resource, uid, seen)
        self.all_events = sorted((build_event(seen) for seen in events.values()), key=lambda e: (e.received_at, e.uid))

    def _take(
        self, line: Any, versions: dict[tuple[str, str], list[Version]], events: dict[str, list[Version]]
    ) -> None:
        received_at = parse_instant(mapping(line).get("received_at"))
        resource, kind, obj = (mapping(line).get(key) for key in ("resource", "type", "object"))
        if received_at is None or not isinstance(resource, str) or not (kind is None or isinstance(kind, str)):
            self.unreadable_lines += 1
            return
        self.first_received_at = min(self.first_received_at or received_at, received_at)
        self.last_received_at = max(self.last_received_at or received_at, received_at)
        if resource == TRACE_RESOURCE:
            self.recorder_lines.setdefault(text(kind), []).append((received_at, mapping(obj)))
        elif kind in _WATCHED:
            after_gap = any(first <= received_at <= last for first, last in self._bursts.get(resource, ()))
            self._take_version(resource, Version(received_at, text(kind), mapping(obj), after_gap), versions, events)
        elif resource in _LOGS:
            if mapping(line).get("previous_of"):
                return  # of a container that ran before: its lines time no start, they only explain an end
            self.logs.append(_log(line, received_at))
        elif resource == _AGENT_LOG:
            self.agent_logs.append(_agent_log(line, received_at))
        elif kind is None:
            self.answers.append(build_answer(line, received_at))

    def _take_version(
        self,
        resource: str,
        version: Version,
        versions: dict[tuple[str, str], list[Version]],
        events: dict[str, list[Version]],
    ) -> None:
        uid = text(dig(version.object, "metadata", "uid"))
        if not uid:
            self.unreadable_lines += 1
        elif resource not in EVENT_RESOURCES:
            versions.setdefault((resource, uid), []).append(version)
            life = tuple(text(dig(version.object, "metadata", f"{what}Timestamp")) for what in ("creation", "deletion"))
            self.lifetimes.setdefault((resource, uid), set()).add((life[0], life[1]))
        elif version.kind != "DELETED":
            events.setdefault(uid, []).append(version)


def _bursts(lines: Iterable[Any]) -> dict[str, list[tuple[datetime, datetime]]]:
    """Return per resource when an interrupted watch resumed; versions received then may be old."""
    gaps: list[tuple[datetime, str]] = []
    receipts: dict[str, list[datetime]] = {}
    for line in map(mapping, lines):
        at, resource = parse_instant(line.get("received_at")), text(line.get("resource"))
        if at is None:
            continue
        if resource != TRACE_RESOURCE:
            receipts.setdefault(resource, []).append(at)
        elif dig(line, "object", "mark") == "watch_interrupted":
            gaps.append((at, text(dig(line, "object", "resource"))))
    found: dict[str, set[datetime]] = {}
    in_order = {resource: sorted(receipts.get(resource, ())) for _, resource in gaps}
    for broken_at, resource in gaps:
        found.setdefault(resource, set()).update(in_order[resource][bisect_left(in_order[resource], broken_at) :][:1])
    return {resource: [(at, at + _BURST) for at in sorted(begun)] for resource, begun in found.items()}


def _log(line: Mapping[str, Any], received_at: datetime) -> LogText:
    pod, container = _of_path(line)
    return LogText(
        received_at, text(line.get("filename")), text(line.get("node_ip")), pod, container, text(line.get("object"))
    )


def _agent_log(line: Mapping[str, Any], received_at: datetime) -> AgentLog:
    pod, container = _of_path(line)
    return AgentLog(
        received_at,
        text(line.get("treatment")),
        pod,
        container,
        text(line.get("node")),
        line.get("on_every_node") is True,
        parse_instant(line.get("ready_at")),
        text(line.get("object")),
    )


def _of_path(line: Mapping[str, Any]) -> tuple[str, str]:
    """Return the pod and the container that a log's path names."""
    path = text(line.get("path"))
    pod = path.partition("/pods/")[2].partition("/")[0] or text(line.get("pod"))
    return pod, path.partition("container=")[2].partition("&")[0] or text(line.get("container"))
