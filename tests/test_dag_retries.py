"""Which tasks of a trial DAG are tried again: what a killed worker began, and never what failed with a sentence."""

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG, BaseOperator, RetryAction
from cluster_in_background import simulated_target

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.dag_factory import preparation, single_trial, trials
from airflow_llm_provisioning.exceptions import ConflictError, StoreError, TrialFailedError
from airflow_llm_provisioning.sensors.serve_endpoint import WaitServeEndpoint


def tasks_of(*, by_hand: bool) -> dict[str, BaseOperator]:
    """Return the tasks of a DAG by the last part of their ids."""
    experiment = Experiment("nightly", (simulated_target(),), replicates=1)
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        if by_hand:
            single_trial(experiment)
        else:
            trials(experiment)
    return {task_id.rpartition(".")[2]: task for task_id, task in dag.task_dict.items()}  # type: ignore[misc]


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_killed_worker_is_replaced_and_a_failure_is_final(by_hand: bool) -> None:
    """Every task but the teardown repeats what no sentence explains, and only that: a trial measured as failed must not
    be measured again.
    """
    for name, task in tasks_of(by_hand=by_hand).items():
        if name == "close":
            continue
        policy = task.retry_policy
        assert task.retries > 0, name
        assert policy is not None, name
        for error in (TrialFailedError("it failed"), ConflictError("somebody else's")):
            assert policy.evaluate(error, 1, task.retries).action is RetryAction.FAIL, name
        # What could not be stored may be stored the next time.
        assert policy.evaluate(StoreError("away"), 1, task.retries).action is RetryAction.DEFAULT, name
        assert policy.evaluate(RuntimeError(), 1, task.retries).action is RetryAction.DEFAULT, name


def test_preparations_survive_their_workers_too() -> None:
    """They find what an earlier try began; without a retry, one lost task would stop the whole night."""
    target = simulated_target()
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        preparation(Experiment("nightly", (target,), replicates=1))
    assert dag.task_dict
    for task in dag.task_dict.values():
        assert task.retries > 0  # type: ignore[union-attr]
        assert task.retry_policy is not None  # type: ignore[union-attr]


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_comes_before_a_trial_outlasts_ten_kills(by_hand: bool) -> None:
    """Airflow counts a killed worker as a try: ten kills must neither end a preparation, nor keep a trial from its
    beginning. A sentence still ends it at once.
    """
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        preparation(Experiment("nightly", (simulated_target(),), replicates=1))
    before = [task for name, task in tasks_of(by_hand=by_hand).items() if name in ("plan", "open")]
    for task in (*dag.tasks, *before):
        assert task.retries >= 10, task.task_id
        policy = task.retry_policy
        assert policy is not None
        assert policy.evaluate(ConflictError("taken"), 11, task.retries).action is RetryAction.FAIL
    assert len(before) == 2


class TaskStateStore(dict[str, object]):
    """What Airflow keeps for a task from try to try."""

    set = dict.__setitem__


def test_only_errors_are_counted_and_the_third_ends_the_task() -> None:
    """An SDK's exception that no sentence explains is not tried 21 times: killed workers are outlasted, because no
    policy is asked about them, and errors are counted by the task itself. A cleared task begins anew.
    """
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        preparation(Experiment("nightly", (simulated_target(),), replicates=1))
    for task in dag.tasks:
        kept, policy = {"task_state_store": TaskStateStore()}, task.retry_policy
        assert policy is not None
        # Nine workers were killed before the first error: its try has the number 10.
        for number in (10, 14):
            assert policy.evaluate(KeyError("id"), number, 20, kept).action is RetryAction.DEFAULT, task.task_id
        assert policy.evaluate(ValueError(), 15, 20, kept).action is RetryAction.FAIL, task.task_id
        assert policy.evaluate(ValueError(), 16, 36, kept).action is RetryAction.DEFAULT, task.task_id


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_teardown_is_tried_for_minutes_whatever_went_wrong(by_hand: bool) -> None:
    """GPU nodes run until it succeeds: an API server that is away for ten minutes must not leave them behind."""
    close = tasks_of(by_hand=by_hand)["close"]
    assert close.retry_policy is None
    delays = [close.retry_delay * close.retry_exponential_backoff**tried for tried in range(close.retries)]
    assert delays[0] <= timedelta(seconds=30)
    assert sum(delays, timedelta()) >= timedelta(minutes=10)


def test_the_experiment_says_how_long_evidence_is_read() -> None:
    """`evidence_s` of the file reaches the wait of every trial."""
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        trials(Experiment("nightly", (simulated_target(),), replicates=1, evidence_s=30.0))
    waits = [task.evidence_s for task in dag.tasks if isinstance(task, WaitServeEndpoint)]
    assert waits
    assert set(waits) == {30.0}
