"""What the database counts is what the whole results say, in every kind of database."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from made_up_stores import made_up_trials
from postgres_server import new_database
from sqlalchemy import delete, event
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.comparison import compare, grouped
from airflow_llm_provisioning.core.nights import cell_of, nights_of
from airflow_llm_provisioning.core.phase_means import phase_means
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection, TrialKey

TRIALS = made_up_trials(3)
EARLY = OPENED_AT + timedelta(days=3)

Kept = Callable[[TrialResult], bool]
# How a selection is written, and which trials it means.
SELECTIONS: dict[str, tuple[Selection, Kept]] = {
    "all": (Selection(), lambda _: True),
    "one run": (Selection(run_id="scheduled__04", dag_id="nightly"), lambda t: t.run == ("nightly", "scheduled__04")),
    "two runs of one id": (Selection(run_id="scheduled__04"), lambda t: t.run[1] == "scheduled__04"),
    "since and until": (
        Selection(since=EARLY, until=EARLY + timedelta(days=2)),
        lambda t: EARLY <= t.opened_at < EARLY + timedelta(days=2),
    ),
    "several": (
        Selection(cloud="eks", variant=("baseline", "improved"), dag_ids=["nightly"]),
        lambda t: t.arm.stratum.cloud == "eks" and t.arm.variant != "broken" and t.run[0] == "nightly",
    ),
    "failed": (Selection(status="failed"), lambda t: t.status is TrialStatus.FAILED),
    "nothing": (Selection(cloud="aks"), lambda _: False),
    "no dag": (Selection(dag_ids=()), lambda _: False),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResultsStore]:
    """A store of twelve nights, of each kind."""
    if request.param == "sqlite":
        yield from _filled(f"sqlite:///{tmp_path_factory.mktemp('queries')}/r.db")
        return
    with new_database(request.getfixturevalue("postgres")) as url:
        yield from _filled(url)


def _filled(url: str) -> Iterator[ResultsStore]:
    opened = ResultsStore.open(url)
    opened.save_trials(TRIALS)
    yield opened
    opened.close()


def chosen(name: str) -> tuple[Selection, list[TrialResult]]:
    selection, kept = SELECTIONS[name]
    return selection, [trial for trial in TRIALS if kept(trial)]


def close(found: Any, expected: Any) -> bool:
    """Whether two values are equal but for the rounding of sums."""
    if isinstance(expected, float) and isinstance(found, float):
        return found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(close, found, expected))
    return bool(found == expected)


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_comparison_is_that_of_the_whole_results(store: ResultsStore, name: str) -> None:
    """Every column of every arm, in the same order: numbers, intervals, counts, confounders."""
    selection, trials = chosen(name)
    assert [row.as_dict() for row in store.queries.comparison(selection)] == [row.as_dict() for row in compare(trials)]


@pytest.mark.parametrize("name", SELECTIONS)
def test_phase_means_are_those_of_the_whole_results(store: ResultsStore, name: str) -> None:
    """Per arm and deciding path, the most frequent path first; they add up to the mean total."""
    selection, trials = chosen(name)
    found = store.queries.phase_means(selection, totals=True)
    assert close(
        [dataclasses.astuple(each) for each in found], [dataclasses.astuple(each) for each in phase_means(trials)]
    )
    for path in found:
        assert sum(seconds for _, seconds in path.phases) == pytest.approx(path.total_s)


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_history_is_that_of_the_whole_results(store: ResultsStore, name: str) -> None:
    """Every night of every cell with its phases and facts."""
    selection, trials = chosen(name)
    assert store.queries.history(selection) == nights_of(trials)


@pytest.mark.parametrize("name", SELECTIONS)
def test_what_is_not_counted_is_counted_by_its_reason(store: ResultsStore, name: str) -> None:
    """Also the trials whose image is not the one of most."""
    selection, trials = chosen(name)
    expected: dict[str, dict[str, int]] = {}
    for arm in grouped(trials):
        for why in arm.set_aside.values():
            reasons = expected.setdefault(arm.arm.key, {})
            reasons[why] = reasons.get(why, 0) + 1
    assert store.queries.not_counted(selection) == expected


@pytest.mark.parametrize("name", SELECTIONS)
def test_percentiles_are_interpolated_between_the_totals(store: ResultsStore, name: str) -> None:
    """The median is that of the comparison; an arm without a total has no row."""
    selection, trials = chosen(name)
    arms = {arm.arm.key: sorted(arm.totals) for arm in grouped(trials) if arm.totals}
    rows = store.queries.percentiles(selection)
    assert [row["arm"] for row in rows] == list(arms)
    for row in rows:
        totals = arms[row["arm"]]
        for percent in (10, 50, 99):
            assert row[f"p{percent}_s"] == pytest.approx(percentile(totals, percent))


def percentile(ascending: Sequence[float], percent: int) -> float:
    """As numpy's default method: linear between the two nearest ranks."""
    place = (len(ascending) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (place - low)


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pages_of_trials_are_the_whole_list(store: ResultsStore, name: str, size: int) -> None:
    """Newest first, none twice and none left out, each as its summary."""
    selection, trials = chosen(name)
    rows: list[dict[str, Any]] = []
    place: TrialKey | None = None
    while True:
        page = store.queries.trials_page(selection, limit=size, before=place)
        rows += page.rows
        if page.next is None:
            break
        place = TrialKey.read(str(page.next))
        if len(rows) > 40:
            break
    expected = sorted(trials, key=lambda trial: (trial.opened_at, trial.trial_id), reverse=True)[: len(rows)]
    assert place is not None or len(rows) == len(trials)
    assert [row["exclusion"] for row in rows] == [trial.exclusion for trial in expected]
    assert [{name: row[name] for name in trial.summary()} for row, trial in zip(rows, expected, strict=True)] == [
        trial.summary() for trial in expected
    ]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_pages_of_runs_name_every_run_once(store: ResultsStore, size: int) -> None:
    """Two DAGs have runs of the same ids and times, and stay two."""
    found = []
    place = None
    while True:
        page = store.queries.runs(limit=size, before=place)
        found += page.rows
        place = page.next
        if place is None:
            break
    members: dict[tuple[str, str], list[TrialResult]] = {}
    for trial in TRIALS:
        members.setdefault(trial.run, []).append(trial)
    newest = {run: max((each.opened_at, each.trial_id) for each in listed) for run, listed in members.items()}
    assert [row.key for row in found] == sorted(newest, key=lambda run: newest[run], reverse=True)
    for row in found:
        listed = members[row.key]
        assert (row.trials, row.comparable) == (len(listed), sum(each.exclusion is None for each in listed))
        assert row.by_status == {status: n for status in TrialStatus if (n := sum(e.status is status for e in listed))}
        assert (row.first_at, row.last_at) == (min(e.opened_at for e in listed), newest[row.key][0])
    assert store.queries.newest_run() == found[0]


def test_a_history_holds_the_newest_nights(store: ResultsStore) -> None:
    """A limit cuts the oldest nights of each cell, and no other."""
    whole = nights_of(trial for trial in TRIALS if trial.run[0] == "nightly")
    selection = Selection(dag_id="nightly")
    assert store.queries.history(selection, nights=3) == {cell: nights[-3:] for cell, nights in whole.items()}
    cell = max(whole, key=lambda cell: len(whole[cell]))
    assert store.queries.history(Selection(cell=cell.key, dag_id="nightly")) == {cell: whole[cell]}
    assert set(whole) <= set(store.queries.cells())


def test_no_other_trial_is_read_for_a_run_or_a_night(store: ResultsStore) -> None:
    """Neither the plan nor the evidence of a trial is read at all."""
    asked: list[str] = []
    listener = lambda _c, _cur, sql, *_: asked.append(sql)  # noqa: E731
    event.listen(store._engine, "before_cursor_execute", listener)
    selection = Selection(run_id="scheduled__04")
    store.queries.comparison(selection)
    store.queries.history(selection)
    store.queries.phase_means(selection)
    event.remove(store._engine, "before_cursor_execute", listener)
    assert asked
    for sql in asked:
        assert not any(f"llmp_trials.{name}" in sql for name in ("trial,", "environment", "verdicts", "flags"))


def test_a_run_and_a_history_are_found_by_their_own_index(tmp_path: Path) -> None:
    """Without statistics SQLite takes the index of a DAG as gladly as that of a run, and reads every trial of it."""
    store = ResultsStore.open(f"sqlite:///{tmp_path}/r.db")
    store.save_trials(TRIALS)
    asked: list[tuple[str, Any]] = []
    event.listen(store._engine, "before_cursor_execute", lambda _c, _cur, sql, values, *_: asked.append((sql, values)))
    run = Selection(run_id="scheduled__04", dag_id="nightly", experiment="nightly", dag_ids=["nightly"])
    store.queries.comparison(run)
    store.queries.runs(run)
    store.queries.history(Selection(dag_id="nightly", experiment="nightly", cell=store.queries.cells(run)[0].key))
    found = [(sql, values) for sql, values in asked if "FROM llmp_trials" in sql and "DISTINCT" not in sql]
    with store._engine.connect() as connection:
        plans = [str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()) for sql, values in found]
    store.close()
    assert plans
    assert not [plan for plan in plans if "trials_dag_id" in plan or "trials_experiment" in plan]


