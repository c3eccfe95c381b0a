"""Tables for people and rows for programs: nothing missing becomes zero, nothing simulated loses its label."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from result_builders import ENVIRONMENT, PHASES, a_preparation, a_trial

from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.report.tables import frame, reduction_text, results_rows, written
from airflow_llm_provisioning.report.text_table import cell


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
    (improved,) = [line for line in text.splitlines() if "improved" in line and "not counted" not in line]
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


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[ResultsStore]:
    store = ResultsStore.open(f"sqlite:///{tmp_path}/e.db")
    yield store
    store.close()


def test_one_family_per_cloud_has_the_cloud_as_its_only_heading(filled: ResultsStore) -> None:
    """As the demo prints it: EKS, and a line per set-up and variant; nothing below where no fact differs."""
    text = written(results_rows(filled, "comparison", {}), "table")
    assert text.splitlines()[0] == "EKS"
    assert "differs from its baseline" not in text
    assert "mixed in" not in text
    assert "version 0.1" not in text


def test_families_of_one_cloud_have_headings_that_name_what_differs(empty: ResultsStore) -> None:
    """Two node autoscalers and two models under EKS: three tables, and no figure across them."""
    empty.save_trial(a_trial("b"))
    empty.save_trial(a_trial("i", variant="improved", factor=0.7))
    empty.save_trial(a_trial("k", autoscaler="karpenter"))
    empty.save_trial(a_trial("m", variant="improved", model_id="mistralai/Mistral-7B", factor=0.1))
    text = written(results_rows(empty, "comparison", {}), "table")
    assert [line for line in text.splitlines() if line.startswith("EKS")] == [
        "EKS: node autoscaler karpenter, model microsoft/Phi-3-mini-4k-instruct",
        "EKS: node autoscaler luna, model microsoft/Phi-3-mini-4k-instruct",
        "EKS: node autoscaler luna, model mistralai/Mistral-7B",
    ]
    assert [line.count("-30.0 %") for line in text.splitlines() if "improved" in line] == [1, 0]
    phases = written(results_rows(empty, "phases", {}), "table")
    assert sum(line.startswith("EKS: node autoscaler") for line in phases.splitlines()) == 3


def test_facts_that_differ_stand_below_the_table_and_in_every_export(empty: ResultsStore) -> None:
    """Another head than the baseline's, and two zones inside one arm: in table, JSON and CSV."""
    other = {**ENVIRONMENT, "head": {**ENVIRONMENT["head"], "instance_type": "m5.2xlarge"}}
    moved = {**ENVIRONMENT, "head": {**ENVIRONMENT["head"], "zone": "us-west-2b"}}
    empty.save_trial(a_trial("b1"))
    empty.save_trial(a_trial("b2", environment=moved))
    empty.save_trial(a_trial("i", variant="improved", environment=other))
    rows = results_rows(empty, "comparison", {})
    types = "head instance type: m5.2xlarge (1), baseline m5.xlarge (2)"
    differs = f"{types}; head zone: us-west-2a (1), baseline us-west-2a (1), us-west-2b (1)"
    mixed = "head zone: us-west-2a (1), us-west-2b (1)"
    words = " ".join(written(rows, "table").split())
    assert f"static improved differs from its baseline in {differs}." in words
    assert f"static baseline is mixed in {mixed}." in words
    as_json = json.loads(written(rows, "json"))
    as_csv = list(csv.DictReader(io.StringIO(written(rows, "csv"))))
    for exported in (as_json, as_csv):
        assert [(row["confounders"], row["mixed"]) for row in exported] == [("", mixed), (differs, "")]


def test_the_published_figure_is_of_the_model_that_was_published(empty: ResultsStore) -> None:
    """Beside another model it would be taken for a comparison."""
    for trial_id, variant in (("b", "baseline"), ("i", "improved")):
        empty.save_trial(a_trial(trial_id, variant=variant, model_id="mistralai/Mistral-7B"))
    assert "-26 %" not in written(results_rows(empty, "comparison", {}), "table")


def test_the_phases_of_a_path_sum_to_its_mean_total(empty: ResultsStore) -> None:
    """Where one trial did not pull: two paths, each with its n, and each sums to the mean total of its own trials."""
    short = {name: s for name, s in PHASES.items() if name != "head_image_pull"}
    for trial_id, phases in (("a", PHASES), ("b", PHASES), ("c", short)):
        empty.save_trial(a_trial(trial_id, phases=phases))
    rows = results_rows(empty, "phases", {})
    for path, n, total_s in (("1 of 2", 2, sum(PHASES.values())), ("2 of 2", 1, sum(short.values()))):
        of_path = [row for row in rows if row["path"] == path]
        assert {(row["n"], row["path_total_s"]) for row in of_path} == {(n, total_s)}
        assert sum(row["mean_s"] for row in of_path) == pytest.approx(total_s)
        assert [row["position"] for row in of_path] == list(range(len(of_path)))
    assert "2 of 3" in written(rows, "table")


