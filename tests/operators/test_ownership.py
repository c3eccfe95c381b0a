"""Every task checks at its entry: is the trial open, is the lock held, is the object its own?"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster
from operator_harness import apply as apply_trial
from operator_harness import close_trial, context, experiment, open_trial, run
from operator_harness import wait as wait_trial
from test_ray_service import manifest

from airflow_llm_provisioning.connections import open_cluster, open_store
from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import ConflictError, LockHeldError, TrialClosedError
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import ApplyRayService, DeleteRayService
from airflow_llm_provisioning.trials import apply as applying
from airflow_llm_provisioning.trials import close as closing
from airflow_llm_provisioning.trials import open as opening

FIRST, SECOND = "manual__1", "manual__2"


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Open the results as a reader would."""
    opened = open_store()
    yield opened
    opened.close()


def apply(run_id: str, **fields: Any) -> dict[str, Any]:
    operator = ApplyRayService(task_id="apply", cluster="sim", manifest=manifest(), **fields)
    applied: dict[str, Any] = run(operator, context(run_id=run_id))
    return applied


def delete(run_id: str, rayservice: dict[str, Any], **fields: Any) -> dict[str, Any]:
    operator = DeleteRayService(task_id="delete", rayservice=rayservice, timeout_s=3600, **fields)
    deleted: dict[str, Any] = run(operator, context(run_id=run_id))
    return deleted


def the_service(simulated: BackgroundCluster) -> dict[str, Any]:
    (found,) = simulated.objects("rayservices")
    return found


