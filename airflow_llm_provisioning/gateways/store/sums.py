"""Counts, percentiles and phase sums of comparable trials, grouped by the database.

Comparable is what `core.comparison` pools: no reason to set the trial aside, and of an arm's image digests the most
frequent one. What is summed here is divided afterwards, because an arm may have several series.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select

from airflow_llm_provisioning.core.arm import Arm, image_digest
from airflow_llm_provisioning.core.comparison import (
    ANOTHER_IMAGE,
    identifying_columns,
    naming_columns,
    table_arm,
    table_order,
)
from airflow_llm_provisioning.core.phase_means import PathMeans
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.selection import Selection
from airflow_llm_provisioning.gateways.store.shared import shared_contents
from airflow_llm_provisioning.gateways.store.thin import Series

PERCENTILES: Final = (10, 25, 50, 75, 90, 95, 99)

_T = tables.trials.c


class Failure(NamedTuple):
    """A trial that did not succeed."""

    trial_id: str
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Pool:
    """The comparable trials of a selection. `n`: how many each arm has; `other_images`: (arm, keys of facts) whose
    trials are set aside, with their number.
    """

    selection: Selection
    n: Mapping[str, int]
    other_images: Mapping[str, Mapping[str, int]]

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        yield from self.selection.conditions()
        yield _T.exclusion.is_(None)
        aside = [and_(_T.arm == arm, _T.facts.in_(sorted(facts))) for arm, facts in self.other_images.items()]
        if aside:
            yield not_(or_(*aside))


def _pool(connection: Connection, selection: Selection) -> _Pool:
    query = (
        select(_T.arm, _T.facts, func.count(), func.min(_T.opened_at))
        .where(_T.exclusion.is_(None), *selection.conditions())
        .group_by(_T.arm, _T.facts)
    )
    counted = connection.execute(query).all()
    shared = shared_contents(connection, {facts for _, facts, _, _ in counted})
    arms: dict[str, list[tuple[str, str | None, int, datetime]]] = {}
    for arm, facts, n, first in counted:
        arms.setdefault(arm, []).append((facts, image_digest(shared[facts]), n, first))
    numbers: dict[str, int] = {}
    aside: dict[str, dict[str, int]] = {}
    for arm, rows in arms.items():
        usual = _usual(connection, selection, arm, rows)
        others = {facts: n for facts, digest, n, _ in rows if digest not in (None, usual)}
        numbers[arm] = sum(n for _, _, n, _ in rows) - sum(others.values())
        if others:
            aside[arm] = others
    return _Pool(selection, numbers, aside)


def _usual(
    connection: Connection, selection: Selection, arm: str, rows: Sequence[tuple[str, str | None, int, datetime]]
) -> str | None:
    """Return the digest of most trials of an arm; of several the one that was met first."""
    numbers: Counter[str] = Counter()
    for _, digest, n, _ in rows:
        if digest is not None:
            numbers[digest] += n
    most = max(numbers.values(), default=0)
    leading = {digest for digest, n in numbers.items() if n == most}
    if len(leading) < 2:
        return next(iter(leading), None)
    by_facts = {facts: digest for facts, digest, _, _ in rows if digest in leading}
    query = (
        select(_T.facts)
        .where(_T.arm == arm, _T.exclusion.is_(None), _T.facts.in_(sorted(by_facts)), *selection.conditions())
        .order_by(_T.opened_at, _T.trial_id)
        .limit(1)
    )
    return by_facts[str(connection.scalar(query))]


def counted_reasons(connection: Connection, selection: Selection) -> dict[str, dict[str, int]]:
    """Return how many trials of every arm do not count, by reason."""
    query = (
        select(_T.arm, _T.exclusion, func.count())
        .where(_T.exclusion.is_not(None), *selection.conditions())
        .group_by(_T.arm, _T.exclusion)
    )
    found: dict[str, dict[str, int]] = {}
    for arm, reason, n in connection.execute(query):
        found.setdefault(arm, {})[reason] = n
    for arm, others in _pool(connection, selection).other_images.items():
        found.setdefault(arm, {})[ANOTHER_IMAGE] = sum(others.values())
    return {arm: dict(sorted(reasons.items())) for arm, reasons in sorted(found.items())}


def failed_trials(connection: Connection, selection: Selection, most: int) -> dict[str, tuple[list[Failure], int]]:
    """Return by arm its newest trials that did not succeed, at most so many and the oldest first, and how many there
    are.
    """
    newest = (_T.opened_at.desc(), _T.trial_id.desc())
    ranked = (
        select(
            *(_T.arm, _T.trial_id, _T.status, _T.reason, _T.opened_at),
            func.row_number().over(partition_by=_T.arm, order_by=newest).label("at"),
            func.count().over(partition_by=_T.arm).label("n"),
        )
        .where(_T.status != str(TrialStatus.SUCCEEDED), *selection.conditions())
        .subquery()
    )
    query = select(ranked).where(ranked.c.at <= most).order_by(ranked.c.opened_at, ranked.c.trial_id)
    found: dict[str, tuple[list[Failure], int]] = {}
    for row in connection.execute(query):
        found.setdefault(row.arm, ([], row.n))[0].append(Failure(row.trial_id, row.status, row.reason))
    return found


def percentiles_of(connection: Connection, selection: Selection, series: Iterable[Series]) -> list[dict[str, Any]]:
    """Return percentiles of every arm, between two values interpolated."""
    pool = _pool(connection, selection)
    ranked = (
        select(
            _T.arm.label("arm"),
            _T.total_s.label("total_s"),
            (func.row_number().over(partition_by=_T.arm, order_by=_T.total_s) - 1).label("at"),
            func.count().over(partition_by=_T.arm).label("n"),
        )
        .where(*pool.conditions())
        .subquery()
    )
    low = [(ranked.c.n - 1) * each // 100 for each in PERCENTILES]
    near = or_(*(ranked.c.at == at for at in low), *(ranked.c.at == at + 1 for at in low))
    values: dict[str, dict[int, float]] = {}
    for arm, at, total_s in connection.execute(select(ranked.c.arm, ranked.c.at, ranked.c.total_s).where(near)):
        values.setdefault(arm, {})[int(at)] = total_s
    return [
        {
            **naming_columns(arm),
            "n": pool.n[key],
            **{f"p{each}_s": _interpolated(values[key], pool.n[key], each) for each in PERCENTILES},
            **identifying_columns(arm),
        }
        for key, arm in _arms(series).items()
        if key in values
    ]


def _interpolated(values: Mapping[int, float], n: int, percent: int) -> float:
    at, part = divmod((n - 1) * percent, 100)
    return values[at] if not part else values[at] + (values[at + 1] - values[at]) * part / 100


@dataclass(slots=True)
class _Path:
    """The trials of one arm that took one path: their number, the sum of their totals, and that of each phase."""

    n: int = 0
    total_s: float = 0.0
    first: list[datetime] = field(default_factory=list)
    phases: dict[int, float] = field(default_factory=dict)
    totals: list[tuple[float, str]] = field(default_factory=list)


def path_means(
    connection: Connection, selection: Selection, series: Sequence[Series], *, totals: bool = False
) -> list[PathMeans]:
    """Return the mean phases of every arm by deciding path; of each arm the path of most trials comes first, of equally
    frequent ones the one that was taken first. `totals`: with the total and the name of every trial.
    """
    pool = _pool(connection, selection)
    arm_of = {each.series: each.arm_key for each in series}
    paths = _paths(connection, pool, arm_of)
    phases = tables.phases.c
    query = (
        select(_T.series, _T.path, phases.position, func.sum(phases.duration_s))
        .join_from(tables.trials, tables.phases, phases.trial_id == _T.trial_id)
        .where(*pool.conditions(), _T.path.is_not(None))
        .group_by(_T.series, _T.path, phases.position)
    )
    for key, path, position, seconds in connection.execute(query):
        found = paths[arm_of[key]][path].phases
        found[position] = found.get(position, 0.0) + seconds
    if totals:
        _add_totals(connection, pool, arm_of, paths)
    names = shared_contents(connection, {path for of_arm in paths.values() for path in of_arm})
    return [
        means
        for key, arm in _arms(series).items()
        if key in paths
        for means in _means(arm, pool.n[key], _ordered(connection, pool, key, paths[key]), names)
    ]


def _paths(connection: Connection, pool: _Pool, arm_of: Mapping[str, str]) -> dict[str, dict[str, _Path]]:
    query = (
        select(_T.series, _T.path, func.count(), func.sum(_T.total_s), func.min(_T.opened_at))
        .where(*pool.conditions(), _T.path.is_not(None))
        .group_by(_T.series, _T.path)
    )
    found: dict[str, dict[str, _Path]] = {}
    for key, path, n, total_s, first in connection.execute(query):
        one = found.setdefault(arm_of[key], {}).setdefault(path, _Path())
        one.n += n
        one.total_s += total_s
        one.first.append(first)
    return found


def _add_totals(
    connection: Connection, pool: _Pool, arm_of: Mapping[str, str], paths: Mapping[str, Mapping[str, _Path]]
) -> None:
    query = select(_T.series, _T.path, _T.total_s, _T.trial_id).where(*pool.conditions(), _T.path.is_not(None))
    for key, path, total_s, trial_id in connection.execute(query.order_by(_T.opened_at, _T.trial_id)):
        paths[arm_of[key]][path].totals.append((total_s, trial_id))


def _ordered(connection: Connection, pool: _Pool, arm: str, paths: Mapping[str, _Path]) -> list[tuple[str, _Path]]:
    """Return the paths of an arm: by their number of trials, of equal ones the one that was taken first."""
    ranks = {path: (-found.n, min(found.first)) for path, found in paths.items()}
    twice = {path for path, rank in ranks.items() if list(ranks.values()).count(rank) > 1}
    names: dict[str, str] = {}
    if twice:
        opened = [and_(_T.path == path, _T.opened_at == ranks[path][1]) for path in sorted(twice)]
        query = select(_T.path, func.min(_T.trial_id)).where(_T.arm == arm, or_(*opened), *pool.conditions())
        names = {row[0]: row[1] for row in connection.execute(query.group_by(_T.path))}
    return sorted(paths.items(), key=lambda item: (*ranks[item[0]], names.get(item[0], "")))


def _means(
    arm: Arm, pooled: int, ordered: Sequence[tuple[str, _Path]], names: Mapping[str, list[str]]
) -> Iterator[PathMeans]:
    for number, (path, found) in enumerate(ordered, start=1):
        yield PathMeans(
            arm=arm,
            number=number,
            paths=len(ordered),
            n=found.n,
            pooled=pooled,
            total_s=found.total_s / found.n,
            phases=tuple((name, found.phases[at] / found.n) for at, name in enumerate(names[path])),
            totals=tuple(found.totals),
        )


def _arms(series: Iterable[Series]) -> dict[str, Arm]:
    """Return arms by their keys, in the order and under the names of the tables."""
    members: dict[str, list[Arm]] = {}
    names: dict[str, set[str]] = {}
    for each in series:
        members.setdefault(each.arm_key, []).append(each.arm)
        names.setdefault(each.arm.stratum.family, set()).add(each.arm.stratum.workload)
    arms = {key: table_arm(found, names[found[0].stratum.family]) for key, found in members.items()}
    return dict(sorted(arms.items(), key=lambda item: table_order(item[1])))
