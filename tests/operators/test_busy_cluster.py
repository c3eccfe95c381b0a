"""A trial on a cluster that another trial holds waits for it in the triggerer, up to a limit."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from cluster_in_background import BackgroundCluster
from operator_harness import as_stored, close_trial, context, event_of, experiment, open_trial, planned, run

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.exceptions import LockHeldError
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators.trial import OpenTrial
from airflow_llm_provisioning.triggers.lock import LockWait

pytestmark = pytest.mark.usefixtures("results_db")
OTHER, OURS = "other", "run-1"


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Open the results as a reader would."""
    opened = open_store()
    yield opened
    opened.close()


def opening(**fields: Any) -> OpenTrial:
    return OpenTrial(task_id="open", planned=planned(), experiment=experiment(), **fields)


def holders(simulated: BackgroundCluster) -> list[str]:
    return [
        item["spec"]["holderIdentity"]
        for item in simulated.objects("leases")
        if item["metadata"]["namespace"] == "default"
    ]


def test_it_waits_and_then_opens(
    simulated: BackgroundCluster, store: ResultsStore, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second trial is deferred, its log names the holder, and it begins when the first one is closed. Meanwhile it
    has no row and creates nothing.
    """
    first = open_trial(ctx=context(run_id=OTHER))
    operator = opening()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context(run_id=OURS))
    assert deferred.value.timeout is not None
    trigger = as_stored(deferred.value)
    assert isinstance(trigger, LockWait)

    async def both() -> Any:
        waiting = asyncio.create_task(event_of(trigger))
        await asyncio.sleep(1.5)
        assert not waiting.done()
        await asyncio.to_thread(close_trial, first)
        return await waiting

    event = asyncio.run(both())
    assert event["acquired"] is True
    assert "is held by 'nightly/other/demo'" in capfd.readouterr().out
    assert [row.trial.slot.run_id for row in store.trials()] == [OTHER]
    opened = getattr(operator, deferred.value.method_name)(context(run_id=OURS), event)
    assert opened["opened"] is not None
    assert holders(simulated) == ["nightly/run-1/demo"]
    close_trial(opened)


def test_the_limit_is_a_sentence_and_a_row(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """For how long it waited, who holds the cluster and until when, and what to do."""
    open_trial(ctx=context(run_id=OTHER))
    words = r"was not opened\. It waited for \d+ s\. Lock .* is held by 'nightly/other/demo' until .*wait for that"
    with pytest.raises(LockHeldError, match=words):
        run(opening(lock_wait_s=120))
    (row,) = store.trials()
    assert "held by 'nightly/other/demo'" in (row.reason or "")
    assert row.origin == "simulated"
    assert holders(simulated) == ["nightly/other/demo"]


def test_a_wait_that_begins_after_its_limit_looks_first(simulated: BackgroundCluster) -> None:
    """The cluster became free while no triggerer ran: the trial gets it, however late."""
    long_ago = simulated.call(simulated.clock.now) - timedelta(hours=5)
    wait = LockWait(
        cluster={"conn_id": "sim"}, namespace="default", holder="a/b/c", started_at=long_ago.isoformat(), timeout_s=60
    )
    assert asyncio.run(event_of(wait))["acquired"] is True
    assert holders(simulated) == ["a/b/c"]


def test_the_limit_counts_from_the_first_wait(simulated: BackgroundCluster) -> None:
    """Another trial was faster after the lock was taken and had ended: the trial waits again, not for longer."""
    open_trial(ctx=context(run_id=OTHER))
    since = (simulated.call(simulated.clock.now) - timedelta(seconds=500)).isoformat()
    operator = opening(lock_wait_s=600)
    with pytest.raises(TaskDeferred) as deferred:
        operator.resume(context(run_id=OURS), {"acquired": True, "started_at": since})
    assert as_stored(deferred.value).arguments["started_at"] == since


def test_a_failed_wait_is_a_row(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """Nothing that ends a wait leaves a planned trial without its row."""
    with pytest.raises(LockHeldError, match="gone"):
        opening().resume(context(run_id=OURS), {"error": "The lock is gone.", "error_type": "LockHeldError"})
    (row,) = store.trials()
    assert (row.status, row.reason) == ("failed", f"Trial {row.trial_id} was not opened. The lock is gone.")
    assert isinstance(row.opened_at, datetime)
