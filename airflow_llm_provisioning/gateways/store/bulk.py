"""Many rows into one table, by the shortest way of each database."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.exc import DBAPIError


def insert_all(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows that have the same keys; none is no error. Raises SQLAlchemyError.

    PostgreSQL takes them as one stream (COPY). psycopg would send a statement for each row: a trial has thirty phases
    and milestones, and most of its write would be those.
    """
    listed = [dict(row) for row in rows]
    if not listed:
        return
    if connection.dialect.driver == "psycopg":
        _copied(connection, table, listed)
    else:
        connection.execute(insert(table), listed)


def _copied(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    import psycopg

    dialect, names = connection.dialect, list(rows[0])
    prepared = dialect.identifier_preparer
    columns = ", ".join(prepared.quote(name) for name in names)
    statement = f"COPY {prepared.format_table(table)} ({columns}) FROM STDIN"
    # What SQLAlchemy does to a value before it reaches the driver: limits of texts, time zones, JSON.
    as_kept = [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
    try:
        with connection.connection.cursor() as cursor, cursor.copy(statement) as stream:  # type: ignore[attr-defined]
            for row in rows:
                stream.write_row(
                    [keep(row[name]) if keep else row[name] for name, keep in zip(names, as_kept, strict=True)]
                )
    except psycopg.Error as error:
        raise DBAPIError(statement, None, error) from error
