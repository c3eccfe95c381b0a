"""Runs the reaper against the simulated cluster and the results store of a test."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import apply, open_trial

from airflow_llm_provisioning.core.names import LABEL_EXPIRES
from airflow_llm_provisioning.core.owned import OwnedThing
from airflow_llm_provisioning.reaping.owned import survey
from airflow_llm_provisioning.reaping.reap import Reaped, reap

LOCK = "llm-provisioning-trial"


def url(results_db: Path) -> str:
    return f"sqlite:///{results_db}"


def listed(results_db: Path | None, *targets: Any) -> dict[tuple[str, str], OwnedThing]:
    """Return what is ours, by kind and name."""
    found = asyncio.run(survey(targets or (simulated_target(),), url(results_db) if results_db else None))
    return {(item.kind, item.name): item for item in found.items}


def reaped(results_db: Path | None, *targets: Any, **fields: Any) -> Reaped:
    """Reap until it ends; it looks again at once."""
    given = {"pause_s": 0.1, "wait_s": 60.0, **fields}
    return asyncio.run(reap(targets or (simulated_target(),), url(results_db) if results_db else None, **given))


def abandoned_trial(simulated: BackgroundCluster, *, expired: bool = True) -> dict[str, Any]:
    """A trial whose DAG died after apply: nothing closes it. Its lock has ended; `expired`: and it has expired."""
    trial: dict[str, Any] = open_trial()
    apply(trial)
    simulated.until(lambda: bool(simulated.objects("pods", "default")))
    simulated.call(lambda: simulated.simulated.store.delete("leases", LOCK, "default"))
    if expired:
        expire(simulated, "rayservices", trial["opened"]["rayservice"])
    return trial


def expire(simulated: BackgroundCluster, resource: str, name: str, value: str = "20260101T000000Z") -> None:
    """Write another expiry on an object, as time does, or an edit by hand."""
    edit(simulated, resource, name, {LABEL_EXPIRES: value})


def edit(simulated: BackgroundCluster, resource: str, name: str, labels: dict[str, str | None]) -> None:
    """Change labels of an object by hand."""

    def change(item: dict[str, Any]) -> None:
        for key, value in labels.items():
            item["metadata"]["labels"].pop(key, None)
            if value is not None:
                item["metadata"]["labels"][key] = value

    simulated.call(lambda: simulated.simulated.store.mutate(resource, name, "default", change, manager="somebody"))


def end_entries(results_db: Path) -> None:
    """Move the expiry of the ledger's entries to the past, as time does."""
    with closing(sqlite3.connect(results_db)) as database, database:
        database.execute("UPDATE llmp_ledger SET expires_at = '2026-01-01 00:00:00'")
