"""Which trials are wanted: names that are checked, values that are bound, instants with a zone."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.store import tables

# The words of `--where`: name -> field of a selection.
WORDS: Final[Mapping[str, str]] = {
    **{name: name for name in ("arm", "stratum", "cell", "cloud", "region", "autoscaler", "origin", "setup")},
    **{name: name for name in ("workload", "variant", "target", "cluster", "experiment", "status", "start")},
    "dag": "dag_id",
    "run": "run_id",
    "model": "model_id",
    "treatments": "applied",
}

# Columns of a series, which are the same for all its trials.
_OF_SERIES: Final = ("arm", "stratum", "cell")

Wanted = str | Collection[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Trials that have all of these values. None: any; several values of one field: any of them.

    `since`, `until`: opened at or after, and before. `arm`, `stratum`, `cell`: keys. `dag_ids`: the DAGs whose trials
    may be shown; trials of others are as if they did not exist.
    """

    run_id: Wanted = None
    dag_id: Wanted = None
    experiment: Wanted = None
    arm: Wanted = None
    stratum: Wanted = None
    cell: Wanted = None
    cloud: Wanted = None
    region: Wanted = None
    autoscaler: Wanted = None
    origin: Wanted = None
    setup: Wanted = None
    workload: Wanted = None
    variant: Wanted = None
    target: Wanted = None
    cluster: Wanted = None
    model_id: Wanted = None
    status: Wanted = None
    start: Wanted = None
    applied: Wanted = None
    since: datetime | None = None
    until: datetime | None = None
    dag_ids: Collection[str] | None = None

    @classmethod
    def of(
        cls,
        where: Iterable[str] = (),
        *,
        since: str | None = None,
        until: str | None = None,
        **equal: str | None,
    ) -> "Selection":
        """Return what a command line asks for. `where`: `name=value`, several of one name are alternatives; `since`,
        `until`: a date or an instant (UTC without a zone). Raises ConfigurationError.
        """
        wanted: dict[str, list[str]] = {WORDS[name]: [value] for name, value in equal.items() if value is not None}
        for text in where:
            name, value = _word(text)
            wanted.setdefault(name, []).append(value)
        named = {name: values[0] if len(values) == 1 else tuple(values) for name, values in wanted.items()}
        begins, ends = _instant("since", since), _instant("until", until)
        if begins is not None and ends is not None and ends <= begins:
            raise ConfigurationError(f"--until {until!r} is not after --since {since!r}: no trial is between them.")
        selected: dict[str, Any] = {**named, "since": begins, "until": ends}
        return cls(**selected)

    @classmethod
    def equal(cls, wanted: "Selection | Mapping[str, Any]") -> "Selection":
        """Return a selection, also of the columns that must equal given values. Raises ConfigurationError for a
        column that trials are not selected by.
        """
        if isinstance(wanted, Selection):
            return wanted
        known = {field.name for field in fields(cls)}
        for name in wanted:
            if name not in known:
                raise ConfigurationError(f"Trials cannot be selected by {name!r}{nearest(name, known)}.")
        return cls(**wanted)

    @property
    def is_of_series(self) -> bool:
        """Whether it names nothing but the DAGs and what a series has: then it has all trials of some series, apart
        from those of other DAGs.
        """
        named = {field.name for field in fields(self) if getattr(self, field.name) is not None}
        return named <= {"dag_ids", *_OF_SERIES}

    def conditions_of_series(self) -> Iterator[ColumnElement[bool]]:
        """Yield what a row of `tables.series` must meet, if any of its trials is selected."""
        for name in _OF_SERIES:
            if getattr(self, name) is not None:
                yield _is(tables.series.c[name], getattr(self, name))

    def conditions(self, *, by: str | None = None) -> Iterator[ColumnElement[bool]]:
        """Yield what a row of `tables.trials` must meet.

        `by`: the column by whose index the rows are found, `run_id` where a run is named. The others are written so
        that SQLite takes no index of theirs: without statistics it would as well read all trials of a DAG. By
        `series`: what `conditions_of_series` has decided already is left out.
        """
        columns = tables.trials.c
        by = "run_id" if by is None and self.run_id is not None else by
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or (by == "series" and field.name in _OF_SERIES):
                continue
            if field.name == "since":
                yield columns.opened_at >= value
            elif field.name == "until":
                yield columns.opened_at < value
            elif field.name == "cell":
                listed = select(tables.series.c.series).where(_is(tables.series.c.cell, value))
                yield columns.series.in_(listed)
            else:
                column = columns[{"dag_ids": "dag_id"}.get(field.name, field.name)]
                yield _is(column if by in (None, field.name) else _Unindexed(column), value)


class _Unindexed(ColumnElement[str]):
    """A column whose index SQLite's planner may not take: `+column` (SQLite, The Query Planner, "Disqualifying terms").
    PostgreSQL has statistics, and guesses wrong what it does not see as a column.
    """

    inherit_cache = True
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 - SQLAlchemy's own form

    def __init__(self, column: ColumnElement[str]) -> None:
        self.column = column
        self.type = column.type


@compiles(_Unindexed)
def _as_it_is(element: _Unindexed, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.column, **options))


@compiles(_Unindexed, "sqlite")
def _without_its_index(element: _Unindexed, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(element.column, **options)}"


@dataclass(frozen=True, slots=True)
class TrialKey:
    """Where a page of trials ends: the next one begins after it."""

    opened_at: datetime
    trial_id: str

    def __str__(self) -> str:
        """Return it as one text, for an address or a command line."""
        return f"{self.opened_at.isoformat()} {self.trial_id}"

    @classmethod
    def read(cls, text: str) -> "TrialKey":
        """Read what `str` wrote. Raises ConfigurationError."""
        at, _, trial_id = text.partition(" ")
        opened_at = _instant("page", at)
        if opened_at is None or not trial_id:
            raise ConfigurationError(f"{text!r} is no place in a list of trials: take it from the page before.")
        return cls(opened_at, trial_id)

    def older(self) -> ColumnElement[bool]:
        """Return what a trial after it must meet, newest first."""
        columns = tables.trials.c
        same = (columns.opened_at == self.opened_at) & (columns.trial_id < self.trial_id)
        return or_(columns.opened_at < self.opened_at, same) & (columns.opened_at <= self.opened_at)


def _is(column: Any, value: Wanted) -> ColumnElement[bool]:
    if isinstance(value, str):
        return column == _fit(value)  # type: ignore[no-any-return] # SQLAlchemy's operators of an untyped column
    return column.in_(sorted(map(_fit, value or ())))  # type: ignore[no-any-return]


def _fit(value: str) -> str:
    """Return a name as its column keeps it."""
    return value[: tables.NAME_LENGTH]


def _word(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ConfigurationError(f"--where {text!r} is no filter: write name=value, for example status=failed.")
    if name not in WORDS:
        raise ConfigurationError(f"--where: trials cannot be selected by {name!r}{nearest(name, WORDS)}.")
    if name == "status" and value not in list(TrialStatus):
        raise ConfigurationError(f"--where: no trial has the status {value!r}{nearest(value, TrialStatus)}.")
    return WORDS[name], value


def _instant(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"--{name} {text!r} is no date and no instant: write 2026-01-31 or 2026-01-31T04:30:00Z."
        ) from error
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as error:
        raise ConfigurationError(f"--{name} {text!r} is before the year 1 or after 9999 in UTC.") from error
