"""Deleted means seen to be gone: with the operator down, an unreachable node or an API server that is away."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster
from operator_harness import apply, close_trial, context, open_trial, run, wait

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.exceptions import (
    ClusterUnreachableError,
    ConflictError,
    LockHeldError,
    NotDeletedError,
    StoreError,
)
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import DeleteRayService
from airflow_llm_provisioning.trials import close

pytestmark = pytest.mark.usefixtures("results_db")


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    opened = open_store()
    yield opened
    opened.close()


def operator_down(simulated: BackgroundCluster) -> None:
    """Scale the operator to nothing: neither finalizer nor status is touched any more."""
    simulated.fault("operator_silent", True)

    def scale(item: dict[str, Any]) -> None:
        item["spec"]["replicas"] = 0
        item["status"] = {"observedGeneration": 2}

    for subresource in ("", "status"):
        simulated.call(
            lambda sub=subresource: simulated.simulated.store.mutate(
                "deployments", "kuberay-operator", "kuberay-operator", scale, subresource=sub, manager="somebody"
            )
        )


def ready_trial(**fields: Any) -> dict[str, Any]:
    trial = open_trial(**fields)
    wait(trial, apply(trial))
    return trial


def the_row(store: ResultsStore, trial: dict[str, Any]) -> TrialResult:
    row = store.trial(trial["trial_id"])
    assert row is not None
    return row


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_delete_without_an_operator_fails_and_names_what_is_left(
    simulated: BackgroundCluster, deferrable: bool
) -> None:
    """The finalizer is pending: RayService, RayCluster, pods and Services exist, and the GPU is held. Run again after
    the operator is back, the same task is a success.
    """
    applied = apply(open_trial())
    simulated.until(lambda: any(pod["spec"].get("nodeName") for pod in simulated.objects("pods", "default")))
    operator_down(simulated)
    deleting = DeleteRayService(task_id="d", take_over=True, rayservice=applied, timeout_s=120, deferrable=deferrable)
    with pytest.raises(NotDeletedError, match="RayService default/llm-model-serve was not deleted within") as raised:
        run(deleting)
    for words in (
        "finalizer ray.io/rayservice-finalizer is pending",
        "deployment kuberay-operator/kuberay-operator is scaled to 0 replicas",
        "RayCluster default/llm-model-serve-",
        "holds nvidia.com/gpu: 1",
        "clear this task",
    ):
        assert words in str(raised.value)
    simulated.fault("operator_silent", False)
    gone = run(DeleteRayService(task_id="d", take_over=True, rayservice=applied, timeout_s=3600, deferrable=deferrable))
    assert (gone["gone"], gone["left"], gone["why"]) == (True, [], None)


def test_a_trial_that_is_not_deleted_keeps_lock_ledger_and_name(
    simulated: BackgroundCluster, store: ResultsStore
) -> None:
    """The task fails, the row says so and never counts, no other trial starts there; closed again, all of it ends."""
    trial = ready_trial()
    operator_down(simulated)
    ctx = context()
    with pytest.raises(NotDeletedError, match=r"finalizer ray\.io/rayservice-finalizer is pending"):
        close_trial(trial, ctx, deleted_s=120)
    row = the_row(store, trial)
    assert (row.status, row.exclusion) == (TrialStatus.NOT_DELETED, "not_deleted")
    assert "finalizer ray.io/rayservice-finalizer is pending" in (row.reason or "")
    assert (row.reason or "").endswith("The deployment itself: succeeded")
    assert len(store.ledger.open_entries()) == 1
    assert simulated.names("leases") == ["llm-provisioning-trial"]
    with pytest.raises(LockHeldError, match=r"held by .* Deleted there, and not gone: RayService default/llm-model-s"):
        open_trial(ctx=context(run_id="other"))
    with pytest.raises(ConflictError, match=r"an earlier trial left is not gone.*finalizer .* is pending.*Clear the"):
        open_trial(slot=1)
    assert simulated.names("leases") == ["llm-provisioning-trial"]
    simulated.fault("operator_silent", False)
    closed = close_trial(trial, ctx)
    assert (closed["status"], closed["start"]) == ("succeeded", "cold")
    assert store.ledger.open_entries() == []
    assert simulated.names("leases") == []
    assert open_trial(slot=1)["trial_id"].endswith("-01.2")


def test_a_lock_that_ended_does_not_let_a_trial_start_beside_the_last(
    simulated: BackgroundCluster, store: ResultsStore
) -> None:
    """Days later the Lease has expired or was deleted: what is left is still named, and the lock is given back."""
    trial = ready_trial()
    operator_down(simulated)
    with pytest.raises(NotDeletedError):
        close_trial(trial, deleted_s=60)
    simulated.call(lambda: simulated.simulated.store.delete("leases", "llm-provisioning-trial", "default"))
    with pytest.raises(ConflictError, match="cannot start on sim: what an earlier trial left is not gone"):
        open_trial(ctx=context(run_id="other"))
    assert simulated.names("leases") == []


def test_a_pod_on_an_unreachable_node_is_left(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """Its RayService and RayCluster are gone, and its kubelet does not answer: the pod stays Terminating, and the trial
    is not deleted.
    """
    trial = ready_trial()
    worker = next(pod for pod in simulated.objects("pods", "default") if "worker" in pod["metadata"]["name"])
    _hold(simulated, worker["metadata"]["name"], ["example.com/unreachable"])
    with pytest.raises(NotDeletedError, match=r"left may cost money: Pod default/\S+worker") as raised:
        close_trial(trial, deleted_s=300)
    assert "RayService default/llm-model-serve (" not in str(raised.value)
    assert the_row(store, trial).status is TrialStatus.NOT_DELETED
    with pytest.raises(ConflictError, match=r"is not gone.*Pod default/\S+worker"):
        open_trial(slot=1)
    _hold(simulated, worker["metadata"]["name"], [])
    assert close_trial(trial)["status"] == "succeeded"


def _hold(simulated: BackgroundCluster, name: str, finalizers: list[str]) -> None:
    def change(item: dict[str, Any]) -> None:
        item["metadata"]["finalizers"] = finalizers

    simulated.call(lambda: simulated.simulated.store.mutate("pods", name, "default", change, manager="somebody"))


def test_an_outage_of_the_api_server_is_outlasted(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is away for longer than any single call is retried, at the delete and in the wait: both go on when it is back.
    Without the repetition the first error would end the task.
    """
    monkeypatch.setitem(Cluster.__init__.__kwdefaults__, "retry_s", 0.1)
    applied = apply(open_trial())
    simulated.fault("server_error_500", 8)
    gone = run(DeleteRayService(task_id="d", take_over=True, rayservice=applied, timeout_s=3600))
    assert gone["gone"] is True
    assert simulated.simulated.faults.server_error_500 == 0


