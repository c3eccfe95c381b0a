"""The lines that an earlier process recorded of the same trial, so that the next process can continue.

A killed triggerer leaves a trace in the store. The next one begins with the same arguments. It reads that trace,
watches from its versions, and so misses nothing that the API server still has (five minutes by default,
kube-apiserver's compaction). If the versions are gone, the watch reports it and lists again. This module must not know
where traces are stored.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.fields import dig, mapping
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.ready_instant import Instant
from airflow_llm_provisioning.core.trace import Line
from airflow_llm_provisioning.gateways.kubernetes.follow import LastVersion, ResumePoint, last_version_of

_WATCHED = frozenset({"LISTED", "ADDED", "MODIFIED", "DELETED"})


class PreviousRecording:
    """The stored lines of one RayService's trace, oldest first; empty if the trace belongs to another RayService.

    `ended`: the END line's object, or None.
    """

    def __init__(self, lines: Sequence[Line], uid: str) -> None:
        header = next((item for item in lines if _is_trace_line(item, "HEADER")), None)
        same_uid = header is not None and dig(header, "object", "rayservice", "uid") == uid
        self.lines: Sequence[Line] = lines if same_uid else ()
        self.ended = next(
            (mapping(item["object"]) for item in reversed(self.lines) if _is_trace_line(item, "END")), None
        )
        self._known = _known(self.lines)

    def known(self, resource: str, namespace: str | None) -> ResumePoint | None:
        """Return the position of its watch of a resource; None without a version of that resource."""
        return self._known.get((resource, namespace))

    def instant(self, mark: str, earliest: str) -> Instant | None:
        """Return the instant that the first mark of this name tells, its lower bound in the field `earliest`."""
        found = next((item for item in self.lines if _is_mark(item, mark)), None)
        at = parse_instant(found["received_at"]) if found else None
        if found is None or at is None:
            return None
        said: Mapping[str, Any] = mapping(found["object"])
        earliest_at = parse_instant(said.get(earliest))
        latest_at = parse_instant(said.get("latest_at")) or at
        return Instant(earliest_at or parse_instant(said.get("asked_at")), latest_at, watched=earliest_at is None)

    def marked_at(self, mark: str) -> datetime | None:
        """Return the time of the first mark of this name, or None."""
        return next(
            (parse_instant(item["received_at"]) for item in self.lines if _is_mark(item, mark)),
            None,
        )


def _is_trace_line(item: Line, kind: str) -> bool:
    return item["resource"] == "trace" and item.get("type") == kind


def _is_mark(item: Line, mark: str) -> bool:
    return _is_trace_line(item, "MARK") and dig(item, "object", "mark") == mark


def _known(lines: Sequence[Line]) -> dict[tuple[str, str | None], ResumePoint]:
    versions: dict[tuple[str, str | None], str] = {}
    objects: dict[tuple[str, str | None], dict[str, LastVersion]] = {}
    for item in lines:
        metadata: Mapping[str, Any] = mapping(dig(item, "object", "metadata"))
        if item.get("type") not in _WATCHED or not {"uid", "name", "resourceVersion"} <= set(metadata):
            continue
        key = (str(item["resource"]), metadata.get("namespace"))
        versions[key] = _later(versions.get(key), metadata["resourceVersion"])
        present = objects.setdefault(key, {})
        if item["type"] == "DELETED":
            present.pop(metadata["uid"], None)
        else:
            present[metadata["uid"]] = last_version_of(metadata)
    return {key: ResumePoint(version, objects[key]) for key, version in versions.items()}


def _later(one: str | None, other: str) -> str:
    """Return the later version: numbers by size, others by order of receipt. An old version only makes the watch repeat
    changes.
    """
    if one is not None and one.isdecimal() and other.isdecimal():
        return max(one, other, key=int)
    return other
