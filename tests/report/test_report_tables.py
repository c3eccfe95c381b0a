"""Tables for people and rows for programs: nothing missing becomes zero, nothing simulated loses its label."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from result_builders import a_preparation, a_trial

from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.report.tables import cell, frame, results_rows, written


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[ResultsStore]:
    store = ResultsStore.open(f"sqlite:///{tmp_path}/r.db")
    store.save_trial(a_trial("b"))
    store.save_trial(a_trial("i", variant="improved", factor=0.7))
    store.save_trial(a_trial("t", variant="improved", total_s=None, status=TrialStatus.TIMED_OUT, reason="no GPU came"))
    store.save_preparation(a_preparation("eks-fast", price_basis="no list price"))
    yield store
    store.close()


def test_the_terminal_shows_every_cell_with_its_origin(filled: ResultsStore) -> None:
    """One line per variant: saved, published, n of all, and why one does not count."""
    text = written(results_rows(filled, "comparison", {}), "table")
    (improved,) = [line for line in text.splitlines() if "improved" in line]
    assert "1 of 2" in improved
    assert "-30.0 % (no interval: n < 3)" in improved
    assert "simulated" in improved
    assert "1 timed_out" in improved


@pytest.mark.parametrize("what", ["comparison", "trials", "phases", "preparations"])
def test_every_kind_fits_a_terminal(filled: ResultsStore, what: str) -> None:
    """No line is wider than the table says it is, and no cell is folded into a column of letters."""
    lines = written(results_rows(filled, what, {}), "table").splitlines()
    assert lines
    assert max(len(line) for line in lines) <= 170
    assert len(lines) < 90


def test_missing_stays_missing_in_csv_and_json(filled: ResultsStore) -> None:
    """A trial without a total has an empty cell and a null, not a zero."""
    rows = results_rows(filled, "trials", {})
    (failed,) = [row for row in csv.DictReader(io.StringIO(written(rows, "csv"))) if row["status"] == "timed_out"]
    assert failed["total_s"] == ""
    (null,) = [row for row in json.loads(written(rows, "json")) if row["status"] == "timed_out"]
    assert null["total_s"] is None
    assert null["origin"] == "simulated"


def test_a_notebook_gets_numbers_and_missing_ones(filled: ResultsStore) -> None:
    """Integers stay integers beside a missing total, which is no number at all."""
    trials = frame(results_rows(filled, "trials", {})).set_index("trial_id")
    assert trials["total_s"].isna().to_dict() == {"b": False, "i": False, "t": True}
    assert str(trials["replicate"].dtype) == "Int64"
    assert trials["total_s"].max() == pytest.approx(trials.loc["b", "total_s"])


def test_no_results_is_a_sentence() -> None:
    """An empty table says so."""
    assert written([], "table") == "There are no results.\n"


@pytest.mark.parametrize(
    ("value", "key", "text"),
    [
        (None, "price_usd", ""),
        (0.0, "price_usd", "0.00"),
        (0.0304, "price_usd", "0.03"),
        (0.0021, "price_usd", "0.002"),
        (0.02, "half_width_s", "0.02"),
        (0.0, "half_width_s", "0.0"),
        (871.44, "total_s", "871.4"),
        (True, "reused", "True"),
    ],
)
def test_a_small_number_is_not_shown_as_none(value: object, key: str, text: str) -> None:
    """A price of three cents is not 0.0: zero stands for zero alone, and nothing for what is missing."""
    assert cell(value, key) == text
