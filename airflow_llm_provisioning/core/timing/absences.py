"""Times in which the recorder was away, and what is not known because of them.

A triggerer that was killed leaves a hole between its last stored line and the mark `recording_resumed` of the next one.
Kubernetes tells afterwards which versions there were, and stamps them; what has no stamp of its own (a state, an answer
of Serve, the first completion) may have happened at any instant of the hole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from airflow_llm_provisioning.core.instants import format_instant, parse_instant, seconds
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY
from airflow_llm_provisioning.core.timing.observations import Observation
from airflow_llm_provisioning.core.timing.timeline import Flag, Timeline
from airflow_llm_provisioning.core.trace.objects import Mark
from airflow_llm_provisioning.core.trace.view import TraceView

_COMPLETION = "first_completion"


@dataclass(frozen=True, slots=True)
class Absence:
    """A hole of the recording: the last line stored before it, and the first moment after it."""

    began_at: datetime
    ended_at: datetime


def absences(view: TraceView) -> list[Absence]:
    """Return the holes of a recording, oldest first."""
    told = [(parse_instant(mark.detail.get("last_received_at")), mark.at) for mark in view.marks("recording_resumed")]
    return [Absence(began_at, ended_at) for began_at, ended_at in told if began_at and began_at < ended_at]


def bounded_by_absences(
    view: TraceView, observations: Mapping[str, Sequence[Observation]]
) -> dict[str, list[Observation]]:
    """Return the observations with the hole as the bounds of every instant that fell into one."""
    holes = absences(view)
    found = {name: [_bounded(one, holes) for one in several] for name, several in observations.items()}
    # An endpoint that was watched as it became ready was asked for a completion at once.
    watched_at = max(
        (one.received_at for one in found.get(ENDPOINT_READY, ()) if one.prompt and one.received_at), default=None
    )
    unseen = [hole for hole in holes if watched_at is None or watched_at <= hole.ended_at]
    possible_since = next((_unasked_since(mark, view, unseen) for mark in view.marks(_COMPLETION)[:1]), None)
    if possible_since is not None and _COMPLETION in found:
        found[_COMPLETION] = [replace(one, not_before=possible_since, prompt=False) for one in found[_COMPLETION]]
    return found


def absence_flags(view: TraceView, timeline: Timeline) -> Iterator[Flag]:
    """Yield one flag per hole, with the milestones in it; and one if the endpoint was ready before anything watched."""
    for hole in absences(view):
        inside = [
            name
            for name, milestone in timeline.milestones.items()
            if milestone.earliest_at < hole.ended_at and milestone.latest_at > hole.began_at
        ]
        lost = f"not known better than that: {', '.join(inside)}" if inside else "no milestone fell into it"
        yield Flag(
            "away",
            f"the recorder was away for {seconds(hole.ended_at - hole.began_at):.1f} s, from "
            f"{format_instant(hole.began_at)} to {format_instant(hole.ended_at)}; {lost}",
        )
    unasked = [mark for mark in view.marks(_COMPLETION)[:1] if mark.detail.get("possible_since")]
    if unasked and not absences(view):
        yield Flag("away", "the endpoint was ready before the recorder watched it; the first completion may be earlier")


def _bounded(observation: Observation, holes: Sequence[Absence]) -> Observation:
    """Return an observation of a state that was watched before a hole and seen after it with that hole as its lower
    bound; others have stamps, or nothing to compare with.
    """
    received_at, before = observation.received_at, observation.before
    if received_at is None or observation.stamp is not None or not before:
        return observation
    for hole in holes:
        if before[-1] <= hole.began_at and received_at >= hole.ended_at:
            not_before = max(filter(None, (observation.not_before, hole.began_at)))
            observation = replace(observation, not_before=not_before, prompt=False)
    return observation


def _unasked_since(completion: Mark, view: TraceView, holes: Sequence[Absence]) -> datetime | None:
    """Return since when a valid completion was possible without being asked for; None if it was asked for all the time.

    An answer that was refused after the hole shows that there was no valid one yet.
    """
    refused = [mark.at for mark in view.marks("completion_refused") if mark.at <= completion.at]
    for hole in reversed(holes):
        if hole.ended_at <= completion.at and not any(at >= hole.ended_at for at in refused):
            return hole.began_at
    return parse_instant(completion.detail.get("possible_since"))