@pytest.mark.parametrize("name", SELECTIONS)
def test_names_are_those_of_the_selected_trials(store: ResultsStore, name: str) -> None:
    """In their order; a limit keeps the first ones."""
    selection, trials = chosen(name)
    dags = sorted({trial.run[0] for trial in trials})
    assert store.queries.names("dag_id", selection) == dags
    assert store.queries.names("dag_id", selection, most=1) == dags[:1]
    assert store.queries.names("experiment", selection) == sorted({trial.trial.slot.experiment for trial in trials})


def test_the_series_of_whole_cells_are_found_without_their_trials(tmp_path: Path) -> None:
    """A reader's permissions, a cell and an arm name many trials of a store: one search for each series, no row for a
    trial.
    """
    store = ResultsStore.open(f"sqlite:///{tmp_path}/r.db")
    store.save_trials(TRIALS)
    asked: list[tuple[str, Any]] = []
    event.listen(store._engine, "before_cursor_execute", lambda _c, _cur, sql, values, *_: asked.append((sql, values)))
    found = {cell.key: cell for cell in store.queries.cells(Selection(dag_ids=["nightly"]))}
    assert set(found.values()) == {cell_of(t.arm, t.target) for t in TRIALS if t.run[0] == "nightly"}
    for key, cell in found.items():
        assert store.queries.cells(Selection(dag_ids=["nightly"], cell=key)) == [cell]
    assert store.queries.cells(Selection(dag_ids=[])) == []
    for arm in {t.arm.key: t.arm for t in TRIALS}.values():
        of_arm = {cell_of(t.arm, t.target) for t in TRIALS if t.arm.key == arm.key}
        of_stratum = {cell_of(t.arm, t.target) for t in TRIALS if t.arm.stratum == arm.stratum}
        assert set(store.queries.cells(Selection(arm=arm.key))) == of_arm
        assert set(store.queries.cells(Selection(stratum=[arm.stratum.key, "none"]))) == of_stratum
        store.queries.newest_costs(Selection(arm=arm.key))
    searches = [(sql, values) for sql, values in asked if "FROM llmp_trials" in sql]
    with store._engine.connect() as connection:
        plans = [str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()) for sql, values in searches]
    store.close()
    assert any("ix_llmp_trials_series" in plan for plan in plans)
    others = ("SCAN llmp_trials", "trials_dag_id", "trials_arm", "trials_stratum")
    assert not [plan for plan in plans if any(other in plan for other in others)]


