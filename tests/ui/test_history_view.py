"""*History*: a slower level is told with its phase and its cause, and acknowledged under the user's name."""

import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.gateways.store import ResultsStore

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from seeded_history import seed


@pytest.fixture
def slower(store: ResultsStore, results_db: Path) -> dict[str, str]:
    """Seed nights of which the baseline gets slower; return what acknowledges it."""
    seed(results_db)
    (cell,) = (cell for cell in store.queries.cells() if cell.variant == "baseline")
    return {"cell": cell.key, "run_id": "night-14", "why": "the new node image is wanted"}


def words(page: Any) -> str:
    """Return the words of an answer, single-spaced."""
    assert page.status_code == 200, page.text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def test_a_slower_level_is_told(op: Any, slower: dict[str, str]) -> None:
    """Since when, by how much, in which phase, and what changed in that night; the chart says what it shows."""
    assert f'data-load="history/nights?cell={slower["cell"]}"' in op.get("history", params=slower).text

    page = op.get("history/nights", params={"cell": slower["cell"]})

    told = words(page)
    assert "SLOWER Since 2026-01-15 (night-14) slower" in told
    assert "most in worker_image_pull" in told
    assert "worker instance type" in told
    assert 'aria-label="eks-plain / phi3-2025 / static / baseline: median seconds' in page.text
    assert "data-acknowledge" in page.text


def test_phases_with_a_new_level_are_shown_by_themselves(viewer: Any, slower: dict[str, str]) -> None:
    """The page loads them later, from a route that shows no cell of a DAG that may not be read."""
    assert f'data-load="history/phases?cell={slower["cell"]}"' in viewer.get("history/nights", params=slower).text
    part = viewer.get("history/phases", params={"cell": slower["cell"]})

    told = words(part)
    assert "worker_image_pull: median seconds, by night" in told
    assert "Since 2026-01-15 (night-14) slower: 300.0 to 420.0 s (+40.0 %)." in told
    assert "engine_init" not in told
    for address in ("history/nights", "history/phases"):
        assert viewer.get(address, params={"cell": "another"}).status_code == 404


def test_an_op_acknowledges_it_by_name(op: Any, store: ResultsStore, slower: dict[str, str]) -> None:
    """The note has the name that Airflow knows, not one from the request; the alarm stands no more."""
    answer = op.post("acknowledge", json=slower)

    assert answer.status_code == 200, answer.text
    (note,) = store.level_notes()
    assert (note.by, note.why, note.run_id) == ("the-op", slower["why"], "night-14")
    told = words(op.get("history/nights", params={"cell": slower["cell"]}))
    assert "Acknowledged by the-op" in told
    assert "SLOWER" not in told


def test_a_viewer_cannot(viewer: Any, store: ResultsStore, slower: dict[str, str]) -> None:
    """Neither by the page, which shows no form, nor by the route."""
    assert "data-acknowledge" not in viewer.get("history/nights", params={"cell": slower["cell"]}).text
    assert viewer.post("acknowledge", json=slower).status_code == 403
    assert store.level_notes() == []


def test_another_site_cannot(op: Any, store: ResultsStore, slower: dict[str, str]) -> None:
    """A form of another site sends no JSON, and the browser says where a request comes from."""
    assert op.post("acknowledge", data=slower).status_code == 415
    assert op.post("acknowledge", json=slower, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert store.level_notes() == []


def test_what_is_no_change_cannot_be_acknowledged(op: Any, store: ResultsStore, slower: dict[str, str]) -> None:
    """A night at which no level began, an unknown cell, an empty reason, a field too many."""
    for wrong in ({"run_id": "night-03"}, {"cell": "x"}, {"why": ""}, {"by": "somebody-else"}):
        assert op.post("acknowledge", json=slower | wrong).status_code in (404, 409, 422)
    assert store.level_notes() == []
