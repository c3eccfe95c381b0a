"""The reaper against a simulated cluster: what it deletes, what it never touches, and when it says clean."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import apply, close_trial, context, open_trial
from reaping_harness import LOCK, abandoned_trial, edit, end_entries, listed, reaped, url

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, LABEL_TRIAL
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.reaping.delete import delete_thing
from airflow_llm_provisioning.reaping.reap import reap

NAME = "llm-model-serve"


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    opened = open_store()
    yield opened
    opened.close()


def test_what_nobody_closed_is_deleted_after_its_expiry(
    simulated: BackgroundCluster, store: ResultsStore, results_db: Path
) -> None:
    """The RayService and everything that belongs to it is seen to be gone, its entry is closed, and only then it is
    clean. A second reaper finds nothing to do.
    """
    abandoned_trial(simulated)
    end_entries(results_db)
    before = listed(results_db)
    assert str(before["RayService", NAME].state) == "expired"
    assert {kind for kind, _ in before} >= {"RayService", "RayCluster", "Pod"}
    told: list[str] = []
    done = reaped(results_db, log=told.append)
    assert [(item.kind, item.name) for item in done.deleted] == [("RayService", NAME)]
    assert (done.clean, done.left) == (True, ())
    assert done.sentence() == "Clean: 1 deleted and seen to be gone."
    for resource in ("rayservices", "rayclusters", "pods", "leases"):
        # The pods of a node's own daemons are in other namespaces, until its autoscaler removes it.
        assert [one for one in simulated.objects(resource) if one["metadata"]["namespace"] == "default"] == []
    assert store.ledger.open_entries() == []
    assert any(line.startswith("Deleting RayService llm-model-serve in cluster:demo/default (trial") for line in told)
    again = reaped(results_db)
    assert (again.clean, again.deleted) == (True, ())


def test_a_lost_store_leaves_no_service_behind(simulated: BackgroundCluster, results_db: Path) -> None:
    """The file is gone: the labels are identity enough for what expired. It is deleted, and never called clean."""
    abandoned_trial(simulated)
    results_db.unlink()
    done = reaped(results_db)
    assert [item.name for item in done.deleted] == [NAME]
    assert simulated.names("rayservices") == []
    assert not done.clean
    assert "results store" in {item.place for item in done.survey.unknown}


def test_a_trial_that_begins_between_the_look_and_the_delete_keeps_its_own(
    simulated: BackgroundCluster, store: ResultsStore, results_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is read again right before the deletion."""
    abandoned_trial(simulated)
    end_entries(results_db)
    asked = delete_thing

    async def late(*args: Any, **fields: Any) -> bool:
        await asyncio.to_thread(_take_lock_again, simulated)
        return await asked(*args, **fields)

    monkeypatch.setattr("airflow_llm_provisioning.reaping.reap.delete_thing", late)
    done = reaped(results_db, wait_s=0)
    assert simulated.names("rayservices") == [NAME]
    assert done.deleted == ()


def _take_lock_again(simulated: BackgroundCluster) -> None:
    now = simulated.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": "nightly/run-1/demo", "leaseDurationSeconds": 3600, "renewTime": now}
    if not simulated.names("leases"):
        simulated.create("leases", {"metadata": {"name": LOCK, "namespace": "default"}, "spec": spec})


def test_two_reapers_and_the_trials_own_teardown_at_once(
    simulated: BackgroundCluster, store: ResultsStore, results_db: Path
) -> None:
    """All three end well, and the row is written."""
    trial = open_trial()
    apply(trial)
    closing_task = asyncio.to_thread(close_trial, trial, context())
    targets = (simulated_target(),)

    async def together() -> list[Any]:
        one = reap(targets, url(results_db), pause_s=0.1, wait_s=20)
        other = reap(targets, url(results_db), pause_s=0.1, wait_s=20)
        return list(await asyncio.gather(closing_task, one, other))

    row, *_ = asyncio.run(together())
    assert row["trial_id"] == trial["trial_id"]
    assert reaped(results_db).clean
    assert store.ledger.open_entries() == []
    assert simulated.names("leases") == []


