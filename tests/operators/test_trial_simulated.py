"""A trial's four tasks against a simulated cluster over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred
from cluster_in_background import TOKEN, BackgroundCluster, kubernetes_connection, simulated_target
from operator_harness import apply, as_stored, close_trial, context, experiment, open_trial, planned, run, wait

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.replay import replay
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.trace import decode_trace
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import (
    ClusterUnreachableError,
    ConfigurationError,
    ConflictError,
    ConnectionConfigError,
    ForbiddenError,
    LockHeldError,
    StoreError,
    TrialFailedError,
)
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators.trial import CloseTrial, OpenTrial

pytestmark = pytest.mark.usefixtures("results_db")


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Open the results as a reader would."""
    opened = open_store()
    yield opened
    opened.close()


def the_row(store: ResultsStore) -> TrialResult:
    (row,) = store.trials()
    return row


def in_default(simulated: BackgroundCluster, *resources: str) -> list[str]:
    return [
        f"{resource}/{item['metadata']['name']}"
        for resource in resources
        for item in simulated.objects(resource)
        if item["metadata"].get("namespace") == "default"
    ]


# No flag at all: at the usual speed a thread of the cluster that waits 30 ms for a core is 20 s late in its own time.
@pytest.mark.simulated_speed(100.0)
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_trial_is_one_row_and_leaves_nothing(
    simulated: BackgroundCluster, store: ResultsStore, deferrable: bool
) -> None:
    """Opened, applied, waited for and closed, in the worker or through the triggerer: a cold, measured total, labelled
    simulated; no RayService, pod, node or lock afterwards, and the ledger is closed.
    """
    before = set(simulated.names("nodes"))
    trial = open_trial()
    waited = wait(trial, apply(trial), deferrable=deferrable)
    assert waited["outcome"] == "ready"
    row = close_trial(trial, deferrable=deferrable)
    assert (row["status"], row["start"], row["applied"], row["origin"]) == ("succeeded", "cold", "none", "simulated")
    assert row["total_s"] > 60
    assert row["flags"] == ""
    assert in_default(simulated, "rayservices", "rayclusters", "pods", "leases") == []
    assert set(simulated.names("nodes")) == before
    kept = the_row(store)
    assert kept.total_s == pytest.approx(sum(phase.duration_s for phase in kept.phases))
    computed = store.traces.analysis(trial["trial_id"])
    assert computed is not None
    assert computed.text == replay(store.trace(trial["trial_id"]))
    assert list(store.ledger.open_entries()) == []
    told = decode_trace(store.trace(trial["trial_id"])).lines
    assert [item["object"] for item in told if item.get("type") == "MARK"][-1] == {"mark": "delete_started"}
    again = close_trial(trial)
    assert (again["total_s"], again["status"]) == (row["total_s"], "succeeded")
    assert len(store.trials()) == 1