def test_an_api_server_that_stays_away_is_no_deletion(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be seen is not called gone."""
    monkeypatch.setitem(Cluster.__init__.__kwdefaults__, "retry_s", 0.1)
    applied = apply(open_trial())
    simulated.fault("server_error_500", 10**6)
    with pytest.raises(ClusterUnreachableError):
        run(DeleteRayService(task_id="d", take_over=True, rayservice=applied, timeout_s=2))


def test_a_store_that_is_away_does_not_hold_the_cluster(
    simulated: BackgroundCluster, store: ResultsStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The trial is deleted and its lock given back first. The task then fails with a sentence, its XCom holds what the
    row would say, and cleared it writes the row of the end that was seen.
    """
    trial = ready_trial()
    opened = open_store

    def away(_conn_id: str = "") -> Any:
        raise StoreError("The results store is away.")

    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", away)
    monkeypatch.setattr(close, "STORE_PAUSES_S", (0.01,))
    ctx = context()
    with pytest.raises(StoreError, match=r"is deleted and its cluster is free.*The results store is away"):
        close_trial(trial, ctx)
    assert simulated.names("rayservices") == []
    assert simulated.names("leases") == []
    kept = ctx["ti"].pushed["unwritten_row"]
    assert (kept["trial_id"], kept["flags"]) == (trial["trial_id"], [])
    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", opened)
    row = close_trial(trial, ctx)
    assert (row["status"], row["closed_at"]) == ("succeeded", kept["closed_at"])
    assert store.ledger.open_entries() == []


def test_another_owners_service_of_that_name_is_not_waited_for(simulated: BackgroundCluster) -> None:
    """Ours is gone and another one took the name: its RayCluster, pods and Services are not ours."""
    applied = apply(open_trial())
    run(DeleteRayService(task_id="d", take_over=True, rayservice=applied, timeout_s=3600))
    theirs = {key: value for key, value in applied.items() if key != "uid"}
    again = apply(open_trial())
    assert again["uid"] != applied["uid"]
    simulated.until(lambda: bool(simulated.objects("pods", "default")))
    gone = run(DeleteRayService(task_id="d", take_over=True, rayservice=applied, timeout_s=60))
    assert (gone["deleted"], gone["gone"]) == (False, True)
    assert simulated.names("rayservices") == [theirs["name"]]


def test_the_wait_begins_while_the_api_server_is_away(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer that starts in the outage cannot even open the cluster; it waits all the same."""
    monkeypatch.setitem(Cluster.__init__.__kwdefaults__, "retry_s", 0.1)
    from airflow_llm_provisioning.triggers.pods_gone import PodsGoneWait

    simulated.fault("server_error_500", 10**6)
    back = threading.Timer(2.5, lambda: simulated.fault("server_error_500", 0))
    back.start()
    began = time.monotonic()
    waiting = PodsGoneWait(
        cluster={"conn_id": "sim"}, namespace="default", pods={}, nodes=None, deleted=True,
        started_at=simulated.clock.now().isoformat(), timeout_s=60,
    )  # fmt: skip
    outcome = asyncio.run(waiting.outcome())
    back.join()
    assert outcome["gone"] is True
    assert time.monotonic() - began > 2


def test_nodes_that_nothing_removes_are_not_waited_for(
    simulated: BackgroundCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    """The target says so, or has no node autoscaler: the close ends with the pods, and opening says that the start is
    warm.
    """
    trial = open_trial(nodes_gone_s=0)
    assert "Nothing removes the nodes of target plain, so this start is warm" in "".join(capfd.readouterr())
    wait(trial, apply(trial))
    row = close_trial(trial)
    assert "nodes were not waited for, because nothing removes them: the next trial starts warm" in row["flags"]