def test_two_arms_of_one_variant_are_told_apart_by_their_treatments(empty: ResultsStore) -> None:
    """The experiment file was edited between two nights: the name is the same, the treatments are not."""
    empty.save_trial(a_trial("old", variant="improved", treatments=("a",)))
    empty.save_trial(a_trial("new", variant="improved", treatments=("a", "b")))
    text = written(results_rows(empty, "comparison", {}), "table")
    assert "improved (a)" in text
    assert "improved (a+b)" in text


def test_rows_of_version_0_1_say_so(empty: ResultsStore) -> None:
    """Alone, and as a heading beside newer rows of the same cloud."""
    empty.save_trial(a_trial("old", nodes="0.1:night", region=None, autoscaler=None))
    alone = written(results_rows(empty, "comparison", {}), "table")
    assert "Rows of version 0.1 recorded no region" in alone
    empty.save_trial(a_trial("new"))
    text = written(results_rows(empty, "comparison", {}), "table")
    assert "EKS: version 0.1, experiment night" in text
    assert [line.count("1 of 1") for line in text.splitlines() if "static  " in line] == [1, 1]


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


@pytest.mark.parametrize("width", [60, 80, 100, 170, 250])
@pytest.mark.parametrize("what", ["comparison", "trials", "phases", "preparations"])
def test_a_table_follows_the_width_of_the_terminal(filled: ResultsStore, what: str, width: int) -> None:
    """No line is wider, and no value is lost: a column that a narrow table leaves out is said below it."""
    rows = results_rows(filled, what, {})
    text = written(rows, "table", width)
    assert max(map(len, text.splitlines())) <= width
    for word in ("simulated", *(["timed_out"] if what in ("comparison", "trials") else [])):
        assert word in text
    assert "In every row" not in written(rows, "table", 250)


def test_rows_that_are_all_equal_keep_a_column(tmp_path: Path) -> None:
    """A table without any column would show nothing."""
    rows = [{"target": "a", "verb": "build_image"}] * 2
    assert written(rows, "table", 60).count("a") >= 2
    assert len([line for line in written(rows, "table", 10).splitlines() if line.strip() == "a"]) == 2


def test_the_reason_of_a_trial_that_does_not_count_stands_below(filled: ResultsStore) -> None:
    """Also of one that was aborted, and of a row without a reason; in every export."""
    filled.save_trial(a_trial("x", total_s=None, status=TrialStatus.ABORTED, reason="marked failed by hand"))
    filled.save_trial(a_trial("y", total_s=None, status=TrialStatus.ABORTED, reason=None))
    rows = results_rows(filled, "comparison", {})
    words = " ".join(written(rows, "table").split())
    assert "static improved, not counted: t: timed_out, no GPU came" in words
    assert "x: aborted, marked failed by hand; y: aborted, no reason was recorded" in words
    assert "marked failed by hand" in written(rows, "csv")


@settings(max_examples=50, deadline=None)
@given(numbers=st.lists(st.none() | st.floats(-1e7, 1e7), min_size=7, max_size=7))
def test_no_number_is_none_long_or_a_power_of_ten(numbers: list[float | None]) -> None:
    """For any measured or missing values, in every column of a comparison."""
    names = ("median_s", "bound_s", "completion_s", "reduction_pct", "reduction_low_pct", "reduction_high_pct")
    row = dict(zip((*names, "confidence"), numbers, strict=True))
    whole = all(row[name] is not None for name in names[3:])
    row["confidence"] = 0.9 if whole else None
    told = [reduction_text(row), *(cell(row[name], name) for name in names)]
    for text in told:
        assert "None" not in text
        assert not re.search(r"\de[-+]\d|\.\d{4,}", text)


def test_programs_get_no_digits_below_a_microsecond(filled: ResultsStore) -> None:
    """A mean of binary fractions has fifteen decimal places, which mean nothing."""
    for what in ("phases", "comparison", "trials"):
        for form in ("csv", "json"):
            assert not re.search(r"\.\d{7,}", written(results_rows(filled, what, {}), form))


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
        (0.000001, "mean_s", "< 0.001"),
        (-0.0004, "mean_s", "> -0.001"),
        (1e-9, "price_usd", "< 0.001"),
        (0.02, "half_width_s", "0.02"),
        (0.0, "half_width_s", "0.0"),
        (871.44, "total_s", "871.4"),
        (True, "reused", "True"),
    ],
)
def test_a_small_number_is_not_shown_as_none(value: object, key: str, text: str) -> None:
    """A price of three cents is not 0.0: zero stands for zero alone, and nothing for what is missing."""
    assert cell(value, key) == text
