"""`make demo`: the whole experiment in a real Airflow on the simulator, then its tables, CSV and report."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from stack import (
    EXPERIMENT,
    ROOT,
    Airflow,
    airflow,
    interrupt_on_signals,
    remember_store,
    results_file,
    say,
    simulator,
)
from treated import set_operators, write_treated

from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.gateways.store.results import ResultsStore

DAG = "simulated_demo"
EXPERIMENT_NAME = "simulated-demo"
LIMIT_S = 3600.0
# A sweep takes minutes of both cores, and the same profiles give the same result, so it is not repeated in every demo.
SWEEP = ROOT / "docs" / "sweep.json"


def main() -> int:
    """Run everything; return 0 if every cell has its trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", default="eks,gke,aks")
    parser.add_argument("--speed", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--treatments", default="", help="`all`, names, `name@cloud`: further arms")
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "demo")
    options = parser.parse_args()
    home = options.home.resolve()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    began = time.monotonic()
    interrupt_on_signals()
    say(f"Simulated clouds: {options.clouds}; {options.speed:g} simulated seconds per real second; files are in {home}")
    experiment = EXPERIMENT
    if options.treatments:
        experiment = home / "experiment.yaml"
        try:
            for told in write_treated(experiment, options.clouds.split(","), options.treatments.split(",")):
                say(told)
        except ValueError as error:
            parser.error(str(error))
    with (
        simulator(
            home, clouds=options.clouds, speed=options.speed, seed=options.seed, experiment=experiment
        ) as simulator_environment,
        airflow(home, simulator_environment, clouds=options.clouds) as running,
    ):
        for told in set_operators(experiment, simulator_environment):
            say(told)
        say(f"Airflow is up at {running.url} after {time.monotonic() - began:.0f} s")
        run_id = running.trigger(DAG)
        state = follow(running, run_id, home)
    took_s = time.monotonic() - began
    write_results(home, run_id)
    remember_store(home)
    say(f"DAG run {run_id}: {state}, {took_s:.0f} s in total. All figures are SIMULATED.")
    return 0 if state == "success" else 1


def follow(running: Airflow, run_id: str, home: Path) -> str:
    """Print every trial when its row appears; return the DAG run's state."""
    store = ResultsStore.open(f"sqlite:///{results_file(home)}")
    seen: set[str] = set()
    prepared = 0
    deadline = time.monotonic() + LIMIT_S
    try:
        while time.monotonic() < deadline:
            run = running.call("GET", f"/api/v2/dags/{DAG}/dagRuns/{run_id}")
            steps = store.preparations()
            for step in steps[prepared:]:
                say(f"prepared {step.target:12} {step.verb:16} {step.seconds:7.0f} s")
            prepared = len(steps)
            for trial in store.trials(run_id=run_id):
                if trial.trial_id not in seen:
                    seen.add(trial.trial_id)
                    say(line(trial, len(seen)))
            if run["state"] in ("success", "failed"):
                return str(run["state"])
            time.sleep(2)
    finally:
        store.close()
    return "still running"


def line(trial: TrialResult, number: int) -> str:
    """Return one trial as a line of progress."""
    stratum = trial.arm.stratum
    cell = f"{stratum.cloud} {stratum.setup:7} {trial.arm.variant:13}"
    if trial.total_s is None:
        return f"trial {number:2}: {cell} {trial.status}: {trial.reason}"
    return f"trial {number:2}: {cell} {trial.total_s:7.1f} s  {trial.start}, treatments {trial.applied}"


def write_results(home: Path, run_id: str) -> None:
    """Write tables, CSV and report next to the database."""
    from airflow_llm_provisioning.report.page import write_report
    from airflow_llm_provisioning.report.tables import results_rows, written

    store = ResultsStore.open(f"sqlite:///{results_file(home)}")
    try:
        chosen = {"run_id": run_id, "experiment": EXPERIMENT_NAME}
        rows = results_rows(store, "comparison", chosen)
        sys.stdout.write("\n" + written(rows, "table") + "\n")
        costs = results_rows(store, "cost", chosen)
        sys.stdout.write("Cost and break-even (list prices, no bill):\n" + written(costs, "table") + "\n")
        (home / "costs.csv").write_text(written(costs, "csv"), encoding="utf-8")
        (home / "results.csv").write_text(written(rows, "csv"), encoding="utf-8")
        trials = results_rows(store, "trials", chosen)
        (home / "trials.csv").write_text(written(trials, "csv"), encoding="utf-8")
        write_report(home / "report.html", store, chosen, sweep=committed_sweep())
    finally:
        store.close()
    say(f"Report: {home / 'report.html'}; results: {results_file(home)}, {home / 'results.csv'}")


def committed_sweep() -> dict[str, Any] | None:
    """Return the sweep of this experiment in the repository; None if the profiles changed since."""
    from llm_provisioning_simulator.sweep import fingerprint

    if SWEEP.exists():
        found: dict[str, Any] = json.loads(SWEEP.read_text(encoding="utf-8"))
        if found["fingerprint"] == fingerprint(EXPERIMENT):
            return found
    say(f"{SWEEP} is absent or was made with other profiles, so the report has no sweep: run the sweep again.")
    return None


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("\nStopped.")
        sys.exit(130)