def test_a_lost_reply_makes_one_rayservice(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """The create is carried out, its reply is lost: the task finds its own object; started again, it finds it too."""
    trial = open_trial()
    simulated.fault("lost_reply", {"rayservices": 1})
    first = apply(trial)
    assert (first["reattached"], first["applied_at"]) == (True, None)
    assert apply(trial)["uid"] == first["uid"]
    assert simulated.names("rayservices") == ["llm-model-serve"]
    close_trial(trial)
    assert in_default(simulated, "rayservices", "pods") == []
    assert the_row(store).status is TrialStatus.FAILED


def test_somebody_elses_rayservice_is_refused_and_left_alone(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """The name is taken: the trial is not opened, is recorded as failed, and the lock is given back."""
    trial = open_trial(ctx=context(run_id="donor"))
    foreign = builtin_workload().manifest | {"metadata": {"name": "llm-model-serve", "namespace": "default"}}
    made = simulated.create("rayservices", foreign)
    with pytest.raises(ConflictError, match=r"is not this trial's.*no label of this package \(uid "):
        apply(trial)
    close_trial(trial)
    with pytest.raises(ConflictError, match=r"exists and is not this trial's\. Delete it"):
        open_trial()
    refused = next(row for row in store.trials() if row.trial.slot.run_id == "run-1")
    assert refused.status is TrialStatus.FAILED
    assert "exists and is not this trial's" in (refused.reason or "")
    assert in_default(simulated, "leases") == []
    assert [item["metadata"]["uid"] for item in simulated.objects("rayservices")] == [made["metadata"]["uid"]]


def test_a_held_lock_is_one_sentence_and_a_row(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """Another DAG's trial holds the cluster: who and until when is said; the same run's next slot takes it."""
    open_trial(ctx=context(run_id="other"))
    with pytest.raises(LockHeldError, match=r"held by 'nightly/other/demo' until .* wait for that trial to end"):
        open_trial()
    assert "held by" in (the_row(store).reason or "")
    assert open_trial(ctx=context(run_id="other"), slot=1)["trial_id"].endswith("-01")


def test_the_same_slot_is_the_same_trial_until_its_row_is_written(
    simulated: BackgroundCluster, store: ResultsStore
) -> None:
    """Opened twice it is one trial and one ledger entry; after its row it is a new attempt."""
    first, second = open_trial(), open_trial()
    assert [(t["trial_id"], t["opened"]["ledger_entry"]) for t in (first, second)] == [
        (first["trial_id"], first["opened"]["ledger_entry"])
    ] * 2
    close_trial(first)
    assert open_trial()["trial_id"] == first["trial_id"] + ".2"


def test_an_unreachable_cluster_is_a_row(monkeypatch: pytest.MonkeyPatch, store: ResultsStore) -> None:
    """Nothing answers: the trial is recorded as failed with the reason, of unknown origin."""
    monkeypatch.setenv("AIRFLOW_CONN_SIM", kubernetes_connection("http://127.0.0.1:9"))
    monkeypatch.setitem(Cluster.__init__.__kwdefaults__, "retry_s", 0.5)
    with pytest.raises(ClusterUnreachableError):
        open_trial()
    row = the_row(store)
    assert (row.status, row.origin) == (TrialStatus.FAILED, "unknown")
    assert "sim" in (row.reason or "")


def test_a_missing_connection_is_a_row(store: ResultsStore) -> None:
    """The connection's id and what to do are said, and the trial is recorded."""
    with pytest.raises(ConnectionConfigError, match="'sim' is not defined: create it"):
        open_trial()
    assert "'sim' is not defined" in (the_row(store).reason or "")


@pytest.mark.parametrize("fault", ["create:leases", "rayservices"])
def test_a_forbidden_opening_is_a_row(simulated: BackgroundCluster, store: ResultsStore, fault: str) -> None:
    """RBAC says no to the lock, or to looking at RayServices: verb and resource are named."""
    simulated.fault("forbidden", [fault])
    with pytest.raises(ForbiddenError, match=fault.rpartition(":")[2]):
        open_trial()
    assert the_row(store).status is TrialStatus.FAILED


def test_a_forbidden_create_is_the_rows_reason(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """Apply fails; the teardown puts its reason into the row and leaves nothing."""
    trial = open_trial()
    simulated.fault("forbidden", ["create:rayservices"])
    with pytest.raises(ForbiddenError):
        apply(trial)
    simulated.fault("forbidden", [])
    row = close_trial(trial, context(wait="upstream_failed"))
    assert row["status"] == "failed"
    assert row["reason"].startswith("apply: ")
    assert "create" in row["reason"]
    assert in_default(simulated, "leases") == []


def test_a_trial_that_is_not_ready_in_time_says_so(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """No node ever joins: the wait ends at its limit, by the error that is never retried; the row is `timed_out`."""
    simulated.fault("node_never_joins", True)
    trial = open_trial(timeout_s=400)
    with pytest.raises(AirflowSensorTimeout, match="llm-model-serve was not ready in time"):
        wait(trial, apply(trial), deferrable=True)
    row = close_trial(trial)
    assert (row["status"], row["total_s"], row["start"]) == ("timed_out", None, "unknown")
    assert row["reason"]
    assert in_default(simulated, "rayservices", "pods") == []


def test_a_deployment_that_failed_ends_early(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """DEPLOY_FAILED is final: long before the limit, with Serve's own words in the row."""
    simulated.fault("deploy_failed", True)
    trial = open_trial(timeout_s=7200)
    with pytest.raises(TrialFailedError, match="did not become ready"):
        wait(trial, apply(trial))
    row = close_trial(trial)
    assert row["status"] == "failed"
    assert "'llm' failed to deploy" in row["reason"]


def test_an_aborted_wait_is_a_row(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """The user marked the wait failed: it noted nothing, the teardown deletes all the same and calls it aborted."""
    trial = open_trial()
    apply(trial)
    row = close_trial(trial, context(wait="failed"), deferrable=True)
    assert row["status"] == "aborted"
    assert "ended from outside (task state failed)" in row["reason"]
    assert in_default(simulated, "rayservices", "pods", "leases") == []


def test_a_wait_that_broke_is_not_called_aborted(
    simulated: BackgroundCluster, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait itself failed (here: its connection vanished): that is the row's reason, not an abort."""
    trial = open_trial()
    applied = apply(trial)
    kept = kubernetes_connection(simulated.url)
    monkeypatch.delenv("AIRFLOW_CONN_SIM")
    with pytest.raises(ConnectionConfigError):
        wait(trial, applied, deferrable=True)
    monkeypatch.setenv("AIRFLOW_CONN_SIM", kept)
    row = close_trial(trial, context(wait="failed"))
    assert row["status"] == "failed"
    assert row["reason"].startswith("wait: ")


def test_a_trial_that_cannot_be_closed_has_its_row(
    simulated: BackgroundCluster, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster refuses the delete: the row is written and says that something may be left, the ledger stays open;
    the repeated teardown cleans up and replaces the row.
    """
    trial = open_trial()
    apply(trial)
    simulated.fault("forbidden", ["delete:rayservices"])
    with pytest.raises(ForbiddenError):
        close_trial(trial, context(wait="failed"))
    row = the_row(store)
    assert row.status is TrialStatus.NOT_DELETED
    assert "The deployment itself: aborted" in (row.reason or "")
    assert any("not closed, so something may be left" in flag for flag in row.flags)
    assert len(store.ledger.open_entries()) == 1
    simulated.fault("forbidden", [])
    close_trial(trial, context(wait="failed"))
    assert not any("not closed" in flag for flag in the_row(store).flags)
    assert store.ledger.open_entries() == []


def test_a_repeated_teardown_waits_for_the_nodes_of_the_first(simulated: BackgroundCluster) -> None:
    """Killed after the delete, it finds no pods any more that would tell the nodes; the next trial must still start
    cold.
    """
    ctx = context()
    trial = open_trial()
    wait(trial, apply(trial))
    closing = CloseTrial(task_id="close", trial=trial, deferrable=True)
    with pytest.raises(TaskDeferred) as first:
        closing.execute(ctx)
    simulated.until(lambda: not simulated.objects("pods", "default"))
    with pytest.raises(TaskDeferred) as again:
        closing.execute(ctx)
    nodes = as_stored(first.value).arguments["nodes"]
    assert len(nodes) == 2
    assert as_stored(again.value).arguments["nodes"] == nodes


def test_a_teardown_before_the_nodes_came_waits_for_them(simulated: BackgroundCluster) -> None:
    """Pods without a node are gone at once, and the node that was asked for may come all the same: it is waited for by
    the mark of this target's autoscaler, also by a repeated teardown that finds no pods any more.
    """
    simulated.fault("node_never_joins", True)
    trial, ctx = open_trial(), context()
    apply(trial)
    simulated.until(lambda: len(simulated.objects("pods", "default")) == 2)
    closing = CloseTrial(task_id="close", trial=trial, deferrable=True)
    with pytest.raises(TaskDeferred) as first:
        closing.execute(ctx)
    simulated.until(lambda: not simulated.objects("pods", "default"))
    with pytest.raises(TaskDeferred) as again:
        closing.execute(ctx)
    late = as_stored(first.value).arguments["late"]
    assert len(late.pop("pods")) == 2
    assert late == {"selector": "node.elotl.co/created-by=luna", "since": trial["opened"]["at"], "limit_s": 600.0}
    assert as_stored(again.value).arguments["late"] == as_stored(first.value).arguments["late"]


def test_a_row_names_what_keeps_its_nodes(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """The next trial may start warm, so the reader wants to know which node, and why."""
    why = "n1 (other pods are on it: x/dns-1)"
    event = {"deleted": True, "gone": True, "nodes_gone": False, "nodes_why": why, "waited_s": 700.0}
    CloseTrial(task_id="close", trial=open_trial()).resume(context(), event)
    assert any(f"nodes still there 700 s after the delete ({why})" in flag for flag in the_row(store).flags)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (True, "made all the same, counted from the delete, and gone again: n1 (+45 s)"),
        (False, "still there 700 s after the delete: n1 (+45 s); the next trial may start warm"),
    ],
)
def test_a_node_that_came_late_is_named_in_the_row(
    simulated: BackgroundCluster, store: ResultsStore, gone: bool, words: str
) -> None:
    """Which, when, and whether the next trial begins without it."""
    event = {
        "deleted": True,
        "gone": True,
        "pods_gone": True,
        "nodes_gone": True,
        "late": {"pods": ["head"], "limit_s": 600.0, "nodes": {"n1": 45.0}, "gone": gone},
        "waited_s": 700.0,
    }
    CloseTrial(task_id="close", trial=open_trial()).resume(context(), event)
    assert f"deleted while head had no node: {words}" in the_row(store).flags


def test_a_teardown_whose_nodes_never_came_says_so(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """No wait is endless: what did not come within the bound is reported as absent."""
    simulated.fault("node_never_joins", True)
    trial = open_trial()
    apply(trial)
    simulated.until(lambda: bool(simulated.objects("pods", "default")))
    close_trial(trial)
    assert any("none was seen to come within 600 s of the delete" in flag for flag in the_row(store).flags)


def test_without_a_mark_of_its_nodes_nobody_waits_for_them(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """A trial on nodes that no label tells apart: it is said that one may still come."""
    simulated.fault("node_never_joins", True)
    trial = open_trial()
    trial["opened"]["node_selector"] = None
    apply(trial)
    simulated.until(lambda: bool(simulated.objects("pods", "default")))
    close_trial(trial)
    assert any("one may still come" in flag for flag in the_row(store).flags)


def test_an_apply_that_was_killed_at_every_try_is_in_the_row(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """It could note nothing itself; Airflow's state of its task tells. What it did note outweighs that."""
    trial = open_trial()
    close_trial(trial, context(apply="failed", wait="upstream_failed"))
    row = the_row(store)
    assert row.status is TrialStatus.ABORTED
    assert "apply: its task failed without a word" in (row.reason or "")
    store.note_outcome(trial["trial_id"], "apply", TrialStatus.FAILED, "it was refused")
    close_trial(trial, context(apply="failed", wait="upstream_failed"))
    assert the_row(store).reason == "apply: it was refused"


def test_an_unwritable_store_stops_the_trial_before_anything_is_created(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No ledger, no trial: the store is named, and the cluster was not touched."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(
        "AIRFLOW_CONN_LLM_PROVISIONING_RESULTS", json.dumps({"conn_type": "sqlite", "host": f"{tmp_path}/file/x.db"})
    )
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        open_trial()
    assert in_default(simulated, "leases", "rayservices") == []


def test_a_slot_without_a_trial_is_skipped() -> None:
    """The plan failed: its slots have nothing to run."""
    with pytest.raises(AirflowSkipException, match="look at what the plan task said"):
        run(OpenTrial(task_id="open", planned={}, experiment=experiment()))


def test_a_variant_that_was_not_prepared_is_refused(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """An image of its own is needed and none was built: the preparation is asked for, before any lock is taken."""
    with pytest.raises(ConfigurationError, match="run its preparation first"):
        open_trial(variant="improved", variants=["improved"])
    assert "run its preparation first" in (the_row(store).reason or "")
    assert in_default(simulated, "leases") == []


def test_no_token_is_anywhere(
    simulated: BackgroundCluster, results_db: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the trial's dict (XCom, rendered fields), nor the triggers, nor the store, nor the logs hold the token
    or the connection's extra.
    """
    simulated.fault("node_never_joins", True)
    trial = open_trial(timeout_s=60)
    applied = apply(trial)
    seen: list[Any] = [trial, applied, planned(), simulated_target().as_dict()]
    with pytest.raises(AirflowSensorTimeout) as late:
        wait(trial, applied, deferrable=True)
    seen += [str(late.value), close_trial(trial, deferrable=True)]
    files = [path.read_bytes() for path in results_db.parent.iterdir()]
    store = open_store()
    from airflow_llm_provisioning.core.trace import decode_trace

    lines = decode_trace(store.trace(trial["trial_id"])).lines
    store.close()
    assert len(lines) > 3
    out = capfd.readouterr()
    told = json.dumps([seen, lines], default=str) + out.out + out.err + caplog.text
    for secret in (TOKEN, "current-context", "kube_config"):
        assert secret not in told
        assert not any(secret.encode() in data for data in files)
