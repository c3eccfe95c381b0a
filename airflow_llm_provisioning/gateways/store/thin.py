"""Thin rows of trials: the columns that statistics read (`core.measured.Measured`), without a whole result.

Arms and observed facts are read once for all the trials that share them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, select

from airflow_llm_provisioning.core.arm import Arm
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.shared import shared_contents

# SQLite allows 32,766 variables in a statement, older ones 999.
MOST_VALUES = 500


class PhaseSeconds(NamedTuple):
    """One phase of a trial's deciding path."""

    name: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class ThinTrial:
    """One trial as statistics need it (`core.measured.Measured`). `phases`: empty unless they were asked for."""

    trial_id: str
    opened_at: datetime
    arm: Arm
    target: str
    run: tuple[str, str]
    exclusion: str | None
    total_s: float | None
    total_low_s: float | None
    total_high_s: float | None
    completion_s: float | None
    start: str
    applied: str
    environment: Mapping[str, Any]
    speed: Mapping[str, Any] | None
    phases: Sequence[PhaseSeconds] = ()


class RefusedTrial(NamedTuple):
    """A trial to which a capacity was refused. `capacity`: as `core.capacity.Capacity` is stored."""

    trial_id: str
    arm: Arm
    capacity: Mapping[str, Any]


class Series(NamedTuple):
    """An arm on a target, with the keys that the store groups by."""

    series: str
    arm_key: str
    cell: str
    arm: Arm
    target: str


_C = tables.trials.c
_COLUMNS = (
    *(_C.trial_id, _C.opened_at, _C.series, _C.dag_id, _C.run_id, _C.exclusion, _C.total_s, _C.total_low_s),
    *(_C.total_high_s, _C.completion_s, _C.start, _C.applied, _C.facts, _C.path, _C.speed),
)


def thin_trials(
    connection: Connection, conditions: Iterable[ColumnElement[bool]], *, phases: bool = False
) -> list[ThinTrial]:
    """Return the trials that meet all conditions, in the order they were opened."""
    query = select(*_COLUMNS).where(*conditions).order_by(_C.opened_at, _C.trial_id)
    rows = connection.execute(query).all()
    series = series_of(connection, {row.series for row in rows})
    shared = shared_contents(connection, {key for row in rows for key in (row.facts, row.path if phases else None)})
    seconds = _seconds(connection, [row.trial_id for row in rows if row.path]) if phases else {}
    return [
        ThinTrial(
            row.trial_id,
            row.opened_at,
            series[row.series].arm,
            series[row.series].target,
            (row.dag_id, row.run_id),
            row.exclusion,
            row.total_s,
            row.total_low_s,
            row.total_high_s,
            row.completion_s,
            row.start,
            row.applied,
            shared[row.facts],
            row.speed,
            tuple(map(PhaseSeconds, shared[row.path], seconds[row.trial_id])) if row.trial_id in seconds else (),
        )
        for row in rows
    ]


def refused_trials(connection: Connection, conditions: Iterable[ColumnElement[bool]]) -> list[RefusedTrial]:
    """Return the trials to which a capacity was refused, in the order they were opened."""
    query = select(_C.trial_id, _C.series, _C.capacity).where(*conditions, _C.capacity.is_not(None))
    rows = connection.execute(query.order_by(_C.opened_at, _C.trial_id)).all()
    series = series_of(connection, {row.series for row in rows})
    return [RefusedTrial(row.trial_id, series[row.series].arm, row.capacity) for row in rows]


def trial_costs(connection: Connection, conditions: Iterable[ColumnElement[bool]]) -> dict[str, Mapping[str, Any]]:
    """Return trial id -> what it cost (`core.cost.priced`), of the trials of which anything is known."""
    query = select(_C.trial_id, _C.cost).where(*conditions, _C.cost.is_not(None))
    return {row.trial_id: row.cost for row in connection.execute(query).all()}


def series_of(connection: Connection, keys: Iterable[str]) -> dict[str, Series]:
    """Return series by their keys."""
    wanted, table = sorted(keys), tables.series
    found: dict[str, Series] = {}
    for start in range(0, len(wanted), MOST_VALUES):
        query = select(table).where(table.c.series.in_(wanted[start : start + MOST_VALUES]))
        found.update((row.series, _series(row)) for row in connection.execute(query))
    return found


def all_series(connection: Connection) -> list[Series]:
    """Return every series of the store."""
    return [_series(row) for row in connection.execute(select(tables.series))]


def _series(row: Any) -> Series:
    return Series(row.series, row.arm, row.cell, Arm.from_dict(row.content["arm"]), row.content["target"])


def _seconds(connection: Connection, keys: Sequence[str]) -> dict[str, list[float]]:
    table = tables.phases
    found: dict[str, list[float]] = {}
    for start in range(0, len(keys), MOST_VALUES):
        query = select(table.c.trial_id, table.c.duration_s).where(
            table.c.trial_id.in_(keys[start : start + MOST_VALUES])
        )
        # All at once: to fetch each of ten thousands of rows by itself takes three times as long.
        for trial_id, duration_s in connection.execute(query.order_by(table.c.trial_id, table.c.position)).all():
            found.setdefault(trial_id, []).append(duration_s)
    return found
