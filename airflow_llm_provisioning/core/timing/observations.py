"""One source's observation of one milestone: its stamp, the source's clock, and the recorder's receipts.

Observations are not combined here: `timeline` turns them into bounds. The sources of each milestone are in `sources`,
`pod_sources` and `serve_sources`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.instants import Stamp, parse_stamp
from airflow_llm_provisioning.core.timing.clock_samples import API, event_clock
from airflow_llm_provisioning.core.trace.objects import Event, FirstMatch, History, Version, condition
from airflow_llm_provisioning.core.trace.redaction import newest_managed_stamp


@dataclass(frozen=True, slots=True)
class Observation:
    """One source's statement about one milestone.

    `stamp`, `clock`: the written stamp and the clock that wrote it. `received_at`: the recorder knew of the milestone
    by then. `prompt`: the receipt followed the milestone within moments. `before`: receipts of versions that did not
    show it yet, oldest first. `not_before`, `not_after`: bounds by the recorder's own calls. `written`: stamps that
    cannot be later than the milestone, each with its clock (when the version that first showed it was stored, or its
    object created). `soon`: the milestone follows the last of them closely. `settled`: stamps that cannot be earlier
    than the milestone, each with its clock (when the version that showed it was stored, however late it arrived).
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


def creation_observation(item: History | None) -> Observation | None:
    """Return the observation of an object's creation: the API server's stamp and the first receipt."""
    if item is None:
        return None
    first = item.versions[0]
    received_at = min(version.received_at for version in item.versions)
    source = f"{item.resource} {item.name} creationTimestamp"
    return Observation(source, item.created, API, received_at, prompt=first.kind == "ADDED" and first.prompt)


def event_observation(event: Event) -> Observation:
    """Return the observation of an event's first occurrence."""
    source = f"event {event.reason} on {event.involved_kind} {event.involved_name}"
    return Observation(source, event.first, event_clock(event), event.received_at, prompt=event.prompt)


def state_observation(source: str, match: FirstMatch | None) -> Observation | None:
    """Return the observation of a state without a stamp: present in this version, absent in the versions before it."""
    if match is None:
        return None
    version = match.version
    created = parse_stamp(dig(version.object, "metadata", "creationTimestamp"))
    stored = newest_managed_stamp(version.object)
    known = (stored if version.prompt else None) or created
    return Observation(
        source,
        received_at=match.seen_at,
        prompt=version.prompt,
        before=_receipts(match.before),
        written=((known, API),) if known else (),
        settled=((stored, API),) if stored else (),
    )


def condition_observation(item: History, kind: str, match: FirstMatch | None, clock: str) -> Observation | None:
    """Return the observation of a condition that became true: its writer's stamp and the first receipt."""
    if match is None:
        return None
    stamp = parse_stamp(condition(match.version.object, kind).get("lastTransitionTime"))
    source = f"{item.resource} {item.name} condition {kind}"
    return Observation(source, stamp, clock, match.seen_at, prompt=match.version.prompt and bool(match.before))


def _receipts(versions: Sequence[Version]) -> tuple[datetime, ...]:
    return tuple(version.received_at for version in versions)
