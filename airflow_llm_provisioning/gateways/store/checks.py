"""Whether a results store is whole: its schema, and rows that belong to no other or lack what they should have."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Select, func, or_, select, text

from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import read_from

# Sums of seconds that were rounded apart differ by less.
_SUM_TOLERANCE_S: Final = 0.01
_EXAMPLES: Final = 3

_T = tables.trials.c


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows of one kind. `wrong`: whether they should not be there; otherwise worth knowing. `examples`: some names."""

    sentence: str
    n: int
    wrong: bool
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as a line: `3 traces without a trial (a, b, c)`."""
        named = (
            f" ({', '.join(self.examples)}{', ...' if self.n > len(self.examples) else ''})" if self.examples else ""
        )
        return f"{self.n} {self.sentence}{named}"


def check_store(engine: Engine) -> list[Finding]:
    """Return what was found; nothing where all is well."""
    with read_from(engine) as connection:
        return [*_of_the_file(connection), *(found for query in _QUERIES for found in _found(connection, *query))]


def _of_the_file(connection: Connection) -> Iterator[Finding]:
    if connection.dialect.name == "sqlite":
        told = [str(row[0]) for row in connection.execute(text("PRAGMA quick_check(10)"))]
        if told != ["ok"]:
            yield Finding(f"faults of the SQLite file: {'; '.join(told[:_EXAMPLES])}", len(told), wrong=True)


def _found(connection: Connection, sentence: str, wrong: bool, query: Callable[[], Select[Any]]) -> Iterator[Finding]:
    wanted = query().subquery()
    n = connection.scalar(select(func.count()).select_from(wanted)) or 0
    if n:
        names = connection.scalars(select(wanted.c[0]).order_by(wanted.c[0]).limit(_EXAMPLES))
        yield Finding(sentence, n, wrong, tuple(map(str, names)))


def _absent(column: Any, other: Any) -> Any:
    """Return whether no row of another table has the value."""
    return ~select(other).where(other == column).exists()


def _orphans(table: Any) -> Callable[[], Select[Any]]:
    return lambda: select(table.c.trial_id).where(_absent(table.c.trial_id, _T.trial_id)).distinct()


def _traces_without_a_trial() -> Select[Any]:
    column = tables.traces.c.trial_id
    return select(column).where(_absent(column, _T.trial_id), _absent(column, tables.imports.c.trial_id)).distinct()


def _without_phases() -> Select[Any]:
    return select(_T.trial_id).where(_T.exclusion.is_(None), _T.path.is_(None))


def _lost_phases() -> Select[Any]:
    return select(_T.trial_id).where(_T.path.is_not(None), _absent(_T.trial_id, tables.phases.c.trial_id))


def _sums() -> Select[Any]:
    phases = tables.phases.c
    sums = select(phases.trial_id, func.sum(phases.duration_s).label("s")).group_by(phases.trial_id).subquery()
    apart = func.abs(_T.total_s - sums.c.s) > _SUM_TOLERANCE_S
    return select(_T.trial_id).join_from(tables.trials, sums, sums.c.trial_id == _T.trial_id).where(apart)


def _shared() -> Select[Any]:
    key = tables.shared.c.shared
    lost = or_(_absent(_T.facts, key), _T.path.is_not(None) & _absent(_T.path, key))
    return select(_T.trial_id).where(or_(lost, _absent(_T.series, tables.series.c.series)))


def _imports() -> Select[Any]:
    column = tables.imports.c.trial_id
    return select(column).where(_absent(column, tables.traces.c.trial_id))


def _twice() -> Select[Any]:
    """Return run ids that several DAGs have."""
    runs = select(_T.run_id, _T.dag_id).distinct().subquery()
    return select(runs.c.run_id).group_by(runs.c.run_id).having(func.count() > 1)


_QUERIES: Final[tuple[tuple[str, bool, Callable[[], Select[Any]]], ...]] = (
    ("trials whose phases are lost", True, _lost_phases),
    ("trials whose phases do not sum to their total", True, _sums),
    ("trials whose arm, facts or path are lost", True, _shared),
    ("trials of phases that have no row", True, _orphans(tables.phases)),
    ("trials of milestones that have no row", True, _orphans(tables.milestones)),
    ("imported traces without a recording", True, _imports),
    ("traces without a trial: still running, or left by one that was never closed", False, _traces_without_a_trial),
    ("comparable trials without phases", False, _without_phases),
    ("run ids that several DAGs have", False, _twice),
)
