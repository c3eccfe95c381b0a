"""Who acknowledged or expected a change of level is kept as it was said, on SQLite and on PostgreSQL."""

from datetime import UTC, datetime

from airflow_llm_provisioning.core.level_notes import NoteKind
from airflow_llm_provisioning.core.nights import Cell
from airflow_llm_provisioning.gateways.store import ResultsStore

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)


def test_notes_read_back_in_their_order_and_without_secrets(database_url: str) -> None:
    """Nothing is replaced: a second note on the same level stands beside the first."""
    cell = Cell("measured", "here", "w", "static", "baseline")
    store = ResultsStore.open(database_url, clock=lambda: AT)
    try:
        first = store.note_level(
            cell, "run-1", NoteKind.ACKNOWLEDGED, by="Ada", why="Größe ≥ 2; password=hunter2secret"
        )
        again = store.note_level(cell, "run-1", NoteKind.EXPECTED, by="experiment file", why="")
        assert store.level_notes() == [first, again]
    finally:
        store.close()
    assert (first.cell, first.run_id, first.by, first.at) == (cell, "run-1", "Ada", AT)
    assert first.why.startswith("Größe ≥ 2; ")
    assert "hunter2secret" not in first.why
