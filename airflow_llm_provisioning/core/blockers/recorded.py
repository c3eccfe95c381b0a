"""Asks a finished recording what blocked its deployment last: before it was deleted, or at the recording's end."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from airflow_llm_provisioning.core.blockers.blocker import Blocker, named_together
from airflow_llm_provisioning.core.blockers.reader import Blockers
from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.trace.format import TRACE_RESOURCE, Line

_DELETING: Final = frozenset({"delete_started", "deleted_by_us"})


@dataclass(frozen=True, slots=True)
class LastBlocked:
    """`blockers`: what blocked at `at`, the most telling first. `deleted`: the RayService was deleted then."""

    blockers: tuple[Blocker, ...]
    at: datetime | None
    deleted: bool

    @property
    def final(self) -> bool:
        """Whether one of them cannot pass by itself."""
        return any(not one.passes for one in self.blockers)

    @property
    def told(self) -> str:
        """The blockers in sentences: those that cannot pass, else all; empty if there was none."""
        final = [one for one in self.blockers if not one.passes]
        return named_together(final or self.blockers, self.at) if self.at else ""


def last_blocked(lines: Iterable[Line], name: str, namespace: str, uid: str) -> LastBlocked:
    """Return what blocked a RayService last. Blockers that had passed by then are not among them."""
    reader = Blockers(name, namespace, uid=uid)
    at: datetime | None = None
    dated = ((parse_instant(mapping(line).get("received_at")), line) for line in lines)
    for received_at, line in sorted(((when, line) for when, line in dated if when), key=lambda pair: pair[0]):
        if _deletes(line, uid):
            return LastBlocked(reader.at(at) if at else (), at, deleted=True)
        at = received_at
        reader.feed(line)
    return LastBlocked(reader.at(at) if at else (), at, deleted=False)


def _deletes(line: Line, uid: str) -> bool:
    obj = mapping(line.get("object"))
    if line.get("resource") == TRACE_RESOURCE:
        return line.get("type") == "MARK" and text(obj.get("mark")) in _DELETING
    if line.get("resource") != "rayservices" or dig(obj, "metadata", "uid") != uid:
        return False
    return line.get("type") == "DELETED" or bool(dig(obj, "metadata", "deletionTimestamp"))
