"""The results store: any SQLAlchemy database, a SQLite file by default. Who reads results reads this and nothing else.

Its own database, never Airflow's. How it is opened and written stands in `database`; what belongs to traces in
`traces`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select

from airflow_llm_provisioning.core.level_notes import LevelNote, NoteKind
from airflow_llm_provisioning.core.nights import Cell
from airflow_llm_provisioning.core.result import (
    Preparation,
    TrialResult,
    TrialStatus,
)
from airflow_llm_provisioning.core.secrets import redacted_text
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.bulk import insert_all
from airflow_llm_provisioning.gateways.store.database import open_engine, read_from, write_to
from airflow_llm_provisioning.gateways.store.level_notes import SqlLevelNotes
from airflow_llm_provisioning.gateways.store.progress import SqlProgress
from airflow_llm_provisioning.gateways.store.queries import Queries
from airflow_llm_provisioning.gateways.store.reading import open_for_reading
from airflow_llm_provisioning.gateways.store.rows import milestone_rows, phase_rows, trial_of, trial_row
from airflow_llm_provisioning.gateways.store.shared import add_missing, shared_rows
from airflow_llm_provisioning.gateways.store.sql_ledger import SqlLedger
from airflow_llm_provisioning.gateways.store.traces import SqlTraces, insert_analysis

Clock = Callable[[], datetime]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ResultsStore:
    """Trials, phases, traces, preparations, comparisons and the ledger of one database."""

    def __init__(self, engine: Engine, *, clock: Clock = _utc_now, closed: Callable[[], None] | None = None) -> None:
        """Use `open`; this takes an engine whose schema is up to date, and what to do when it was closed."""
        self._engine = engine
        self._clock = clock
        self._closed = closed

    @classmethod
    def open(cls, url: str, *, clock: Clock = _utc_now) -> "ResultsStore":
        """Open the database at a SQLAlchemy URL, creating or upgrading its schema. Raises StoreError."""
        return cls(open_engine(url), clock=clock)

    @classmethod
    def open_for_reading(cls, url: str) -> "ResultsStore":
        """Open the database at a SQLAlchemy URL to read only: nothing is created, upgraded or written.

        Raises StoreError if it does not exist or is no results store. `close` raises it if the file was written while
        it was read.
        """
        engine, closed = open_for_reading(url)
        return cls(engine, closed=closed)

    @property
    def ledger(self) -> SqlLedger:
        """The ledger that lives beside the results."""
        return SqlLedger(self._engine, self._clock)

    @property
    def queries(self) -> Queries:
        """Tables, histories and lists of many trials."""
        return Queries(self._engine)

    @property
    def traces(self) -> SqlTraces:
        """The traces, what was computed from them, and which of them were imported."""
        return SqlTraces(self._engine, self._clock)

    @property
    def progress(self) -> SqlProgress:
        """The trials that run now."""
        return SqlProgress(self._engine, self._clock)

    def dispose(self) -> None:
        """Give the connections back, without a look at what another process wrote meanwhile."""
        self._engine.dispose()

    def close(self) -> None:
        """Give the connections back."""
        self.dispose()
        if self._closed is not None:
            self._closed()

    def save_trial(self, result: TrialResult, analysis: str | None = None) -> None:
        """Write a trial's row, phases and milestones; a row of the same id is replaced (a repeated teardown).

        `analysis`: the text of everything that `result.analysis_version` computed from the trace, for a later replay.
        """
        with write_to(self._engine, f"trial {result.trial_id}") as connection:
            self._write(connection, [result])
            insert_analysis(connection, result.trial_id, result.analysis_version, analysis, self._clock())

    def save_trials(self, results: Sequence[TrialResult]) -> None:
        """Write many trials in one transaction, without their analyses: all of them, or none."""
        if not results:
            return
        with write_to(self._engine, f"{len(results)} trials") as connection:
            # Of two rows of one id the later one counts, as in two calls.
            self._write(connection, list({result.trial_id: result for result in results}.values()))

    def _write(self, connection: Connection, results: Sequence[TrialResult]) -> None:
        shared = [shared_rows(result) for result in results]
        add_missing(connection, shared, set())
        keys = [result.trial_id for result in results]
        for start in range(0, len(keys), 500):
            for table in (tables.phases, tables.milestones, tables.trials):
                connection.execute(delete(table).where(table.c.trial_id.in_(keys[start : start + 500])))
        # What is not deleted still runs, and costs.
        ended = [result.trial_id for result in results if result.status is not TrialStatus.NOT_DELETED]
        SqlProgress.end(connection, ended)
        connection.execute(
            insert(tables.trials), [trial_row(result, each.keys) for result, each in zip(results, shared, strict=True)]
        )
        insert_all(connection, tables.phases, (row for result in results for row in phase_rows(result)))
        insert_all(connection, tables.milestones, (row for result in results for row in milestone_rows(result)))

    def trial(self, trial_id: str) -> TrialResult | None:
        """Return a trial by id."""
        found = self.trials(trial_id=trial_id)
        return found[0] if found else None

    def trials(self, **equal: str | int) -> list[TrialResult]:
        """Return the trials whose columns equal the given values (`run_id=..., arm=...`; see `tables.trials`), in the
        order they were opened. Only their rows, phases and milestones are read.
        """
        return self._results([tables.trials.c[column] == value for column, value in equal.items()])

    def trials_of(self, trial_ids: Sequence[str]) -> list[TrialResult]:
        """Return the trials of these ids that exist, in the order they were opened."""
        chunks = [trial_ids[start : start + 500] for start in range(0, len(trial_ids), 500)]
        found = [each for ids in chunks for each in self._results([tables.trials.c.trial_id.in_(ids)])]
        return sorted(found, key=lambda trial: (trial.opened_at, trial.trial_id))

    def _results(self, conditions: Sequence[ColumnElement[bool]]) -> list[TrialResult]:
        query = select(tables.trials).where(*conditions).order_by(tables.trials.c.opened_at, tables.trials.c.trial_id)
        with read_from(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
            keys = [row["trial_id"] for row in rows]
            stages = _grouped(connection, tables.phases, keys, "position")
            stones = _grouped(connection, tables.milestones, keys, "earliest_at")
        return [trial_of(row, stages.get(row["trial_id"], []), stones.get(row["trial_id"], [])) for row in rows]

    def append_trace(self, trial_id: str, data: bytes) -> None:
        """Append one compressed chunk to a trial's trace."""
        self.traces.append(trial_id, data)

    def append_traces(self, chunks: Sequence[tuple[str, bytes]]) -> None:
        """Append (trial id, compressed chunk) to the traces of several trials, all or none of them."""
        self.traces.append_all(chunks)

    def trace(self, trial_id: str) -> list[bytes]:
        """Return the chunks of a trial's trace in order; empty where none was recorded."""
        return self.traces.chunks(trial_id)

    def note_outcome(self, trial_id: str, step: str, status: TrialStatus | str, reason: str | None) -> None:
        """Record how one step of a trial ended (`apply`, `wait`), for the row that the teardown writes."""
        with write_to(self._engine, f"outcome of {trial_id}") as connection:
            connection.execute(
                insert(tables.outcomes),
                {
                    "trial_id": trial_id,
                    "step": step,
                    "status": str(status),
                    "reason": None if reason is None else redacted_text(reason),
                    "noted_at": self._clock(),
                },
            )

    def outcomes(self, trial_id: str) -> list[dict[str, Any]]:
        """Return a trial's noted outcomes, oldest first: {step, status, reason, noted_at}."""
        noted = tables.outcomes
        with read_from(self._engine) as connection:
            rows = connection.execute(
                select(noted.c.step, noted.c.status, noted.c.reason, noted.c.noted_at)
                .where(noted.c.trial_id == trial_id)
                .order_by(noted.c.outcome_id)
            ).mappings()
            return [dict(row) for row in rows]

    def noted(self, prefix: str, status: str) -> set[str]:
        """Return the trials whose names begin with `prefix` and of which an outcome of this status was noted."""
        noted = tables.outcomes.c
        query = select(noted.trial_id).where(noted.trial_id.startswith(prefix, autoescape=True), noted.status == status)
        with read_from(self._engine) as connection:
            return set(connection.scalars(query))

    def save_preparation(self, preparation: Preparation) -> None:
        """Add a preparation's row; every run of a step is kept, the newest counts."""
        with write_to(self._engine, f"preparation {preparation.verb} of {preparation.target}") as connection:
            connection.execute(insert(tables.preparations), asdict(preparation) | {"result": dict(preparation.result)})

    def preparations(self, target: str | None = None, verb: str | None = None) -> list[Preparation]:
        """Return preparations, oldest first."""
        query = select(tables.preparations).order_by(tables.preparations.c.preparation_id)
        if target is not None:
            query = query.where(tables.preparations.c.target == target)
        if verb is not None:
            query = query.where(tables.preparations.c.verb == verb)
        names = {field.name for field in fields(Preparation)}
        with read_from(self._engine) as connection:
            return [
                Preparation(**{key: value for key, value in row.items() if key in names})
                for row in connection.execute(query).mappings()
            ]

    def note_level(self, cell: Cell, run_id: str, kind: NoteKind, *, by: str, why: str) -> LevelNote:
        """Record who says what of the level that begins at a run of a cell, and return the record."""
        return SqlLevelNotes(self._engine, self._clock).note(cell, run_id, kind, by=by, why=why)

    def level_notes(self) -> list[LevelNote]:
        """Return what was said of changes of level, oldest first."""
        return SqlLevelNotes(self._engine, self._clock).all()

    def save_comparison(
        self, experiment: str, run_id: str, rows: Sequence[Mapping[str, Any]], *, dag_id: str = ""
    ) -> None:
        """Keep a comparison's table; one of the same experiment, DAG and run is replaced."""
        table, named = tables.comparisons, {"experiment": experiment, "dag_id": dag_id, "run_id": run_id}
        with write_to(self._engine, f"comparison of run {run_id}") as connection:
            connection.execute(delete(table).where(*(table.c[name] == value for name, value in named.items())))
            now = self._clock()
            insert_all(
                connection,
                table,
                ({**named, "compared_at": now, "position": at, "row": dict(row)} for at, row in enumerate(rows)),
            )

    def comparison(self, run_id: str, *, dag_id: str | None = None) -> list[dict[str, Any]]:
        """Return the kept comparison of a run, in its order. `dag_id`: None where only one DAG has such a run."""
        table = tables.comparisons
        query = select(table.c.row).where(table.c.run_id == run_id)
        query = query if dag_id is None else query.where(table.c.dag_id == dag_id)
        with read_from(self._engine) as connection:
            return list(connection.scalars(query.order_by(table.c.comparison_id)))


def _grouped(connection: Connection, table: Any, keys: Sequence[str], order: str) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    # SQLite allows 32,766 variables in a statement, older ones 999.
    for start in range(0, len(keys), 500):
        query = select(table).where(table.c.trial_id.in_(keys[start : start + 500])).order_by(table.c[order])
        for row in connection.execute(query).mappings():
            groups.setdefault(row["trial_id"], []).append(row)
    return groups
