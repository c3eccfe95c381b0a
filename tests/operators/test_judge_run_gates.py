"""The judgement of a run with gates, on a real store: the task succeeds only if every gate passes."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from operator_harness import context, run
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.exceptions import GateNotPassedError, TrialFailedError
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.operators import JudgeRun

ARM = "eks-plain/phi3-2025/static/baseline"


def fill(store: ResultsStore, run_id: str, level_s: float, day: int, count: int = 6, **changes: Any) -> None:
    for at in range(count):
        row = a_result(
            f"{changes.get('dag_id', 'nightly')}-{run_id}-{at}",
            **{"experiment": "nightly", "dag_id": "nightly", "run_id": run_id, "number": at} | changes,
            opened_at=OPENED_AT + timedelta(days=day),
            total_s=level_s + at,
        )
        store.save_trial(row)


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Two nights of six trials near 1000 s, the newer run-1; the older one's trials count."""
    opened = open_store()
    fill(opened, "run-0", 1000.0, 0)
    fill(opened, "run-1", 1010.0, 1)
    yield opened
    opened.close()


def judge(**fields: Any) -> Any:
    return run(JudgeRun(task_id="judge", experiment="nightly", expected=6, **fields), context(run_id="run-1"))


@pytest.mark.usefixtures("store")
def test_a_run_passes_its_gates_from_the_file_and_from_parameters() -> None:
    """Both are counted."""
    found = judge(gates=[{"arm": ARM, "max_seconds": 1100.0}], arm=ARM, against="previous", max_slower="5%")
    assert found == {"trials": 6, "not_needed": 0, "no_capacity": 0, "gates": 2, "serves_slower": []}


@pytest.mark.usefixtures("store")
def test_without_gates_only_the_trials_are_judged() -> None:
    """As before."""
    assert judge() == {"trials": 6, "not_needed": 0, "no_capacity": 0, "gates": 0, "serves_slower": []}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"arm": ARM, "max_seconds": 900}, "slower. Slower: the median of 6 trials lies between 1010.0 and 1015.0 s"),
        ({"arm": ARM, "max_seconds": "1012"}, "undecided"),
        ({"arm": ARM, "against": "run-9"}, "There is no DAG run 'run-9'"),
        ({"arm": ARM, "against": "run-1"}, "cannot be its own reference"),
        ({"arm": ARM[:-1], "max_seconds": 1100}, f"did you mean '{ARM}'"),
        ({"arm": "", "max_seconds": 1100}, "A gate needs `arm`"),
        ({"arm": "None", "max_seconds": 1100}, "A gate needs `arm`"),
        ({"max_seconds": 1100}, "A gate needs `arm`"),
        ({"arm": ARM}, "needs either `max_seconds` or `against`; found neither"),
        ({"arm": ARM, "max_seconds": "", "against": ""}, "found neither"),
        ({"arm": ARM, "max_seconds": 1100, "against": "run-0"}, "found both"),
        ({"arm": ARM, "max_seconds": 1100, "max_slower": 5}, "has `max_slower` without `against`"),
        ({"arm": ARM, "max_seconds": "nan"}, "must be a number from 0 on"),
        ({"arm": ARM, "max_seconds": "inf"}, "must be a number from 0 on"),
        ({"arm": ARM, "max_seconds": "-1"}, "must be a number from 0 on"),
        ({"arm": ARM, "max_seconds": 0}, "a `max_seconds` of 0, which no trial keeps: give seconds above 0"),
        ({"arm": ARM, "max_seconds": "ten minutes"}, "must be a number"),
        ({"arm": ARM, "max_seconds": "{{ params.limit }}"}, "must be a number"),
        ({"arm": "{{ params.arm }}", "max_seconds": 1100}, "a template that was not rendered"),
        ({"arm": ARM, "against": "run-0", "max_slower": "nan"}, "must be a number from 0 on"),
    ],
)
def test_everything_else_fails_the_task(asked: dict[str, Any], told: str) -> None:
    """Slower, undecided, and every mistake of the wiring; as an entry of the file and as parameters."""
    with pytest.raises(GateNotPassedError) as from_file:
        judge(gates=[asked])
    with pytest.raises(GateNotPassedError) as from_parameters:
        judge(**asked)
    assert told in str(from_file.value)
    assert str(from_parameters.value) == str(from_file.value)


def served(store: ResultsStore, variant: str, tokens_s: float, total_s: float) -> None:
    """Add an arm of six trials to run-1 that writes so many tokens a second."""
    speed = {"tokens_s": tokens_s, "low": tokens_s - 1, "high": tokens_s + 1}
    for at in range(6):
        fields = {"experiment": "nightly", "dag_id": "nightly", "run_id": "run-1", "number": 100 + at}
        fields |= {"variant": variant, "target": "another", "opened_at": OPENED_AT + timedelta(days=1, minutes=at)}
        store.save_trial(a_result(f"{variant}-{at}", **fields, total_s=total_s + at, speed=speed))


def test_an_arm_that_serves_slower_is_told_and_fails_where_a_gate_says_so(
    store: ResultsStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """A faster start does not pass in silence: without a limit it is logged and returned; beyond one it fails."""
    served(store, "baseline", 50.0, 1000.0)
    served(store, "improved", 30.0, 500.0)
    arm = "another/phi3-2025/static/improved"
    many = {"experiment": "nightly", "expected": 12}

    (told,) = run(JudgeRun(task_id="judge", **many), context(run_id="run-1"))["serves_slower"]

    assert told.endswith(
        "faster and serves 40 % slower than the baseline: 30.0 tokens/s (29.0 to 31.0), one request at a time."
    )
    assert f"Serves slower: {told}" in capsys.readouterr().out
    gates = [{"arm": arm, "max_seconds": 600}, {"arm": arm, "max_seconds": 600, "max_serving_slower": 50}]
    assert run(JudgeRun(task_id="judge", gates=gates, **many), context(run_id="run-1"))["gates"] == 2
    strict = JudgeRun(task_id="judge", gates=[{"arm": arm, "max_seconds": 600, "max_serving_slower": "10%"}], **many)
    with pytest.raises(GateNotPassedError) as stopped:
        run(strict, context(run_id="run-1"))
    assert "slower. Passes: the median of 6 trials" in str(stopped.value)
    assert "Slower: it serves 30.0 tokens/s (29.0 to 31.0), 40 % slower than" in str(stopped.value)
    assert told in str(stopped.value)


def test_a_run_of_the_same_id_of_another_dag_is_not_judged_with_it(store: ResultsStore) -> None:
    """Two DAGs on one schedule have runs of one id."""
    fill(store, "run-1", 9000.0, 1, dag_id="another")
    assert judge(arm=ARM, max_seconds=1100)["gates"] == 1


def test_without_an_earlier_trial_that_counts_there_is_no_previous_run(results_db: Path) -> None:
    """The first night of an arm is no pass."""
    opened = open_store()
    fill(opened, "run-0", 1000.0, 0, start="warm")
    fill(opened, "run-1", 1000.0, 1)
    opened.close()
    with pytest.raises(GateNotPassedError, match="so there is no reference"):
        judge(arm=ARM, against="previous")


def test_a_failed_trial_is_told_before_the_gate(store: ResultsStore) -> None:
    """And the gate's sentence stands there as well."""
    fill(store, "run-1", 1010.0, 1, count=1, status=TrialStatus.FAILED)
    with pytest.raises(TrialFailedError, match=r"(?s)not all succeeded.*slower\. Slower: the median of 5 trials"):
        judge(arm=ARM, max_seconds=900)
