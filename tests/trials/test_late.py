"""What a task creates after its trial was closed is deleted again, also while the results store is away."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cluster_in_background import kubernetes_connection
from kube_fake_api import fake_api
from trial_builders import a_planned_trial

from airflow_llm_provisioning.connections import open_cluster, open_store
from airflow_llm_provisioning.core.names import DEFAULT_STORE, LABEL_TRIAL
from airflow_llm_provisioning.core.trial import Access
from airflow_llm_provisioning.exceptions import ConnectionConfigError, StoreError
from airflow_llm_provisioning.trials import late

NAME = "llm-model-serve"


def the_trial(**changes: Any) -> Any:
    trial = replace(
        a_planned_trial("night-1"), access=Access(cluster={"conn_id": "sim"}, cloud=None, results_conn_id=DEFAULT_STORE)
    )
    opened = {"labels": {LABEL_TRIAL: "night-1"}, "at": datetime(2026, 1, 1, tzinfo=UTC), **changes}
    return replace(trial, opened=replace(trial.opened, **opened))


def take_back(trial: Any, labels: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, list[str]]:
    """Take a late RayService back; return the answer and what is there afterwards."""

    async def run() -> tuple[bool, list[str]]:
        async with fake_api() as api:
            monkeypatch.setenv("AIRFLOW_CONN_SIM", kubernetes_connection(api.url))
            if labels is not None:
                await api.put("rayservices", NAME, metadata={"labels": labels})
            async with open_cluster({"conn_id": "sim"}) as cluster:
                taken = await late.take_back(cluster, trial)
            return taken, [name for kind, _, name in api.objects if kind == "rayservices"]

    return asyncio.run(run())


def refuses(_conn_id: str) -> Any:
    raise StoreError("The results store is away.")


def is_not_defined(_conn_id: str) -> Any:
    raise ConnectionConfigError("The results store's Airflow connection was deleted.")


@pytest.mark.parametrize("store", [refuses, is_not_defined])
def test_it_is_deleted_while_the_store_is_away(store: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The store refuses, or its connection is gone: the GPU is not paid for meanwhile."""
    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", store)
    assert take_back(the_trial(), {LABEL_TRIAL: "night-1"}, monkeypatch) == (True, [])


def test_a_store_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is deleted while the store still swallows what it is asked."""
    deleted, answered = threading.Event(), []

    def swallows(_conn_id: str) -> Any:
        answered.append(deleted.wait(60))
        raise StoreError("It answers now.")

    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", swallows)
    monkeypatch.setattr(late, "STORE_LIMIT_S", 0.05)
    taken = take_back(the_trial(), {LABEL_TRIAL: "night-1"}, monkeypatch)
    assert (taken, answered) == ((True, []), [])
    deleted.set()


def test_the_ledger_says_so_where_the_store_answers(results_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry is opened anew, for the reaper to close."""
    assert take_back(the_trial(), {LABEL_TRIAL: "night-1"}, monkeypatch) == (True, [])
    store = open_store()
    assert [(entry.kind, entry.name) for entry in store.ledger.open_entries()] == [("rayservice", NAME)]
    store.close()


@pytest.mark.parametrize(
    ("labels", "own"),
    [
        ({LABEL_TRIAL: "night-2"}, "night-1"),
        ({LABEL_TRIAL: "Night-1"}, "night-1"),
        ({LABEL_TRIAL: ""}, "night-1"),
        ({LABEL_TRIAL: "night-"}, "night-1"),
        ({}, "night-1"),
        ({}, None),
        (None, "night-1"),
    ],
    ids=["another-trial", "another-case", "emptied", "truncated", "removed", "no-label-of-its-own", "gone"],
)
def test_what_is_not_the_trials_stays(
    results_db: Path, labels: dict[str, str] | None, own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object of that name whose label is not the trial's is another owner's; nothing is written of it."""
    trial = the_trial(labels={} if own is None else {LABEL_TRIAL: own})
    assert take_back(trial, labels, monkeypatch) == (False, [] if labels is None else [NAME])
    assert not results_db.exists()
