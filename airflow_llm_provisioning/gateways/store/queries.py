"""What is asked of many trials at once: tables, histories, lists. The database selects, counts, orders and sums.

Statistics that need every value (an interval by blocks) get thin rows of one family of arms, or of the nights of one
cell, at a time. Whole results are built for single trials only (`ResultsStore.trial`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Engine, case, null, select

from airflow_llm_provisioning.core.comparison import ComparisonRow, compare, table_order
from airflow_llm_provisioning.core.nights import NEWEST_NIGHTS, Cell, Night, cell_of, nights_of
from airflow_llm_provisioning.core.phase_means import PathMeans
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import read_from
from airflow_llm_provisioning.gateways.store.pages import Page, RunKey, RunRow, names_page, runs_page, trials_page
from airflow_llm_provisioning.gateways.store.selection import Selection, TrialKey
from airflow_llm_provisioning.gateways.store.sums import (
    Failure,
    counted_reasons,
    failed_trials,
    path_means,
    percentiles_of,
)
from airflow_llm_provisioning.gateways.store.thin import (
    MOST_VALUES,
    RefusedTrial,
    Series,
    ThinTrial,
    refused_trials,
    series_of,
    thin_trials,
    trial_costs,
)

MOST_FAILURES: Final = 20
EVERYTHING: Final = Selection()


class Queries:
    """Tables, histories and lists of one results database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def runs(
        self, selection: Selection = EVERYTHING, *, limit: int = 50, before: TrialKey | None = None
    ) -> Page[RunRow]:
        """Return DAG runs, the newest first. `before`: the `next` of the page before."""
        with read_from(self._engine) as connection:
            return runs_page(connection, selection, limit, before)

    def newest_run(self, selection: Selection = EVERYTHING) -> RunRow | None:
        """Return the run of the newest trial of a selection."""
        rows = self.runs(selection, limit=1).rows
        return rows[0] if rows else None

    def trials_page(
        self, selection: Selection = EVERYTHING, *, limit: int | None = 50, before: TrialKey | None = None
    ) -> Page[dict[str, Any]]:
        """Return trials as flat rows (`TrialResult.summary`, with `exclusion` and `cell`), the newest first."""
        with read_from(self._engine) as connection:
            return trials_page(connection, selection, limit, before)

    def names(
        self, column: Literal["dag_id", "experiment"], selection: Selection = EVERYTHING, *, most: int | None = None
    ) -> list[str]:
        """Return the DAGs or the experiments of which a selection has trials, by their names; `most`: the
        first ones only.
        """
        with read_from(self._engine) as connection:
            return names_page(connection, selection, column, most)

    def dag_of(self, trial_id: str) -> str | None:
        """Return the DAG of a trial, or None for an unknown one."""
        columns = tables.trials.c
        with read_from(self._engine) as connection:
            return connection.scalar(select(columns.dag_id).where(columns.trial_id == trial_id))

    def measured(self, selection: Selection = EVERYTHING, *, phases: bool = False) -> list[ThinTrial]:
        """Return what statistics need of the trials of a selection, in the order they were opened."""
        with read_from(self._engine) as connection:
            return thin_trials(connection, selection.conditions(), phases=phases)

    def comparison(self, selection: Selection = EVERYTHING) -> list[ComparisonRow]:
        """Return one row per arm against the baseline of its stratum: `core.comparison.compare` of these trials."""
        rows: list[ComparisonRow] = []
        with read_from(self._engine) as connection:
            for family in _families(_series(connection, selection)):
                wanted = tables.trials.c.series.in_([each.series for each in family])
                rows += compare(thin_trials(connection, (*selection.conditions(), wanted)))
        return sorted(rows, key=lambda row: table_order(row.arm))

    def phase_means(self, selection: Selection = EVERYTHING, *, totals: bool = False) -> list[PathMeans]:
        """Return the mean phases of every arm by deciding path, over its comparable trials. `totals`: with the total
        and the name of each of them.
        """
        with read_from(self._engine) as connection:
            return path_means(connection, selection, _series(connection, selection), totals=totals)

    def percentiles(self, selection: Selection = EVERYTHING) -> list[dict[str, Any]]:
        """Return percentiles of the totals of every arm's comparable trials, in seconds: one flat row per arm."""
        with read_from(self._engine) as connection:
            return percentiles_of(connection, selection, _series(connection, selection))

    def not_counted(self, selection: Selection = EVERYTHING) -> dict[str, dict[str, int]]:
        """Return how many trials of every arm do not count, by reason: {key of the arm: {reason: number}}."""
        with read_from(self._engine) as connection:
            return counted_reasons(connection, selection)

    def failures(
        self, selection: Selection = EVERYTHING, *, most: int = MOST_FAILURES
    ) -> dict[str, tuple[list[Failure], int]]:
        """Return by arm its newest trials that did not succeed, at most `most`, and how many there are."""
        with read_from(self._engine) as connection:
            return failed_trials(connection, selection, most)

    def refused(self, selection: Selection = EVERYTHING) -> list[RefusedTrial]:
        """Return the trials to which a capacity was refused."""
        with read_from(self._engine) as connection:
            return refused_trials(connection, selection.conditions())

    def costs(self, selection: Selection = EVERYTHING) -> dict[str, Mapping[str, Any]]:
        """Return trial id -> what it cost (`core.cost.priced`), of the trials of which anything is known."""
        with read_from(self._engine) as connection:
            return trial_costs(connection, selection.conditions())

    def newest_costs(self, selection: Selection = EVERYTHING) -> dict[str, Mapping[str, Any]]:
        """Return target -> what one of its newest trials cost (`core.cost.priced`). Of each arm the newest trial is
        looked at, so that the number of trials does not matter; a target without a known cost is absent.
        """
        table, columns = tables.series, tables.trials.c
        one = select(columns.trial_id).where(columns.series == table.c.series, *selection.conditions(by="series"))
        newest = one.order_by(columns.opened_at.desc()).limit(1).correlate(table).scalar_subquery()
        each = select(newest).select_from(table).where(*selection.conditions_of_series())
        with read_from(self._engine) as connection:
            ids = [trial_id for trial_id in connection.scalars(each) if trial_id is not None]
            found: dict[str, Mapping[str, Any]] = {}
            for start in range(0, len(ids), MOST_VALUES):
                chosen = columns.trial_id.in_(ids[start : start + MOST_VALUES])
                query = select(columns.target, columns.cost, columns.opened_at).where(chosen, columns.cost.is_not(None))
                found |= {row.target: row.cost for row in connection.execute(query.order_by(columns.opened_at))}
        return found

    def amounts(
        self, experiment: str, *, run: tuple[str, str] | None = None, since: datetime | None = None
    ) -> list[tuple[float | None, str | None, float | None, Mapping[str, Any] | None]]:
        """Return (amount, currency, GPU hours, cost) of the trials of an experiment that were opened; the whole cost
        only where the amount is not known. `run`: of this (DAG, run) only; `since`: opened from then on.
        """
        columns = tables.trials.c
        whole = case((columns.cost_amount.is_(None), columns.cost), else_=null())
        query = select(columns.cost_amount, columns.currency, columns.gpu_hours, whole).where(
            columns.experiment == experiment, columns.rayservice.is_not(None)
        )
        if run is not None:
            query = query.where(columns.dag_id == run[0], columns.run_id == run[1])
        if since is not None:
            query = query.where(columns.opened_at >= since)
        with read_from(self._engine) as connection:
            return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]

    def pricing(self, selection: Selection = EVERYTHING) -> Mapping[str, Any]:
        """Return how the newest trial of a selection was priced (`core.trial.Trial.pricing`); empty without one."""
        columns = tables.trials.c
        query = select(columns.trial).where(*selection.conditions()).order_by(columns.opened_at.desc()).limit(1)
        with read_from(self._engine) as connection:
            return dict((connection.scalar(query) or {}).get("pricing") or {})

    def cells(self, selection: Selection = EVERYTHING) -> list[Cell]:
        """Return the cells of which a selection has trials, by their names."""
        with read_from(self._engine) as connection:
            cells = {cell_of(each.arm, each.target) for each in _series(connection, selection)}
        return sorted(cells, key=lambda cell: (cell.label, cell.origin))

    def history(
        self, selection: Selection = EVERYTHING, *, nights: int = NEWEST_NIGHTS
    ) -> dict[Cell, tuple[Night, ...]]:
        """Return the newest nights of every cell, the oldest of them first (`core.nights.nights_of`)."""
        found: dict[Cell, tuple[Night, ...]] = {}
        with read_from(self._engine) as connection:
            cells: dict[Cell, list[str]] = {}
            for each in _series(connection, selection):
                cells.setdefault(cell_of(each.arm, each.target), []).append(each.series)
            for keys in cells.values():
                runs = _newest_runs(connection, selection, keys, nights)
                members = _of_runs(connection, selection, keys, runs)
                found |= {each: listed[-nights:] for each, listed in nights_of(members).items()}
        return found


