"""What one source says about one instant, in that source's clock, with what the recorder knew when.

Nothing is combined here: `timeline` turns sightings into bounds. Where each milestone can be read stands in `sources`,
`pod_sources` and `serve_sources`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.instants import Stamp, parse_stamp
from airflow_llm_provisioning.core.timing.clock_samples import API, event_clock
from airflow_llm_provisioning.core.trace.objects import Event, History, Sight, Version, condition
from airflow_llm_provisioning.core.trace.redaction import newest_managed_stamp


@dataclass(frozen=True, slots=True)
class Sighting:
    """One source's word on one milestone.

    `stamp`, `clock`: what was written, and by whose clock. `received_at`: when the recorder had to know at the latest;
    `prompt`: it knew within moments of the instant itself. `before`: receipts of what did not show it yet, oldest
    first. `not_before`, `not_after`: the recorder's own bounds. `written`: stamps that cannot be later than the
    instant, each with its clock (when the version that first showed it was stored, or its object created); `soon`: the
    instant follows the last of them closely. `settled`: stamps that cannot be earlier than the instant, each with its
    clock (when the version that showed it was stored, however late it came).
    """

    source: str
    stamp: Stamp | None = None
    clock: str = ""
    received_at: datetime | None = None
    prompt: bool = False
    before: tuple[datetime, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    written: tuple[tuple[Stamp, str], ...] = ()
    soon: bool = False
    settled: tuple[tuple[Stamp, str], ...] = ()


def creation(item: History | None) -> Sighting | None:
    """Return the sighting of an object's creation: the API server's stamp and the first receipt."""
    if item is None:
        return None
    first = item.versions[0]
    received_at = min(version.received_at for version in item.versions)
    source = f"{item.resource} {item.name} creationTimestamp"
    return Sighting(source, item.created, API, received_at, prompt=first.kind == "ADDED" and first.prompt)


def event_sighting(event: Event) -> Sighting:
    """Return the sighting of an event's first occurrence."""
    source = f"event {event.reason} on {event.involved_kind} {event.involved_name}"
    return Sighting(source, event.first, event_clock(event), event.received_at, prompt=event.prompt)


def published(source: str, sight: Sight | None) -> Sighting | None:
    """Return the sighting of a fact that has no stamp: first seen in this version, not yet in those before."""
    if sight is None:
        return None
    version = sight.version
    created = parse_stamp(dig(version.object, "metadata", "creationTimestamp"))
    stored = newest_managed_stamp(version.object)
    known = (stored if version.prompt else None) or created
    return Sighting(
        source,
        received_at=sight.seen_at,
        prompt=version.prompt,
        before=_receipts(sight.before),
        written=((known, API),) if known else (),
        settled=((stored, API),) if stored else (),
    )


def condition_sighting(item: History, kind: str, sight: Sight | None, clock: str) -> Sighting | None:
    """Return the sighting of a condition that became true: its writer's stamp and the first receipt."""
    if sight is None:
        return None
    stamp = parse_stamp(condition(sight.version.object, kind).get("lastTransitionTime"))
    source = f"{item.resource} {item.name} condition {kind}"
    return Sighting(source, stamp, clock, sight.seen_at, prompt=sight.version.prompt and bool(sight.before))


def _receipts(versions: Sequence[Version]) -> tuple[datetime, ...]:
    return tuple(version.received_at for version in versions)
