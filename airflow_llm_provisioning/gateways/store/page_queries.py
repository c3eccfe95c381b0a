"""What the page inside Airflow reads: a page of rows at a time, of the DAGs that its user may read.

Every function takes `dag_ids`, the DAGs whose trials may be shown; a trial of another DAG is as if it did not exist.
Pages are cut by key (`opened_at`, `trial_id`), so the last page costs as much as the first one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, Select, and_, func, or_, select

from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import read_from
from airflow_llm_provisioning.gateways.store.results import _grouped, _trial

# A selection may hold this many distinct values, so that a page stays small.
MOST_NAMES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which trials are wanted. None: any. `dag_ids`: those that the user may read."""

    dag_ids: Collection[str]
    experiment: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class PageKey:
    """Where a page ends: the next one begins after it."""

    opened_at: datetime
    trial_id: str


@dataclass(frozen=True, slots=True)
class TrialPage:
    """One page of trials, the newest first, without phases and milestones. `next`: None on the last page."""

    trials: Sequence[TrialResult]
    next: PageKey | None


class PageQueries:
    """Paged reads of one results database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def names(self, column: str, after: str = "") -> list[str]:
        """Return the distinct values of an indexed column of the trials, in their order. One index search per value
        instead of one row per trial.
        """
        key = tables.trials.c[column]
        found: list[str] = []
        with read_from(self._engine) as connection:
            last: str | None = after
            while len(found) < MOST_NAMES:
                last = connection.scalar(select(func.min(key)).where(key > last))
                if last is None:
                    return found
                found.append(last)
        return found

    def dag_of(self, trial_id: str) -> str | None:
        """Return the DAG of a trial, or None for an unknown one."""
        columns = tables.trials.c
        with read_from(self._engine) as connection:
            return connection.scalar(select(columns.dag_id).where(columns.trial_id == trial_id))

    def count(self, selection: Selection) -> int:
        """Return how many trials a selection has."""
        query = _chosen(select(func.count()).select_from(tables.trials), selection)
        with read_from(self._engine) as connection:
            return int(connection.scalar(query) or 0)

    def newest(self, selection: Selection) -> TrialResult | None:
        """Return the newest trial of a selection."""
        page = self.page(selection, 1)
        return page.trials[0] if page.trials else None

    def page(self, selection: Selection, size: int, before: PageKey | None = None) -> TrialPage:
        """Return the newest trials of a selection, or those that were opened before a key."""
        rows = self._rows(selection, size + 1, before)
        kept = rows[:size]
        more = PageKey(kept[-1]["opened_at"], kept[-1]["trial_id"]) if len(rows) > size else None
        return TrialPage([_trial(row, (), ()) for row in kept], more)

    def with_phases(self, selection: Selection, limit: int) -> list[TrialResult]:
        """Return the newest trials of a selection with their phases, without milestones; the oldest first."""
        rows = self._rows(selection, limit, None)
        with read_from(self._engine) as connection:
            stages = _grouped(connection, tables.phases, [row["trial_id"] for row in rows], "position")
        return [_trial(row, stages.get(row["trial_id"], ()), ()) for row in reversed(rows)]

    def _rows(self, selection: Selection, limit: int, before: PageKey | None) -> list[Any]:
        columns = tables.trials.c
        query = _chosen(select(tables.trials), selection)
        if before is not None:
            same = and_(columns.opened_at == before.opened_at, columns.trial_id < before.trial_id)
            query = query.where(or_(columns.opened_at < before.opened_at, same))
        query = query.order_by(columns.opened_at.desc(), columns.trial_id.desc()).limit(limit)
        with read_from(self._engine) as connection:
            return list(connection.execute(query).mappings())


def _chosen(query: Select[Any], selection: Selection) -> Select[Any]:
    columns = tables.trials.c
    query = query.where(columns.dag_id.in_(sorted(selection.dag_ids)))
    for name in ("experiment", "dag_id", "run_id", "target"):
        if (value := getattr(selection, name)) is not None:
            query = query.where(columns[name] == value)
    return query
