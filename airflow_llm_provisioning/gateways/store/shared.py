"""What many trials have in common, stored once: the arm on its target, the facts observed, the names of the phases.

A trial's row holds the keys. A query groups by them and reads their content afterwards, so that neither a count nor a
history has to parse a JSON column for each trial. `exclusion`, `facts` and `path` follow from the result when it is
saved: a change of `TrialResult.exclusion` or of `core.arm.CONFOUNDERS` needs a migration that fills them again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_llm_provisioning.core.arm import comparable_environment
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.nights import cell_of
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.gateways.store import tables

KEY_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class SharedRows:
    """The keys of one trial (columns of its row), and the rows behind them: (table, key) -> row."""

    keys: dict[str, str | None]
    rows: dict[tuple[str, str], dict[str, Any]]


def shared_rows(result: TrialResult) -> SharedRows:
    """Return what a trial shares with others."""
    arm = result.arm
    series: dict[str, Any] = {"arm": arm.as_dict(), "target": result.target}
    facts = comparable_environment(result.environment)
    path = [phase.name for phase in result.phases]
    keys: dict[str, str | None] = {
        "series": fingerprint(series, KEY_LENGTH),
        "facts": fingerprint(facts, KEY_LENGTH),
        "path": fingerprint({"phases": path}, KEY_LENGTH) if path else None,
    }
    row: dict[str, Any] = {
        "series": keys["series"],
        "arm": arm.key,
        "stratum": arm.stratum.key,
        "cell": cell_of(arm, result.target).key,
        "content": series,
    }
    rows = {("series", str(keys["series"])): row}
    contents: dict[str, Any] = {"facts": facts, "path": path}
    for name, content in contents.items():
        if (key := keys[name]) is not None:
            rows["shared", key] = {"shared": key, "content": content}
    return SharedRows(keys, rows)


def add_missing(connection: Connection, found: Iterable[SharedRows], known: set[tuple[str, str]]) -> None:
    """Write the shared rows that the database does not have. `known`: those that it is known to have."""
    wanted = {key: row for one in found for key, row in one.rows.items() if key not in known}
    for name, table in (("series", tables.series), ("shared", tables.shared)):
        rows = [row for (kind, _), row in wanted.items() if kind == name]
        if rows:
            connection.execute(_insert_new(connection, table), rows)


def _insert_new(connection: Connection, table: Table) -> Any:
    """Return an INSERT that leaves a row of the same key as it is."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    if dialect in ("mysql", "mariadb"):
        return mysql.insert(table).prefix_with("IGNORE")
    return insert(table)


def shared_contents(connection: Connection, keys: Iterable[str | None]) -> dict[str, Any]:
    """Return the content behind keys of facts or paths."""
    wanted = sorted({key for key in keys if key is not None})
    table = tables.shared
    found: dict[str, Any] = {}
    for start in range(0, len(wanted), 500):
        query = select(table.c.shared, table.c.content).where(table.c.shared.in_(wanted[start : start + 500]))
        found.update((key, content) for key, content in connection.execute(query))
    return found
