"""Running trials in the results database, and what is expected of them.

A trial is added when it is opened, changed by its waits, and removed when its result is written. A wait changes a row
that exists and never makes one: what a slow thread writes after the end must not bring a trial back.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, insert, select, update

from airflow_llm_provisioning.core.progress import Expected, expected_of
from airflow_llm_provisioning.core.running import RunningTrial
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.column_types import fit_text
from airflow_llm_provisioning.gateways.store.database import read_from, write_to

Clock = Callable[[], datetime]

# So many earlier trials of an arm make what is expected of the next one.
EXPECTED_FROM: Final = 30
# A row without news for so long is of a trial whose last task never ran.
FORGOTTEN: Final = timedelta(days=7)


class SqlProgress:
    """The running trials of one results database."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def begin(self, values: Mapping[str, Any]) -> None:
        """Add a trial (`core.running.begun`); one of the same id is replaced. Forgotten ones are removed."""
        table, now = tables.progress, self._clock()
        with write_to(self._engine, f"progress of trial {values['trial_id']}") as connection:
            connection.execute(delete(table).where(table.c.trial_id == values["trial_id"]))
            connection.execute(delete(table).where(table.c.updated_at < now - FORGOTTEN))
            connection.execute(insert(table), {**_fitting(values), "updated_at": now})

    def change(self, trial_id: str, values: Mapping[str, Any]) -> None:
        """Change a trial that is there (`core.running.news`); do nothing if it is not."""
        table = tables.progress
        with write_to(self._engine, f"progress of trial {trial_id}") as connection:
            changed = update(table).where(table.c.trial_id == trial_id)
            connection.execute(changed.values(**_fitting(values), updated_at=self._clock()))

    @staticmethod
    def end(connection: Connection, trial_ids: Sequence[str]) -> None:
        """Remove trials, in the transaction that writes their results."""
        for start in range(0, len(trial_ids), 500):
            some = trial_ids[start : start + 500]
            connection.execute(delete(tables.progress).where(tables.progress.c.trial_id.in_(some)))

    def running(self, dag_ids: Collection[str] | None = None) -> list[RunningTrial]:
        """Return the running trials, the newest first; `dag_ids`: only of these DAGs."""
        table = tables.progress
        query = select(table).order_by(table.c.opened_at.desc(), table.c.trial_id)
        if dag_ids is not None:
            query = query.where(table.c.dag_id.in_(list(dag_ids)))
        with read_from(self._engine) as connection:
            return [RunningTrial(**row) for row in connection.execute(query).mappings()]

    def of(self, trial_id: str) -> RunningTrial | None:
        """Return one running trial, or None."""
        table = tables.progress
        with read_from(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.trial_id == trial_id)).mappings().one_or_none()
        return None if row is None else RunningTrial(**row)

    def expected(self, arm: str, image_bytes: int | None = None) -> Expected:
        """Return what an arm's last comparable trials took; `arm`: `Arm.key`."""
        trials, stones = tables.trials.c, tables.milestones.c
        query = select(trials.trial_id, trials.total_s).where(trials.arm == arm, trials.exclusion.is_(None))
        found: dict[str, dict[str, datetime]] = {}
        with read_from(self._engine) as connection:
            last = connection.execute(query.order_by(trials.opened_at.desc()).limit(EXPECTED_FROM)).all()
            seen = select(stones.trial_id, stones.name, stones.latest_at)
            for trial_id, name, at in connection.execute(seen.where(stones.trial_id.in_([row[0] for row in last]))):
                found.setdefault(trial_id, {})[name] = at
        return expected_of([row[1] for row in last], found.values(), image_bytes)


def _fitting(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values whose names fit their columns."""
    limited = {column.name for column in tables.progress.columns if column.name != "trial_id"}
    return {
        key: fit_text(value)[: tables.NAME_LENGTH] if isinstance(value, str) and key in limited - {"blocker"} else value
        for key, value in values.items()
    }
