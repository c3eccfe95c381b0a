"""Copies a results store into another database, of any kind. What is there is never overwritten.

Rows are read in the order of their keys and written in transactions of a few hundred, so a copy that was interrupted
goes on where it ended. A row that is already there must be the same one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, func, insert, select, text, tuple_

from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import read_from, write_to

CHUNK: Final = 300
# Traces have chunks of 60 kB.
_FEW: Final = 50


@dataclass(frozen=True, slots=True)
class Copied:
    """One table: its rows in the source and, afterwards, in the target; how many were written now."""

    table: str
    source: int
    target: int
    written: int


def rows_of(engine: Engine) -> dict[str, int]:
    """Return how many rows every table has, of those that have any."""
    with read_from(engine) as connection:
        counted = {table.name: _count(connection, table) for table in tables.metadata.sorted_tables}
    return {name: n for name, n in counted.items() if n}


def copy_store(
    source: Engine, target: Engine, *, resume: bool = False, tell: Callable[[Copied], None] = lambda _: None
) -> list[Copied]:
    """Copy every row. `resume`: the target may hold rows of an interrupted copy. `tell` hears of each finished table.

    Raises StoreError if the target is not empty and `resume` was not given, if a row that is there differs, or if the
    numbers differ at the end.
    """
    held = rows_of(target)
    if held and not resume:
        told = ", ".join(f"{n} in {name}" for name, n in held.items())
        raise StoreError(
            f"The target is not empty ({told}), so nothing was copied. Name an empty database, or give --resume to go "
            "on with a copy that was interrupted: rows that are there stay as they are."
        )
    found = []
    for table in tables.metadata.sorted_tables:
        found.append(_copied(source, target, table, check=bool(held)))
        tell(found[-1])
    if target.dialect.name == "postgresql":
        _advance_sequences(target)
    wrong = [f"{each.table}: {each.source}, now {each.target}" for each in found if each.source != each.target]
    if wrong:
        raise StoreError(
            f"The numbers of rows differ ({'; '.join(wrong)}): the source was written meanwhile, or the target holds "
            "rows of another store. Run it again with --resume."
        )
    return found


def _copied(source: Engine, target: Engine, table: Table, *, check: bool) -> Copied:
    written = 0
    for rows in _chunks(source, table):
        new = _new(target, table, rows) if check else rows
        if new:
            with write_to(target, f"{len(new)} rows of {table.name}") as connection:
                connection.execute(insert(table), [dict(row) for row in new])
        written += len(new)
    with read_from(source) as one, read_from(target) as other:
        return Copied(table.name, _count(one, table), _count(other, table), written)


def _chunks(engine: Engine, table: Table) -> Iterator[Sequence[Mapping[str, Any]]]:
    key = list(table.primary_key.columns)
    size = _FEW if table is tables.traces else CHUNK
    last: tuple[Any, ...] | None = None
    while True:
        query = select(table).order_by(*key).limit(size)
        if last is not None:
            query = query.where(tuple_(*key) > last if len(key) > 1 else key[0] > last[0])
        with read_from(engine) as connection:
            rows: list[Mapping[str, Any]] = [dict(row) for row in connection.execute(query).mappings()]
        if not rows:
            return
        yield rows
        last = tuple(rows[-1][column.name] for column in key)


def _new(target: Engine, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows that the target does not have. Raises StoreError for one that it has otherwise."""
    key = [column.name for column in table.primary_key.columns]
    first = key[0]
    values = sorted({row[first] for row in rows})
    with read_from(target) as connection:
        query = select(table).where(table.c[first].in_(values))
        known = {tuple(row[name] for name in key): dict(row) for row in connection.execute(query).mappings()}
    for row in rows:
        there = known.get(tuple(row[name] for name in key))
        if there is not None and there != row:
            raise StoreError(
                f"The target has another row {row[first]!r} in {table.name}: it belongs to another store, and was "
                "not changed. Name an empty database."
            )
    return [row for row in rows if tuple(row[name] for name in key) not in known]


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _advance_sequences(target: Engine) -> None:
    """Let numbered rows go on after the copied ones."""
    with write_to(target, "next numbers") as connection:
        for table in tables.metadata.sorted_tables:
            for column in table.primary_key.columns:
                if column.autoincrement is True:
                    newest = connection.scalar(select(func.max(column)))
                    if newest is not None:
                        query = text("SELECT setval(pg_get_serial_sequence(:table, :column), :newest)")
                        connection.execute(query, {"table": table.name, "column": column.name, "newest": newest})
