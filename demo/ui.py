"""`make ui`: Airflow's pages on this machine with the shipped DAGs and simulated clouds, until Ctrl-C."""

import argparse
import os
import shutil
import socket
import sys
import time
import webbrowser
from pathlib import Path

import yaml
from stack import EXPERIMENT, ROOT, Airflow, airflow, interrupt_on_signals, remember_store, say, simulator

PREPARATION = "prepare_targets"
# The page of this package in Airflow's own pages.
PAGE = "/plugin/llm-deployments"


def main() -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", default="eks,gke,aks")
    parser.add_argument("--speed", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--prepare", type=int, choices=(0, 1), default=1)
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "ui")
    options = parser.parse_args()
    if in_use(options.port):
        say(f"Port {options.port} of 127.0.0.1 is in use: stop that process, or use another port: make ui PORT=8081")
        return 1
    home = new_home(options.home.resolve())
    interrupt_on_signals()
    remember_store(home)
    try:
        with simulator(home, clouds=options.clouds, speed=options.speed, seed=options.seed) as simulator_environment:
            experiment = {"AIRFLOW__LLM_PROVISIONING__EXPERIMENT_FILE": str(write_experiment(home, options.clouds))}
            with airflow(home, simulator_environment | experiment, clouds=options.clouds, port=options.port) as running:
                say(f"\n    {running.url}{PAGE}\n\nNo login. Everything is stored in {home}; Ctrl-C stops it.")
                open_browser(f"{running.url}{PAGE}")
                say(f"The results as tables: {Path(sys.prefix) / 'bin' / 'llm-provisioning'} results")
                if options.prepare:
                    prepare(running)
                else:
                    say(f"Trigger {PREPARATION} before a trial of a variant with its own image.")
                while running.alive():
                    time.sleep(1)
                say(f"Airflow has stopped; see {running.log}")
                return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 0


def open_browser(address: str) -> None:
    """Open the page in the browser of this desktop, where there is one."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def prepare(running: Airflow) -> None:
    """Prepare every simulated target, so that a trial from the form finds its image, snapshot and nodes."""
    run_id = running.trigger(PREPARATION)
    say(f"Preparing the targets (DAG {PREPARATION}); a manual trial of an unprepared target fails with a message.")
    while running.alive():
        state = str(running.call("GET", f"/api/v2/dags/{PREPARATION}/dagRuns/{run_id}")["state"])
        if state == "success":
            say("Prepared: start a trial from Targets, or trigger the DAG `simulated_demo` (the whole experiment).")
            return
        if state == "failed":
            say(f"The preparation failed: look at {running.url}/dags/{PREPARATION}/runs/{run_id}")
            return
        time.sleep(2)


def write_experiment(home: Path, clouds: str) -> Path:
    """Write the simulated experiment with the targets of these clouds only, so that the form offers only them."""
    wanted = {cloud.strip() for cloud in clouds.split(",")}
    experiment = yaml.safe_load(EXPERIMENT.read_text(encoding="utf-8"))
    experiment["targets"] = [target for target in experiment["targets"] if target["nodes"]["cloud"] in wanted]
    path = home / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment, sort_keys=False), encoding="utf-8")
    return path


def new_home(home: Path) -> Path:
    """Return an empty folder and keep one earlier folder: simulated clouds keep no state, so old preparations are
    invalid.
    """
    if home.exists():
        previous = home.with_name(f"{home.name}-previous")
        shutil.rmtree(previous, ignore_errors=True)
        home.rename(previous)
    home.mkdir(parents=True)
    return home


def in_use(port: int) -> bool:
    """Return whether a process listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
