"""The shipped DAG `reap` under a scheduler: what is there for it, who unpauses it, and what came of its runs."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from airflow_components import until
from stack import DAGS, Airflow
from watched_cluster import WatchedCluster

from airflow_llm_provisioning.core.prepared_objects import PreparedObjects
from airflow_llm_provisioning.gateways.store import ResultsStore

EXPERIMENT: Final = "stack"
REAP: Final = "/api/v2/dags/reap"
# Longer than a run of it takes; the file is parsed some seconds after the start.
LIMIT_S: Final = 300.0


def dags_folder(home: Path) -> Path:
    """Make a folder of DAGs: the trials of one experiment of these tests, and the shipped reaper."""
    ours, folder = Path(__file__).parent / "dags", home / "dags"
    (folder / "experiments").mkdir(parents=True)
    shutil.copy(ours / "chaos_nights.py", folder)
    shutil.copy(ours / "experiments" / f"{EXPERIMENT}.yaml", folder / "experiments")
    shutil.copy(DAGS / "reap.py", folder)
    return folder


def settings(folder: Path) -> dict[str, str]:
    """Return Airflow's settings: its DAGs, and the experiment whose places are reaped."""
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__LLM_PROVISIONING__EXPERIMENT_FILE": str(folder / "experiments" / f"{EXPERIMENT}.yaml"),
    }


@dataclass(frozen=True)
class ReapRun:
    """One run, and the ConfigMaps and open entries of the ledger after it. `deleted`: what its tasks told."""

    run: Mapping[str, Any]
    tasks: list[dict[str, Any]]
    deleted: list[dict[str, Any]]
    config_maps: list[str]
    open_entries: list[str]


@dataclass(frozen=True)
class Reaped:
    """What was seen. `before`, `after`: the DAG before it was unpaused and when its first run was over; `early`: its
    runs before. `beside`: the run that began while a trial ran; `later`: one that a user started after the trial.
    """

    expired: str
    kept: str
    foreign: str
    before: Mapping[str, Any]
    early: int
    after: Mapping[str, Any]
    beside: ReapRun
    later: ReapRun


class ReapedBesideATrial:
    """One expired object, one that is not, and another owner's; then `unpaused` and `result`."""

    def __init__(self, cluster: WatchedCluster, airflow: Airflow, store: ResultsStore) -> None:
        self._cluster, self._airflow = cluster, airflow
        self._names = {name: _config_map(cluster, store, name, year) for name, year in _EXPIRES.items()}
        note = {**_NOTE, "metadata": {"name": "theirs", "namespace": "default"}}
        cluster.cluster.create("configmaps", note)
        until(self._known, LIMIT_S, "Airflow knows the DAG reap")

    def unpaused(self) -> None:
        """Unpause it, as a user does, some time after Airflow first had it."""
        self._before = self._airflow.call("GET", f"{REAP}/details")
        self._early = len(self._runs())
        self._airflow.call("PATCH", REAP, {"is_paused": False})

    def result(self, store: ResultsStore) -> Reaped:
        """Wait until its run is over, start another one, pause it again, and return what came of both."""
        (scheduled,) = self._ended(1)
        after = self._airflow.call("GET", f"{REAP}/details")
        beside = self._seen(scheduled, store)
        self._airflow.trigger("reap")
        (manual,) = [run for run in self._ended(2) if run["dag_run_id"] != scheduled["dag_run_id"]]
        self._airflow.call("PATCH", REAP, {"is_paused": True})
        return Reaped(
            expired=self._names["expired"],
            kept=self._names["kept"],
            foreign="theirs",
            before=self._before,
            early=self._early,
            after=after,
            beside=beside,
            later=self._seen(manual, store),
        )

    def _seen(self, run: Mapping[str, Any], store: ResultsStore) -> ReapRun:
        path = f"{REAP}/dagRuns/{run['dag_run_id']}/taskInstances"
        tasks = self._airflow.call("GET", path)["task_instances"]
        told = [
            self._airflow.call("GET", f"{path}/reap_place/xcomEntries/return_value?map_index={task['map_index']}")
            for task in tasks
            if task["map_index"] >= 0 and task["state"] == "success"
        ]
        return ReapRun(
            run=run,
            tasks=tasks,
            deleted=[item for answer in told for item in answer["value"]["deleted"]],
            config_maps=self._cluster.cluster.names("configmaps"),
            open_entries=[entry.name for entry in store.ledger.open_entries()],
        )

    def _ended(self, count: int) -> list[dict[str, Any]]:
        def ended() -> bool:
            runs = self._runs()
            return len(runs) == count and all(run["state"] in ("success", "failed") for run in runs)

        until(ended, LIMIT_S, f"{count} runs of reap have ended")
        return self._runs()

    def _known(self) -> bool:
        try:
            self._airflow.call("GET", REAP)
        except OSError:
            time.sleep(1)
            return False
        return True

    def _runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._airflow.call("GET", f"{REAP}/dagRuns")["dag_runs"]
        return found


_NOTE: Final[Mapping[str, Any]] = {"apiVersion": "v1", "kind": "ConfigMap"}
_EXPIRES: Final[Mapping[str, int]] = {"expired": 2026, "kept": 2999}


def _config_map(cluster: WatchedCluster, store: ResultsStore, name: str, year: int) -> str:
    """Create a prepared object that expires in January of a year, with its entry in the ledger; return its name."""
    until_at = datetime(year, 1, 1, tzinfo=UTC)
    made = PreparedObjects(treatment="kept_warm", objects=({**_NOTE, "data": {"is": name}},), ready={})
    (manifest,) = made.placed(EXPERIMENT, "default", until_at)
    found: str = manifest["metadata"]["name"]
    place = f"cluster:{cluster.name}/default"
    store.ledger.intend("configmap", found, place, manifest["metadata"]["labels"], until_at)
    cluster.cluster.create("configmaps", manifest)
    return found
