"""Deletes recordings that are too old or take too much room. The trial's row, phases and milestones stay.

A recording without a row is one of a trial that may still run: it is deleted by age only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, func, select

from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import read_from, write_to

_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Recording:
    """One trace: its compressed size, when it was last written, and whether its trial has ended."""

    trial_id: str
    size_bytes: int
    written_at: datetime
    ended: bool


@dataclass(frozen=True, slots=True)
class Prunable:
    """What a store holds, and what would be deleted, the oldest first."""

    held: int
    held_bytes: int
    chosen: tuple[Recording, ...]

    @property
    def freed_bytes(self) -> int:
        """The size of what would be deleted."""
        return sum(each.size_bytes for each in self.chosen)


def prunable(engine: Engine, *, now: datetime, older_than: timedelta | None, most_bytes: int | None) -> Prunable:
    """Return the recordings that were last written before `now - older_than`, and of the others the oldest ones until
    what stays is at most `most_bytes`. None: no limit.
    """
    recordings = _recordings(engine)
    held = sum(each.size_bytes for each in recordings)
    oldest = None if older_than is None else now - older_than
    chosen = [each for each in recordings if oldest is not None and each.written_at < oldest]
    left = held - sum(each.size_bytes for each in chosen)
    for each in recordings[len(chosen) :] if most_bytes is not None else ():
        if left <= (most_bytes or 0):
            break
        if each.ended:
            chosen.append(each)
            left -= each.size_bytes
    return Prunable(len(recordings), held, tuple(chosen))


def prune(engine: Engine, chosen: Sequence[Recording]) -> None:
    """Delete recordings, and what was computed from them."""
    for start in range(0, len(chosen), _CHUNK):
        keys = [each.trial_id for each in chosen[start : start + _CHUNK]]
        with write_to(engine, f"deletion of {len(keys)} recordings") as connection:
            for table in (tables.traces, tables.analyses, tables.imports):
                connection.execute(delete(table).where(table.c.trial_id.in_(keys)))


def _recordings(engine: Engine) -> list[Recording]:
    chunks, trials, imports = tables.traces.c, tables.trials.c, tables.imports.c
    written_at = func.max(chunks.written_at)
    ended = func.count(trials.trial_id) + func.count(imports.trial_id)
    query = (
        select(chunks.trial_id, func.sum(func.length(chunks.data)), written_at, ended)
        .join_from(tables.traces, tables.trials, trials.trial_id == chunks.trial_id, isouter=True)
        .join(tables.imports, imports.trial_id == chunks.trial_id, isouter=True)
        .group_by(chunks.trial_id)
    )
    with read_from(engine) as connection:
        found = [Recording(key, int(size), at, bool(rows)) for key, size, at, rows in connection.execute(query)]
    return sorted(found, key=lambda each: (each.written_at, each.trial_id))