def test_a_tie_of_digests_goes_to_the_one_that_was_met_first(store: ResultsStore) -> None:
    """Also where both were opened at one instant: then by the trial's name."""
    made = [
        a_result(
            f"tie-{name}", cloud="aks", target="tie", environment={"worker": {"image": "i", "image_digest": digest}}
        )
        for name, digest in (("1", "sha256:z"), ("2", "sha256:a"), ("3", "sha256:a"), ("4", "sha256:z"))
    ]
    store.save_trials(made)
    selection = Selection(target="tie")
    assert store.queries.not_counted(selection) == {made[0].arm.key: {"another image": 2}}
    (row,) = store.queries.comparison(selection)
    assert row.n == 2
    assert store.queries.percentiles(selection)[0]["n"] == 2
    with store._engine.begin() as connection:
        connection.execute(delete(tables.trials).where(tables.trials.c.target == "tie"))
        connection.execute(delete(tables.series).where(tables.series.c.arm == made[0].arm.key))


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (["status"], "no filter"),
        (["status="], "no filter"),
        (["colour=red"], "cannot be selected by 'colour'"),
        (["clowd=eks"], "did you mean 'cloud'"),
        (["status=slow"], "no trial has the status 'slow'"),
        (["trial; DROP TABLE llmp_trials=1"], "cannot be selected"),
    ],
)
def test_a_filter_that_is_none_is_refused(where: list[str], told: str) -> None:
    """A sentence says what may be written."""
    with pytest.raises(ConfigurationError, match=told):
        Selection.of(where)


def test_filters_read_as_they_are_written() -> None:
    """Several values of one name are alternatives; an instant without a zone is UTC; a value is bound, never pasted."""
    found = Selection.of(["cloud=eks", "cloud=gke", "run=x'; --"], since="2026-01-04", dag="nightly", experiment=None)
    assert found == Selection(cloud=("eks", "gke"), run_id="x'; --", dag_id="nightly", since=EARLY.replace(hour=0))
    assert "x'" not in " ".join(map(str, found.conditions()))
    for text in ("yesterday", "2026-13-01"):
        with pytest.raises(ConfigurationError, match="no date"):
            Selection.of(since=text)