def test_a_copied_label_is_reported_and_left(
    simulated: BackgroundCluster, store: ResultsStore, results_db: Path
) -> None:
    """A Secret, a ConfigMap, a bare pod and a second RayService with the labels of the trial: none is deleted."""
    trial = abandoned_trial(simulated)
    end_entries(results_db)
    labels = trial["opened"]["labels"]
    for resource, kind in (("secrets", "Secret"), ("configmaps", "ConfigMap"), ("persistentvolumeclaims", "PVC")):
        simulated.create(
            resource, {"metadata": {"name": f"theirs-{kind.lower()}", "namespace": "default", "labels": labels}}
        )
    done = reaped(results_db)
    assert [item.kind for item in done.deleted] == ["RayService"]
    assert sorted(item.name for item in done.unrecorded) == ["theirs-configmap", "theirs-pvc", "theirs-secret"]
    assert "3 with our label that no ledger entry or run identity fits" in done.sentence()
    assert simulated.names("secrets") == ["theirs-secret"]


def test_a_label_that_was_removed_by_hand_is_never_clean(
    simulated: BackgroundCluster, store: ResultsStore, results_db: Path
) -> None:
    """The ledger names the object, and it does not say that it is ours: reported, not deleted."""
    abandoned_trial(simulated)
    end_entries(results_db)
    labels = {LABEL_TRIAL: None, LABEL_MANAGED_BY: None}
    edit(simulated, "rayservices", NAME, dict(labels))
    done = reaped(results_db)
    assert not done.clean
    (item,) = [item for item in done.survey.unknown if item.kind == "RayService"]
    assert "does not carry our label" in item.why
    assert simulated.names("rayservices") == [NAME]


def test_a_place_that_cannot_be_listed_is_unknown(
    simulated: BackgroundCluster, store: ResultsStore, results_db: Path
) -> None:
    """Forbidden to list pods: the cluster's sentence, never clean, and no entry is closed as vanished."""
    simulated.fault("forbidden", ["list:pods"])
    store.ledger.intend("pod", "llm-warm-x", "cluster:demo/default", {}, datetime(2026, 1, 1, tzinfo=UTC))
    done = reaped(results_db)
    assert not done.clean
    told = " ".join(item.why for item in done.survey.unknown)
    assert "list pods" in told
    assert len(store.ledger.open_entries()) == 1


def test_an_old_backup_of_the_ledger_closes_what_is_long_gone(
    simulated: BackgroundCluster, store: ResultsStore, results_db: Path
) -> None:
    """Its open entry has no object any more: vanished, and closed, because the place was listed."""
    labels = {"llm-provisioning/target": "plain"}
    store.ledger.intend("rayservice", "old", "cluster:demo/default", labels, datetime(2026, 1, 1, tzinfo=UTC))
    done = reaped(results_db)
    assert [(item.name, str(item.state)) for item in done.closed] == [("old", "vanished")]
    assert done.clean
    assert store.ledger.open_entries() == []


def test_a_store_that_cannot_be_written_is_said(
    simulated: BackgroundCluster, store: ResultsStore, results_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone is gone; its entry stays open, and it is not clean."""
    # SQLAlchemy takes such a name for a folder too.
    monkeypatch.chdir(results_db.parent)
    labels = {"llm-provisioning/target": "plain"}
    store.ledger.intend("rayservice", "old", "cluster:demo/default", labels, datetime(2026, 1, 1, tzinfo=UTC))
    read_only = f"sqlite:///file:{results_db}?mode=ro&uri=true"
    done = asyncio.run(reap((simulated_target(),), read_only, pause_s=0.1, wait_s=60))
    assert not done.clean
    assert "1 ledger entries of what is gone could not be closed" in done.sentence()
    assert len(store.ledger.open_entries()) == 1
