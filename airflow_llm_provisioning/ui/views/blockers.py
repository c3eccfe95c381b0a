"""What blocked a trial over time, read from its recording."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from airflow_llm_provisioning.core.blockers.blocker import Blocker
from airflow_llm_provisioning.core.blockers.reader import Blockers
from airflow_llm_provisioning.core.fields import mapping
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.trace.format import Line, decode_trace
from airflow_llm_provisioning.report.markup import Markup, element, table

MOST_SHOWN: Final = 100
# A recording can hold a line per second; blockers are looked up once per this many seconds of it.
STEP_S: Final = 5.0


@dataclass(slots=True)
class Standing:
    """A blocker and how long it was seen to stand."""

    blocker: Blocker
    until: datetime


def blockers_view(trial: TrialResult, chunks: Sequence[bytes]) -> Markup:
    """Return the blockers of a trial as a table, in the order they were first seen."""
    opened = trial.trial.opened
    if opened is None or not chunks:
        return element("p", "There is no recording, so what blocked it is not known.")
    found = blockers_over_time(decode_trace(chunks).lines, opened.rayservice, opened.namespace)
    if not found:
        return element("p", "Nothing blocked it, as far as the recording shows.")
    zero = trial.submitted_at or found[0].blocker.since
    rows = [
        {
            "from": (item.blocker.since - zero).total_seconds(),
            "to": (item.until - zero).total_seconds(),
            "about": item.blocker.about,
            "reason": item.blocker.reason,
            "sentence": item.blocker.sentence,
        }
        for item in found[:MOST_SHOWN]
    ]
    columns = {
        "from": "from (s)",
        "to": "seen until (s)",
        "about": "object",
        "reason": "reason",
        "sentence": "sentence",
    }
    return table(columns, rows, "In seconds after the submission")


def blockers_over_time(lines: Iterable[Line], name: str, namespace: str) -> list[Standing]:
    """Return every blocker of a RayService with the last instant at which it was seen to stand."""
    reader = Blockers(name, namespace)
    found: dict[tuple[str, str, str], Standing] = {}
    looked: datetime | None = None
    dated = ((parse_instant(mapping(line).get("received_at")), line) for line in lines)
    for at, line in sorted(((when, line) for when, line in dated if when), key=lambda pair: pair[0]):
        reader.feed(line)
        if looked is not None and (at - looked).total_seconds() < STEP_S:
            continue
        looked = at
        for one in reader.at(at):
            key = (one.kind, one.about, one.reason)
            if key in found:
                found[key].until = at
            else:
                found[key] = Standing(one, at)
    return sorted(found.values(), key=lambda item: item.blocker.since)
