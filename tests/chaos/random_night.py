"""A random night: processes of a real Airflow are killed at random instants while trials run, and restarted at once, as
a supervisor would. One JSON line says what came of it.

python tests/chaos/random_night.py [--seconds 600] [--kills 200] [--seed 1] [--home build/night]
"""

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demo"))

from airflow_components import AirflowComponents, until
from cases import ChaosRun
from cluster_in_background import kubernetes_connection
from watched_cluster import WatchedCluster

ROOT: Final = Path(__file__).resolve().parents[2]
DAG_ID: Final = "chaos_night"
CLUSTERS: Final = {"worker": "eks", "triggerer": "gke", "user": "aks"}
VICTIMS: Final = ("scheduler", "triggerer", "api-server", "dag-processor", "worker", "worker")
FINISHED: Final = ("success", "failed")
# After the last kill: what was interrupted is noticed, repeated and closed.
LAST_RUN_S: Final = 1800.0
_AWAY: Final = (OSError, http.client.HTTPException, ValueError, KeyError)


class Night:
    """Kills at random instants until `stop`; the DAG is run again and again meanwhile."""

    def __init__(self, run: ChaosRun, *, seconds: float, kills: int, seed: int) -> None:
        self._run, self._seconds, self._planned = run, seconds, kills
        self._rng = random.Random(seed)
        self.kills: dict[str, int] = {}
        self.most_at_once = 0
        self._over = threading.Event()

    def pass_by(self) -> None:
        """Let the night pass: begin runs one after the other, kill, and wait for the last run's end."""
        watching = threading.Thread(target=self._count, daemon=True)
        killing = threading.Thread(target=self._kill, daemon=True)
        began = time.monotonic()
        watching.start()
        killing.start()
        while time.monotonic() - began < self._seconds:
            run_id = str(_again(lambda: self._run.begin(DAG_ID)))
            ends = min(self._seconds - (time.monotonic() - began), LAST_RUN_S)
            with suppress(TimeoutError):
                until(partial(self._ended, run_id), ends, f"{run_id} ended")
        killing.join()
        for run_id in self._run.runs[DAG_ID]:
            until(partial(self._ended, run_id), LAST_RUN_S, f"{run_id} ended")
        self._over.set()
        watching.join()

    def _ended(self, run_id: str) -> bool:
        with suppress(*_AWAY):
            return self._run.airflow.run_state(DAG_ID, run_id) in FINISHED
        return False

    def _kill(self) -> None:
        ends = time.monotonic() + self._seconds
        for number in range(self._planned):
            left = ends - time.monotonic()
            pause = self._rng.expovariate((self._planned - number) / left) if left > 0 else 0.0
            time.sleep(min(pause, max(0.0, left)))
            if time.monotonic() > ends:
                return
            self._kill_one(self._rng.choice(VICTIMS))

    def _kill_one(self, victim: str) -> None:
        airflow = self._run.airflow
        workers = airflow.workers() if victim == "worker" else []
        if victim == "worker" and not workers:
            # The scheduler has just begun: another process dies in its place.
            victim = self._rng.choice([name for name in VICTIMS if name != "worker"])
        if victim == "worker":
            with suppress(ProcessLookupError):
                os.kill(self._rng.choice(workers), signal.SIGKILL)
        else:
            airflow.kill(victim)
            airflow.start(victim)
        self.kills[victim] = self.kills.get(victim, 0) + 1

    def _count(self) -> None:
        while not self._over.wait(0.25):
            for cluster in self._run.clusters.values():
                self.most_at_once = max(self.most_at_once, len(cluster.cluster.names("rayservices")))


def figures(run: ChaosRun, night: Night) -> dict[str, Any]:
    """Return what came of a night."""
    rows = {name: run.rows(name) for name in run.clusters}
    planned = {(name, run_id, slot) for name in run.clusters for run_id in run.runs[DAG_ID] for slot in range(2)}
    slots = [(name, row.trial.slot.run_id, row.trial.slot.number) for name, found in rows.items() for row in found]
    per_trial = [number for cluster in run.clusters.values() for number in cluster.of_each_trial().values()]
    totals = {name: sorted(row.total_s for row in found if row.total_s is not None) for name, found in rows.items()}
    return {
        "kills": sum(night.kills.values()),
        "by_process": night.kills,
        "trials_planned": len(planned),
        "rows": len(slots),
        "rows_missing": len(planned - set(slots)),
        "rows_doubled": len(slots) - len(set(slots)),
        "status": {
            str(row.status): sum(str(one.status) == str(row.status) for found in rows.values() for one in found)
            for found in rows.values()
            for row in found
        },
        "rayservices_at_once_max": night.most_at_once,
        "rayservices_of_a_trial_max": max(per_trial, default=0),
        "left": sum(len(cluster.left()) for cluster in run.clusters.values()),
        "ledger_open": len(run.open_entries()),
        "total_spread_s": {name: round(found[-1] - found[0], 3) for name, found in totals.items() if found},
    }


def _again(work: Callable[[], Any]) -> Any:
    """Repeat a call to the REST API, whose server may just have been killed."""
    ends = time.monotonic() + LAST_RUN_S
    while True:
        try:
            return work()
        except _AWAY:
            if time.monotonic() > ends:
                raise
            time.sleep(1.0)


def main() -> int:
    """Run one night; the exit code is 1 where something was lost, doubled or left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "night")
    asked = parser.parse_args()
    shutil.rmtree(asked.home, ignore_errors=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        clusters = {
            name: stack.enter_context(WatchedCluster(name, cloud, compile_s=20)) for name, cloud in CLUSTERS.items()
        }
        connections = {
            f"AIRFLOW_CONN_CHAOS_{name.upper()}": kubernetes_connection(cluster.cluster.url)
            for name, cluster in clusters.items()
        }
        airflow = stack.enter_context(
            AirflowComponents(asked.home, connections | {"HF_ENDPOINT": "http://127.0.0.1:9"})
        )
        run = ChaosRun(airflow, clusters, lambda text: None)
        night = Night(run, seconds=asked.seconds, kills=asked.kills, seed=asked.seed)
        night.pass_by()
        told = figures(run, night)
    sys.stdout.write(json.dumps(told) + "\n")
    wrong = told["rows_missing"] or told["rows_doubled"] or told["left"] or told["ledger_open"]
    return int(bool(wrong or told["rayservices_at_once_max"] > 1 or told["rayservices_of_a_trial_max"] > 1))


if __name__ == "__main__":
    raise SystemExit(main())