def _series(connection: Connection, selection: Selection) -> list[Series]:
    """Return the series of which a selection has trials."""
    column = tables.trials.c.series
    query = select(column).where(*selection.conditions()).distinct()
    if selection.is_of_series:
        # One search for each series instead of one row for each trial.
        one = select(column).where(column == tables.series.c.series, *selection.conditions(by="series"))
        query = select(tables.series.c.series).where(one.exists(), *selection.conditions_of_series())
    return list(series_of(connection, set(connection.scalars(query))).values())


def _families(series: Iterable[Series]) -> list[list[Series]]:
    """Return series that are compared or named together."""
    found: dict[str, list[Series]] = {}
    for each in series:
        found.setdefault(each.arm.stratum.family, []).append(each)
    return list(found.values())


def _newest_runs(connection: Connection, selection: Selection, series: Sequence[str], most: int) -> list[RunKey]:
    """Return the newest runs in which one of these series has a comparable trial."""
    found: dict[RunKey, None] = {}
    walks = [_walk(connection, selection, key) for key in series]
    for _, run in merge(*walks, key=lambda item: item[0], reverse=True):
        found[run] = None
        if len(found) >= most:
            break
    return list(found)


def _walk(connection: Connection, selection: Selection, series: str) -> Iterator[tuple[Any, RunKey]]:
    columns = tables.trials.c
    place: TrialKey | None = None
    while True:
        query = select(columns.opened_at, columns.trial_id, columns.dag_id, columns.run_id).where(
            columns.series == series, columns.exclusion.is_(None), *selection.conditions(by="series")
        )
        if place is not None:
            query = query.where(place.older())
        rows = connection.execute(
            query.order_by(columns.opened_at.desc(), columns.trial_id.desc()).limit(MOST_VALUES)
        ).all()
        yield from ((row.opened_at, (row.dag_id, row.run_id)) for row in rows)
        if len(rows) < MOST_VALUES:
            return
        place = TrialKey(rows[-1].opened_at, rows[-1].trial_id)


def _of_runs(
    connection: Connection, selection: Selection, series: Sequence[str], runs: Sequence[RunKey]
) -> list[ThinTrial]:
    wanted, columns = set(runs), tables.trials.c
    found: list[ThinTrial] = []
    ids = sorted({run_id for _, run_id in runs})
    for start in range(0, len(ids), MOST_VALUES):
        chosen: tuple[ColumnElement[bool], ...] = (
            columns.series.in_(series),
            columns.run_id.in_(ids[start : start + MOST_VALUES]),
        )
        found += thin_trials(connection, (*chosen, *selection.conditions(by="series")), phases=True)
    return [trial for trial in found if trial.run in wanted]
