"""Lists of runs and of trials, the newest first, a page at a time. A page is cut by key and not by number, so that the
last page costs as much as the first, and trials that arrive meanwhile move nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Row, and_, func, not_, or_, select

from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.selection import Selection, TrialKey
from airflow_llm_provisioning.gateways.store.thin import series_of

T = TypeVar("T")
RunKey = tuple[str, str]
# Trials that are looked at in one step, at most; a run has some ten trials.
_WALKED: Final = 500
_OF_A_RUN: Final = 32


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and where the next page begins; None on the last one."""

    rows: Sequence[T]
    next: TrialKey | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One DAG run: when its trials were opened, how many there are, how many may enter a comparison, and how they
    ended. `newest`: its newest trial. `experiment`: several are joined by a comma.
    """

    experiment: str
    dag_id: str
    run_id: str
    first_at: datetime
    last_at: datetime
    trials: int
    comparable: int
    by_status: Mapping[str, int]
    newest: TrialKey

    @property
    def key(self) -> RunKey:
        """The DAG and the id: two DAGs may have runs of one id."""
        return self.dag_id, self.run_id


def runs_page(connection: Connection, selection: Selection, limit: int, before: TrialKey | None) -> Page[RunRow]:
    """Return the runs with trials of a selection, by their newest trial; `before`: the `next` of the page before."""
    found: dict[RunKey, TrialKey] = {}
    place, step = before, _OF_A_RUN * (limit + 1)
    while len(found) <= limit:
        walked = _walk(connection, selection, place, min(step, _WALKED))
        step *= 2
        if not walked:
            break
        new: dict[RunKey, TrialKey] = {}
        for row in walked:
            new.setdefault((row.dag_id, row.run_id), TrialKey(row.opened_at, row.trial_id))
        shown = _shown_before(connection, selection, set(new), before)
        found = {**{key: at for key, at in new.items() if key not in shown}, **found}
        found = dict(sorted(found.items(), key=lambda item: (item[1].opened_at, item[1].trial_id), reverse=True))
        place = TrialKey(walked[-1].opened_at, walked[-1].trial_id)
    kept = list(found.items())[:limit]
    counted = _counted(connection, selection, [key for key, _ in kept])
    rows = [_run(key, newest, counted[key]) for key, newest in kept]
    return Page(rows, rows[-1].newest if rows and len(found) > limit else None)


def trials_page(
    connection: Connection, selection: Selection, limit: int | None, before: TrialKey | None = None
) -> Page[dict[str, Any]]:
    """Return the newest trials as flat rows, as `TrialResult.summary` writes them, with `exclusion` and `cell`."""
    columns = tables.trials.c
    query = select(*[columns[name] for name in _LISTED]).where(*selection.conditions())
    if before is not None:
        query = query.where(before.older())
    query = query.order_by(columns.opened_at.desc(), columns.trial_id.desc())
    rows = connection.execute(query if limit is None else query.limit(limit + 1)).all()
    kept = rows if limit is None else rows[:limit]
    more = TrialKey(kept[-1].opened_at, kept[-1].trial_id) if len(kept) < len(rows) else None
    series = series_of(connection, {row.series for row in kept})
    return Page([_listed(row, series[row.series]) for row in kept], more)


def names_page(connection: Connection, selection: Selection, column: str, most: int | None) -> list[str]:
    """Return the first distinct values of an indexed column, in their order: one search in the index for each value,
    instead of one row for each trial.
    """
    key = tables.trials.c[column]
    found: list[str] = []
    last: str | None = ""
    while most is None or len(found) < most:
        last = connection.scalar(select(func.min(key)).where(key > last, *selection.conditions(by=column)))
        if last is None:
            break
        found.append(last)
    return found


_NAMES: Final = ("trial_id", "experiment", "dag_id", "run_id", "target", "cluster")
_PLAN: Final = ("replicate", "slot", "seed", "rayservice", "namespace", "model_source", "image")
_ENDED: Final = ("status", "reason", "opened_at", "closed_at", "submitted_at", "ready_at", "total_s", "total_low_s")
_COST: Final = ("cost_amount", "currency", "gpu_hours")
_MORE: Final = (
    *("total_high_s", "completion_s", "start", "applied", "analysis_version", "capacity", "speed", "flags"),
    *_COST,
)
_LISTED: Final = (*_NAMES, *_PLAN, *_ENDED, *_MORE, "series", "exclusion")


def _listed(row: Row[Any], series: Any) -> dict[str, Any]:
    arm = series.arm
    values = {
        **{name: getattr(row, name) for name in _NAMES},
        **arm.stratum.as_dict(),
        "variant": arm.variant,
        "treatments": "+".join(arm.treatments),
        "arm": series.arm_key,
        "stratum": arm.stratum.key,
        **{name: getattr(row, name) for name in (*_PLAN, *_ENDED, *_MORE)},
        "exclusion": row.exclusion,
        "cell": series.cell,
    }
    values["capacity_wait_s"] = (values.pop("capacity") or {}).get("waited_s")
    values["tokens_s"] = (values.pop("speed") or {}).get("tokens_s")
    values["flags"] = "; ".join(map(str, row.flags or ()))
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _walk(connection: Connection, selection: Selection, place: TrialKey | None, most: int) -> Sequence[Any]:
    columns = tables.trials.c
    query = select(columns.opened_at, columns.trial_id, columns.dag_id, columns.run_id).where(*selection.conditions())
    if place is not None:
        query = query.where(place.older())
    return connection.execute(query.order_by(columns.opened_at.desc(), columns.trial_id.desc()).limit(most)).all()


def _shown_before(
    connection: Connection, selection: Selection, keys: set[RunKey], before: TrialKey | None
) -> set[RunKey]:
    """Return the runs that stand on an earlier page: those with a trial that is not older than the key."""
    if before is None:
        return set()
    columns = tables.trials.c
    query = (
        select(columns.dag_id, columns.run_id)
        .where(
            columns.run_id.in_({run_id for _, run_id in keys}), not_(before.older()), *selection.conditions(by="run_id")
        )
        .distinct()
    )
    return {(dag_id, run_id) for dag_id, run_id in connection.execute(query)}


@dataclass(slots=True)
class _Counted:
    experiments: set[str] = field(default_factory=set)
    first: list[datetime] = field(default_factory=list)
    last: list[datetime] = field(default_factory=list)
    comparable: int = 0
    by_status: dict[str, int] = field(default_factory=dict)


def _counted(connection: Connection, selection: Selection, keys: Sequence[RunKey]) -> dict[RunKey, _Counted]:
    if not keys:
        return {}
    columns = tables.trials.c
    group = (columns.dag_id, columns.run_id, columns.experiment, columns.status)
    query = (
        select(*group, func.count(), func.count() - func.count(columns.exclusion), *_ends())
        .where(or_(*_of_runs(keys)), *selection.conditions(by="run_id"))
        .group_by(*group)
    )
    found: dict[RunKey, _Counted] = {}
    for dag_id, run_id, experiment, status, n, comparable, first, last in connection.execute(query) if keys else ():
        run = found.setdefault((dag_id, run_id), _Counted())
        run.experiments.add(experiment)
        run.first.append(first)
        run.last.append(last)
        run.comparable += comparable
        run.by_status[status] = run.by_status.get(status, 0) + n
    return found


def _ends() -> tuple[Any, Any]:
    opened_at = tables.trials.c.opened_at
    return func.min(opened_at), func.max(opened_at)


def _of_runs(keys: Sequence[RunKey]) -> Iterator[Any]:
    columns = tables.trials.c
    by_dag: dict[str, list[str]] = {}
    for dag_id, run_id in keys:
        by_dag.setdefault(dag_id, []).append(run_id)
    for dag_id, run_ids in by_dag.items():
        yield and_(columns.dag_id.concat("") == dag_id, columns.run_id.in_(run_ids))


def _run(key: RunKey, newest: TrialKey, counted: _Counted) -> RunRow:
    return RunRow(
        experiment=", ".join(sorted(counted.experiments)),
        dag_id=key[0],
        run_id=key[1],
        first_at=min(counted.first),
        last_at=max(counted.last),
        trials=sum(counted.by_status.values()),
        comparable=counted.comparable,
        by_status=dict(sorted(counted.by_status.items())),
        newest=newest,
    )