@pytest.mark.usefixtures("results_db")
def test_a_task_of_a_closed_trial_is_refused_alone(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """Cleared alone, `apply` and `wait` create and record nothing: the row, its trace and its reason stay."""
    trial = open_trial()
    applied = apply_trial(trial)
    wait_trial(trial, applied, deferrable=True)
    close_trial(trial)
    row, trace = store.trial(trial["trial_id"]), store.trace(trial["trial_id"])
    for alone in (lambda: apply_trial(trial), lambda: wait_trial(trial, applied, deferrable=True)):
        with pytest.raises(TrialClosedError, match=f"{trial['trial_id']} is closed; clear `open` and what follows"):
            alone()
    assert simulated.names("rayservices") == []
    assert (store.trial(trial["trial_id"]), store.trace(trial["trial_id"])) == (row, trace)
    assert store.outcomes(trial["trial_id"]) == []


@pytest.mark.usefixtures("results_db")
def test_a_trial_that_lost_the_lock_applies_nothing(simulated: BackgroundCluster) -> None:
    """Its DAG was paused for longer than the lock lasts, and another DAG run's trial holds the cluster."""
    trial = open_trial()
    (lease,) = [one for one in simulated.objects("leases") if one["metadata"]["namespace"] == "default"]
    taken = {**lease, "spec": {**lease["spec"], "holderIdentity": "nightly/other/demo"}}
    simulated.call(lambda: simulated.simulated.store.replace("leases", lease, taken, manager="somebody"))
    with pytest.raises(LockHeldError, match=r"no longer held by .*found 'nightly/other/demo'"):
        apply_trial(trial)
    assert simulated.names("rayservices") == []


@pytest.mark.usefixtures("results_db")
@pytest.mark.parametrize("meanwhile", ["before it looks for the row", "after it has looked"])
def test_an_opening_that_comes_after_the_close_keeps_nothing(
    simulated: BackgroundCluster, store: ResultsStore, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """Its worker was taken for dead while it waited for a reply, and another one opened, measured and closed the trial.
    It gives the lock back, or the close does, and the row stays: a lock that is left would stop the cluster's trials.
    """
    row: list[Any] = []

    def whole_trial() -> None:
        with monkeypatch.context() as undisturbed:
            undisturbed.setattr(opening, place, real)
            close_trial(open_trial())
        row[:] = store.trials()

    place = "acquire_or_explain" if meanwhile.startswith("before") else "_still_open"
    real = getattr(opening, place)

    async def late(*arguments: Any) -> None:
        if place == "acquire_or_explain":
            await asyncio.to_thread(whole_trial)
        await real(*arguments)
        if place == "_still_open":
            await asyncio.to_thread(whole_trial)

    monkeypatch.setattr(opening, place, late)
    if place == "acquire_or_explain":
        with pytest.raises(TrialClosedError, match="closed by another process"):
            open_trial()
    else:
        open_trial()
    assert [one for one in simulated.objects("leases") if one["metadata"]["namespace"] == "default"] == []
    assert store.trials() == row
    assert len(row) == 1


@pytest.mark.usefixtures("results_db")
def test_a_lock_that_was_taken_before_the_row_is_released_after_it(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late opening took it after the close had released it, and saw no row yet."""
    trial, judged = Trial.from_dict(open_trial()), closing._judged
    assert trial.opened is not None
    own = trial.opened.labels[LABEL_TRIAL]

    async def take() -> None:
        async with open_cluster({"conn_id": "sim"}) as cluster:
            await cluster.acquire_lock(trial.slot.lock_holder, namespace="default", duration_s=600, trial=own)

    def late(*arguments: Any) -> Any:
        asyncio.run(take())
        return judged(*arguments)

    monkeypatch.setattr(closing, "_judged", late)
    close_trial(trial.as_dict())
    assert [one for one in simulated.objects("leases") if one["metadata"]["namespace"] == "default"] == []


def applied_late(trial: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as a task does that has looked for the trial's row and lock long ago."""
    real, looked = applying.check_lock, iter((True,))

    async def check_lock(*arguments: Any) -> None:
        if not next(looked, False):
            await real(*arguments)

    operator = ApplyRayService(task_id="apply", trial=trial, experiment=experiment())
    with monkeypatch.context() as late:
        late.setattr(applying, "check_lock", check_lock)
        asyncio.run(operator._of_trial(trial))


@pytest.mark.usefixtures("results_db")
def test_a_rayservice_that_is_created_after_the_close_is_taken_back(
    simulated: BackgroundCluster, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was taken for dead just before it created it; the ledger says what was created until it is gone."""
    trial = open_trial()
    apply_trial(trial)
    close_trial(trial)
    row = store.trials()
    with pytest.raises(LockHeldError, match="RayService that this task has just created is deleted again"):
        applied_late(trial, monkeypatch)
    assert deleted_or_gone(simulated)
    assert [(entry.kind, entry.name) for entry in store.ledger.open_entries()] == [
        ("rayservice", trial["opened"]["rayservice"])
    ]
    assert store.trials() == row


@pytest.mark.usefixtures("results_db")
def test_a_rayservice_that_is_created_before_the_lock_is_free_is_taken_back_after_it(
    simulated: BackgroundCluster, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late task created it after the close had seen all gone, and found the lock still held."""
    trial, real = open_trial(), closing.remains_of_trial
    lives = iter((True,))

    async def late(*arguments: Any) -> Any:
        left = await real(*arguments)
        if next(lives, False):
            await asyncio.to_thread(applied_late, trial, monkeypatch)
        return left

    monkeypatch.setattr(closing, "remains_of_trial", late)
    close_trial(trial)
    assert deleted_or_gone(simulated)
    assert len(store.ledger.open_entries()) == 1


@pytest.mark.usefixtures("results_db")
def test_a_task_of_an_earlier_trial_of_the_same_run_applies_nothing(
    simulated: BackgroundCluster, store: ResultsStore
) -> None:
    """The lock's holder is the DAG run; for which of its trials it was taken is told too."""
    first = open_trial(slot=0)
    close_trial(first)
    second = open_trial(slot=1)
    operator = ApplyRayService(task_id="apply", trial=first, experiment=experiment())
    with pytest.raises(LockHeldError, match=f"now held for trial '{second['opened']['labels'][LABEL_TRIAL]}'"):
        asyncio.run(operator._of_trial(first))
    assert simulated.names("rayservices") == []


def deleted_or_gone(simulated: BackgroundCluster) -> bool:
    return all(found["metadata"].get("deletionTimestamp") for found in simulated.objects("rayservices"))


def test_a_second_dag_run_is_refused_and_named_the_owner(simulated: BackgroundCluster) -> None:
    """It neither changes nor deletes what the first run waits for, by uid or by name; the first one deletes it."""
    first = apply(FIRST)
    before = the_service(simulated)["metadata"]
    owner = rf"belongs to DAG run 'nightly.{FIRST}-\w+' \(llm-provisioning/run; uid {first['uid']}\)"
    with pytest.raises(ConflictError, match=f"was not applied: it {owner}"):
        apply(SECOND)
    for named in (first, {"cluster": "sim", "name": "my-llm"}):
        with pytest.raises(ConflictError, match=f"was not deleted: it {owner}"):
            delete(SECOND, named)
    after = the_service(simulated)["metadata"]
    assert (after["uid"], after["labels"]) == (before["uid"], before["labels"])
    assert delete(FIRST, first)["deleted"] is True


def test_a_second_dag_run_may_take_over(simulated: BackgroundCluster) -> None:
    """If the user says so, the object is changed and has a new owner; the first run does not delete it any more."""
    first = apply(FIRST)
    assert apply(SECOND, take_over=True)["uid"] == first["uid"]
    with pytest.raises(ConflictError, match=rf"belongs to DAG run 'nightly.{SECOND}"):
        delete(FIRST, first)
    assert delete(FIRST, first, take_over=True)["deleted"] is True


@pytest.mark.usefixtures("results_db")
def test_a_trials_rayservice_is_nobody_elses(simulated: BackgroundCluster) -> None:
    """A single operator of any DAG run leaves it alone."""
    trial = open_trial()
    applied = apply_trial(trial)
    named = f"belongs to trial '{trial['trial_id']}'"
    with pytest.raises(ConflictError, match=named):
        run(ApplyRayService(task_id="a", cluster="sim", manifest=manifest(applied["name"])))
    with pytest.raises(ConflictError, match=named):
        delete(FIRST, applied)
    close_trial(trial)
