"""Whole DAG runs without a scheduler: Airflow runs the tasks one after the other in a process of its own."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.core.prepared_objects import PreparedObjects
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.gateways.store.results import ResultsStore

HERE = Path(__file__).parent

NIGHT = """
from datetime import UTC, datetime
from airflow.sdk import DAG
from cluster_in_background import simulated_target
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.dag_factory import trials

here = simulated_target(variants=["baseline"])
gone = simulated_target(name="gone", cluster="gone", conn_id="nowhere", variants=["baseline"])
with DAG("night", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    trials(Experiment("night", (here, gone), setups=(ScalingSetup.DYNAMIC,), replicates=2), seed=3)
"""
BY_HAND = """
from datetime import UTC, datetime
from airflow.sdk import DAG
from cluster_in_background import simulated_target
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.dag_factory import single_trial, single_trial_params

experiment = Experiment("any", (simulated_target(),))
with DAG("hand", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), params=single_trial_params(experiment)):
    single_trial(experiment)
"""


OWN = """
from dataclasses import replace
from datetime import UTC, datetime
from airflow.sdk import DAG
from cluster_in_background import simulated_target
from airflow_llm_provisioning.dag_factory import load_experiment, trials

shipped = load_experiment(EXAMPLE)
experiment = replace(shipped, targets=(simulated_target(variants=["baseline", "fast_download"]),))
with DAG("own", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    trials(experiment, seed=1)
"""
EXAMPLE = HERE.parent / "airflow_llm_provisioning" / "example_dags" / "experiments" / "own_manifest.yaml"


NOTE: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap"}
# The shipped DAG, with an experiment of its own.
REAP = HERE.parent / "airflow_llm_provisioning" / "example_dags" / "reap.py"
REAPED = """
name: reaped
workloads: {phi3-2025: {profile: phi3-2025}}
targets:
  - name: reaped
    cluster: demo
    conn_id: sim
    variants: [baseline]
    nodes:
      cloud: eks
      autoscaler: luna
      kubernetes_minor: "1.34"
      gpu_skus: [L4]
      options: {api_server: "https://demo.simulated", cluster_certificate: Q0E=}
"""


class AirflowProcess:
    """An Airflow in one process, with the DAGs of these tests, and the results store that they share."""

    def __init__(self, home: Path) -> None:
        folder = home / "dags"
        folder.mkdir()
        example = f"__import__('pathlib').Path({str(EXAMPLE)!r})"
        for name, text in (("night", NIGHT), ("hand", BY_HAND), ("own", OWN.replace("EXAMPLE", example))):
            (folder / f"{name}.py").write_text(text)
        (folder / "reap.py").write_text(REAP.read_text())
        (home / "reaped.yaml").write_text(REAPED)
        self._store, self._said = home / "llm_provisioning" / "results.db", home / "said.txt"
        env = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW__LLM_PROVISIONING__EXPERIMENT_FILE": str(home / "reaped.yaml"),
            "PYTHONPATH": str(HERE),
            # No server listens there: the profile's pinned model serves.
            "HF_ENDPOINT": "http://127.0.0.1:9",
        }
        with self._said.open("w") as said:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-W", "ignore", str(HERE / "dag_runs.py"), str(folder)],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def intend(self, objects: Mapping[str, tuple[Mapping[str, Any], datetime]]) -> None:
        """Write the ledger's intents of ConfigMaps: name -> (manifest, when it expires)."""
        store = ResultsStore.open(f"sqlite:///{self._store}")
        for name, (item, until) in objects.items():
            store.ledger.intend("configmap", name, "cluster:demo/default", item["metadata"]["labels"], until)
        store.close()

    def run(
        self, dag_id: str, there: Mapping[str, Any] | None = None, **conf: Any
    ) -> tuple[dict[str, Any], ResultsStore, list[TrialResult]]:
        """Return what came of a DAG run, the results store, and the rows of the run's trials. `there`: objects that the
        cluster has before, by resource.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"dag_id": dag_id, "conf": conf, "there": there or {}}) + "\n")
        self.process.stdin.flush()
        answer = next((line for line in self.process.stdout if line.startswith("RESULT ")), None)
        assert answer is not None, self._said.read_text()[-3000:]
        found: dict[str, Any] = json.loads(answer.removeprefix("RESULT "))
        assert found["errors"] == {}
        store = ResultsStore.open(f"sqlite:///{self._store}")
        return found, store, store.trials(run_id=found["run_id"])


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowProcess]:
    """Start the Airflow that runs these tests' DAGs."""
    started = AirflowProcess(tmp_path_factory.mktemp("airflow"))
    with started.process:
        yield started
        # It has nothing to keep.
        started.process.kill()


def test_a_night_goes_on_after_failed_trials_and_ends_failed(airflow: AirflowProcess) -> None:
    """One cluster has no connection: each of its trials fails as a row of its own, the other cluster's trials succeed,
    the table is made, and the run is failed. Nothing is left.
    """
    found, store, rows = airflow.run("night")
    states = found["states"]
    assert found["state"] == "failed"
    assert (states["plan"], states["compare"], states["judge"]) == ("success", "success", "failed")
    for slot in ("00", "01"):
        assert states[f"gone.trial_{slot}.open"] == "failed"
        assert found["tries"][f"gone.trial_{slot}.open"] == 1
        assert states[f"gone.trial_{slot}.close"] == "upstream_failed"
        assert {states[f"demo.trial_{slot}.{name}"] for name in ("open", "apply", "wait", "close")} == {"success"}
    assert found["left"] == []
    assert sorted((row.trial.slot.cluster, str(row.status), row.start) for row in rows) == [
        ("demo", "succeeded", "cold"),
        ("demo", "succeeded", "cold"),
        ("gone", "failed", "unknown"),
        ("gone", "failed", "unknown"),
    ]
    assert {row.trial.slot.seed for row in rows} == {3}
    table = store.comparison(rows[0].trial.slot.run_id)
    assert {(row["origin"], row["n"], row["trials"]) for row in table} == {("simulated", 2, 2), ("unknown", 0, 2)}
    store.close()


def test_a_trial_by_hand_runs_the_cell_of_the_form(airflow: AirflowProcess) -> None:
    """The form's choices reach the trial; its row belongs to the experiment of trials by hand."""
    found, store, rows = airflow.run("hand", setup="static", variant="fast_download", time_limit_s=5000)
    assert (found["state"], set(found["states"].values())) == ("success", {"success"})
    # In the list of a run's tasks, each task of the trial names its cell.
    cell = "plain/phi3-2025/static/fast_download"
    assert {found["labels"][name] for name in ("open", "apply", "wait", "close")} == {cell}
    assert found["labels"]["plan"] is None
    (row,) = rows
    assert (row.trial.slot.experiment, row.arm.variant, row.arm.stratum.setup) == ("by-hand", "fast_download", "static")
    assert row.applied == "applied"
    store.close()


def test_a_users_manifest_is_measured_beside_a_built_in_workload(airflow: AirflowProcess) -> None:
    """One DAG, two workloads, two variants: four cold trials, each verified, in two strata. The user's own names, chat
    template and volume are in what was applied, and no manifest went through XCom.
    """
    found, store, rows = airflow.run("own")
    assert (found["state"], set(found["states"].values())) == ("success", {"success"})
    assert {(row.arm.stratum.workload, row.arm.variant, row.start, row.exclusion) for row in rows} == {
        (workload, variant, "cold", None)
        for workload in ("phi3-current", "mine")
        for variant in ("baseline", "fast_download")
    }
    assert len({row.arm.stratum for row in rows}) == 2
    assert {row.trial.opened.rayservice for row in rows if row.trial.opened} == {"llm-model-serve", "my-llm"}
    own = next(row for row in rows if row.arm.stratum.workload == "mine" and row.arm.variant == "baseline")
    assert own.completion_s is not None
    trace = b"".join(gzip.decompress(chunk) for chunk in store.trace(own.trial_id)).decode()
    assert "message['content']" in trace
    assert '"mountPath":"/scratch"' in trace
    table = store.comparison(rows[0].trial.slot.run_id)
    assert [row["n"] for row in table] == [1, 1, 1, 1]
    store.close()


def test_the_reaper_deletes_what_expired_and_nothing_else(airflow: AirflowProcess) -> None:
    """The shipped DAG `reap`: its task lists the places, one mapped task each deletes, and the list that it keeps says
    what was deleted. What was not expired and what is another owner's are there afterwards.
    """
    dates = [datetime(year, 1, 1, tzinfo=UTC) for year in (2026, 2999)]
    expired, kept = (
        PreparedObjects(treatment="kept_warm", objects=({**NOTE, "data": {"at": str(at)}},), ready={}).placed(
            "reaped", "default", at
        )[0]
        for at in dates
    )
    airflow.intend({item["metadata"]["name"]: (item, at) for item, at in zip((expired, kept), dates, strict=True)})
    theirs = {**NOTE, "metadata": {"name": "theirs", "namespace": "default"}}
    found, store, _ = airflow.run("reap", {"configmaps": [expired, kept, theirs]})
    assert (found["state"], found["states"]) == ("success", {"places": "success", "reap_place": "success"})
    (_, places), *told = found["results"]
    assert [place["name"] for place in places] == ["cluster:demo/default", "cluster:demo"]
    assert [(name, told["clean"], len(told["deleted"])) for name, told in told] == [
        ("reap_place", True, 1),
        ("reap_place", True, 0),
    ]
    (gone,) = told[0][1]["deleted"]
    assert (gone["kind"], gone["name"]) == ("ConfigMap", expired["metadata"]["name"])
    assert {kept["metadata"]["name"], "theirs"} <= set(found["kept"]["configmaps"])
    assert expired["metadata"]["name"] not in found["kept"]["configmaps"]
    assert {entry.name for entry in store.ledger.open_entries()} >= {kept["metadata"]["name"]}
    assert expired["metadata"]["name"] not in {entry.name for entry in store.ledger.open_entries()}
    store.close()
