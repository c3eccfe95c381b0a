"""Keeps the last event of each reason by object, merged from both event APIs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.blockers.sentences import plain
from airflow_llm_provisioning.core.fields import dig, mapping, number, text
from airflow_llm_provisioning.core.instants import parse_stamp

# What client-go puts before the message of many alike (client-go, tools/record, EventAggregatorByReasonMessageFunc).
_COMBINED: Final = "(combined from similar events): "
_VOLUME: Final = re.compile(r'^\w+Volume\.\w+ failed for volume ("[^"]*").*$', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Told:
    """The last event of a reason. `at`: when it last happened, `first_at`: when it was first received; `count`: how
    often it was seen.
    """

    kind: str
    name: str
    reason: str
    message: str
    component: str
    warning: bool
    at: datetime
    first_at: datetime
    count: int


class Events:
    """The last events by kind and name of their object, then by component, reason, and what they are about: one event
    tells which volume failed and why, and another one of the same reason sums up.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], dict[tuple[str, str, str], Told]] = {}

    def feed(self, obj: Mapping[str, Any], received_at: datetime) -> Told | None:
        """Process a version of an event and return it; None if it is not the newest of its reason."""
        about = mapping(obj.get("involvedObject") or obj.get("regarding"))
        reason, component = text(obj.get("reason")), _component(obj)
        kept = self._of.setdefault((text(about.get("kind")), text(about.get("name"))), {})
        message = plain(text(obj.get("message") or obj.get("note")).removeprefix(_COMBINED))
        key = component, reason, _VOLUME.sub(r"\1", message) if _VOLUME.match(message) else ""
        before = kept.get(key)
        at = _happened_at(obj) or received_at
        if before is not None and at < before.at:
            return None
        count = int(number(obj.get("count") or obj.get("deprecatedCount") or dig(obj, "series", "count")) or 1)
        told = Told(
            text(about.get("kind")),
            text(about.get("name")),
            reason,
            message,
            component,
            obj.get("type") == "Warning",
            at,
            before.first_at if before else received_at,
            max(count, before.count if before else 1),
        )
        kept[key] = told
        return told

    def of(self, kind: str, name: str, since: datetime | None = None) -> list[Told]:
        """Return an object's events, newest first; without those before `since` (an earlier object of that name)."""
        found = [one for one in self._of.get((kind, name), {}).values() if since is None or one.at >= since]
        return sorted(found, key=lambda one: one.at, reverse=True)

    def of_kind(self, kind: str) -> Iterator[Told]:
        """Yield the events of every object of a kind."""
        for (of_kind, _), kept in self._of.items():
            if of_kind == kind:
                yield from kept.values()


def _component(obj: Mapping[str, Any]) -> str:
    source = mapping(obj.get("source") or obj.get("deprecatedSource"))
    return text(source.get("component") or obj.get("reportingComponent") or obj.get("reportingController"))


def _happened_at(obj: Mapping[str, Any]) -> datetime | None:
    for value in (
        dig(obj, "series", "lastObservedTime"),
        obj.get("lastTimestamp"),
        obj.get("deprecatedLastTimestamp"),
        obj.get("eventTime"),
        dig(obj, "metadata", "creationTimestamp"),
    ):
        stamp = parse_stamp(value)
        if stamp is not None:
            return stamp.at
    return None
