"""Traces in the results database: their chunks, their analyses, and the origin of imported ones.

This module does not know the content of a trace. An imported trace has its own id and no row among the trials, so no
table, report or comparison counts it.
"""

import gzip
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, insert, select

from airflow_llm_provisioning.core.result import Computed
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import read_from, write_to

# The smallest limit of a binary column among the databases (MySQL's BLOB holds 65,535 bytes).
CHUNK_BYTES: Final = 60_000

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class ImportedTrace:
    """The origin of an imported trace. `origin`: `measured`, `simulated` or `not stated`, as in the trace; `named`: the
    trial id in its header, if any; `redacted`: number of values that were removed during the import.
    """

    trial_id: str
    imported_at: datetime
    file_name: str
    origin: str
    named: str | None
    redacted: int


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """One trace of the store. `size_bytes`: compressed; `imported`: None for a trial of this store."""

    trial_id: str
    size_bytes: int
    written_at: datetime
    analysis_version: str | None
    imported: ImportedTrace | None


class SqlTraces:
    """The traces of one results database."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def append(self, trial_id: str, data: bytes) -> None:
        """Append one compressed chunk to a trial's trace."""
        with write_to(self._engine, f"trace of {trial_id}") as connection:
            _append(connection, [(trial_id, data)], self._clock())

    def append_all(self, chunks: Sequence[tuple[str, bytes]]) -> None:
        """Append compressed chunks of several trials' traces, all or none of them."""
        with write_to(self._engine, f"traces of {len(chunks)} trials") as connection:
            _append(connection, chunks, self._clock())

    def chunks(self, trial_id: str) -> list[bytes]:
        """Return the chunks of a trace in order; empty if there is none."""
        table = tables.traces
        query = select(table.c.data).where(table.c.trial_id == trial_id).order_by(table.c.position)
        with read_from(self._engine) as connection:
            return list(connection.scalars(query))

    def analysis(self, trial_id: str) -> Computed | None:
        """Return the stored analysis of a trace, from its trial's row or its file, or None."""
        table = tables.analyses
        query = select(table.c.analysis_version, table.c.document).where(table.c.trial_id == trial_id)
        with read_from(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Computed(row[0], gzip.decompress(row[1]).decode("utf-8", "surrogatepass"))

    def imported(self, trial_id: str) -> ImportedTrace | None:
        """Return the origin of an imported trace; None for a trial of this store and for an unknown id."""
        table = tables.imports
        with read_from(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.trial_id == trial_id)).mappings().one_or_none()
        return None if row is None else ImportedTrace(**row)

    def add_imported(self, found: ImportedTrace, data: bytes, analysis: Computed | None) -> bool:
        """Store a trace from elsewhere with the analysis in its file; False if it is already stored."""
        table = tables.imports
        with write_to(self._engine, f"imported trace {found.trial_id}") as connection:
            known = connection.scalar(select(table.c.trial_id).where(table.c.trial_id == found.trial_id))
            if known is not None:
                return False
            row = {field: getattr(found, field) for field in table.columns.keys()}  # noqa: SIM118 - its column names
            connection.execute(insert(table), row)
            parts = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
            _append(connection, [(found.trial_id, part) for part in parts], found.imported_at)
            if analysis is not None:
                insert_analysis(connection, found.trial_id, analysis.version, analysis.text, found.imported_at)
        return True

    def listed(self) -> list[StoredTrace]:
        """Return every trace of the store, oldest first."""
        chunks, analyses = tables.traces, tables.analyses
        query = (
            select(
                chunks.c.trial_id,
                func.sum(func.length(chunks.c.data)),
                func.min(chunks.c.written_at),
                func.max(analyses.c.analysis_version),
            )
            .join(analyses, analyses.c.trial_id == chunks.c.trial_id, isouter=True)
            .group_by(chunks.c.trial_id)
        )
        with read_from(self._engine) as connection:
            imports = {
                row["trial_id"]: ImportedTrace(**row) for row in connection.execute(select(tables.imports)).mappings()
            }
            rows = [
                StoredTrace(key, int(size), at, by, imports.get(key)) for key, size, at, by in connection.execute(query)
            ]
        return sorted(rows, key=lambda item: (item.written_at, item.trial_id))


def insert_analysis(connection: Connection, trial_id: str, version: str | None, text: str | None, at: datetime) -> None:
    """Store the analysis of a trace, replacing an earlier one; without a text nothing is stored."""
    table = tables.analyses
    connection.execute(delete(table).where(table.c.trial_id == trial_id))
    if text is not None and version is not None:
        document = gzip.compress(text.encode("utf-8", "surrogatepass"), mtime=0)
        row = {"trial_id": trial_id, "analysis_version": version, "computed_at": at, "document": document}
        connection.execute(insert(table), row)


def _append(connection: Connection, parts: Sequence[tuple[str, bytes]], at: datetime) -> None:
    chunks = tables.traces
    wanted = {trial_id for trial_id, _ in parts}
    last = select(chunks.c.trial_id, func.max(chunks.c.position)).group_by(chunks.c.trial_id)
    places = Counter({key: place + 1 for key, place in connection.execute(last.where(chunks.c.trial_id.in_(wanted)))})
    rows = []
    for trial_id, part in parts:
        rows.append({"trial_id": trial_id, "position": places[trial_id], "written_at": at, "data": part})
        places[trial_id] += 1
    if rows:
        connection.execute(insert(chunks), rows)
