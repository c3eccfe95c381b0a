"""What an earlier process recorded of the same trial, so that the next goes on where it was killed.

A triggerer that dies leaves a trace in the store. The next one begins with the same arguments: it reads that trace,
watches on from the versions in it, and so misses nothing that the API server still remembers (five minutes by default,
kube-apiserver's compaction); where it does not, the watch says so and lists. It must not know where traces are kept.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.fields import dig, mapping
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.trace import Line
from airflow_llm_provisioning.gateways.kubernetes.follow import Known, Last, last_of

_WATCHED = frozenset({"LISTED", "ADDED", "MODIFIED", "DELETED"})


class Earlier:
    """The lines stored of one RayService's trace, oldest first; none where the trace is another one's.

    `ended`: the END line's object, None while there is none.
    """

    def __init__(self, lines: Sequence[Line], uid: str) -> None:
        header = next((item for item in lines if _own(item, "HEADER")), None)
        ours = header is not None and dig(header, "object", "rayservice", "uid") == uid
        self.lines: Sequence[Line] = lines if ours else ()
        self.ended = next((mapping(item["object"]) for item in reversed(self.lines) if _own(item, "END")), None)
        self._known = _known(self.lines)

    def known(self, resource: str, namespace: str | None) -> Known | None:
        """Return where its watch of a resource stood; None where it had seen nothing of it."""
        return self._known.get((resource, namespace))

    def marked_at(self, mark: str) -> datetime | None:
        """Return when the first mark of this name was made."""
        return next(
            (
                parse_instant(item["received_at"])
                for item in self.lines
                if _own(item, "MARK") and dig(item, "object", "mark") == mark
            ),
            None,
        )


def _own(item: Line, kind: str) -> bool:
    return item["resource"] == "trace" and item.get("type") == kind


def _known(lines: Sequence[Line]) -> dict[tuple[str, str | None], Known]:
    versions: dict[tuple[str, str | None], str] = {}
    objects: dict[tuple[str, str | None], dict[str, Last]] = {}
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
            present[metadata["uid"]] = last_of(metadata)
    return {key: Known(version, objects[key]) for key, version in versions.items()}


def _later(one: str | None, other: str) -> str:
    """Numbers by size, anything else by order of receipt: an early version only makes the watch tell more again."""
    if one is not None and one.isdecimal() and other.isdecimal():
        return max(one, other, key=int)
    return other
