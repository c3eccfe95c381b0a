"""When the serve endpoint was ready, by the stamps of the cluster: also if nothing was watching at that moment.

A recorder that begins late, or was away, receives an endpoint long after it was ready. Its own receipt is then an upper
bound only, and the stamps of the API server and of KubeRay's operator are closer to the truth. This module does not
decide whether an endpoint counts (`core.readiness`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.instants import Stamp, parse_stamp
from airflow_llm_provisioning.core.trace.objects import condition
from airflow_llm_provisioning.core.trace.redaction import newest_managed_stamp

# The Service's controller repeats the earliest stamp of what changed (kubernetes, trigger_time_tracker.go).
_TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant in [earliest_at, latest_at]; `earliest_at` is None if nothing bounds it from below. `watched`: it was
    received as it happened, so `latest_at` follows it by moments; otherwise it is an upper bound.
    """

    earliest_at: datetime | None
    latest_at: datetime
    watched: bool

    def was_after(self, limit_at: datetime) -> bool:
        """Return whether it was certainly later than a limit."""
        return self.earliest_at is not None and self.earliest_at > limit_at


class ReadyInstant:
    """Collects the stamps of one RayService's deployment.

    `since`: when the applied generation was submitted; earlier stamps are of an older one.
    """

    def __init__(self, since: datetime | None = None) -> None:
        self._floor = [since] if since else []
        self._ready: Stamp | None = None
        self._stored: dict[str, Stamp | None] = {}
        self._began: dict[str, list[Stamp | None]] = {}

    def not_before(self, at: datetime) -> None:
        """Take an instant at which the deployment was watched and not ready."""
        self._floor.append(at)

    def take(self, line: Mapping[str, Any]) -> None:
        """Process a recorded line of the RayService or of an EndpointSlice of its serve Service."""
        obj = line["object"]
        if line["resource"] == "rayservices":
            ready = condition(obj, "Ready")
            self._ready = parse_stamp(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None
        elif line["resource"] == "endpointslices":
            name = str(dig(obj, "metadata", "name"))
            self._stored[name] = newest_managed_stamp(obj)
            triggered = dig(obj, "metadata", "annotations", _TRIGGER)
            self._began[name] = [parse_stamp(dig(obj, "metadata", "creationTimestamp")), parse_stamp(triggered)]

    def at(self, line: Mapping[str, Any], received_at: datetime, slice_name: str) -> Instant:
        """Return the instant for the line that made the endpoint of a slice count."""
        floor = self._lower(slice_name, received_at)
        if line.get("type") in ("ADDED", "MODIFIED"):
            return Instant(floor, received_at, watched=True)
        uppers = [stamp.until for stamp in (self._ready, self._stored.get(slice_name)) if stamp]
        return Instant(floor, min([received_at, *_not_before(floor, uppers)]), watched=False)

    def _lower(self, slice_name: str, received_at: datetime) -> datetime | None:
        stamps = [stamp.at for stamp in self._began.get(slice_name, ()) if stamp]
        # A stamp after the receipt is of a clock that is ahead.
        return max((at for at in (*self._floor, *stamps) if at <= received_at), default=None)


def _not_before(floor: datetime | None, instants: Iterable[datetime]) -> list[datetime]:
    """Return the instants that are not before a floor: an older one is of an older generation."""
    return [at for at in instants if floor is None or at >= floor]
