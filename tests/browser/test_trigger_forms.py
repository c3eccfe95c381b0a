"""The forms of the shipped DAGs in a real browser, on a real Airflow: each can be submitted as it opens."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headless_chromium import Page, chromium, page

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "demo"))

from stack import Airflow, airflow, simulator  # noqa: E402 - a script's module, found only now
from ui import write_experiment  # noqa: E402

pytestmark = [
    pytest.mark.scheduler,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(chromium() is None, reason="no browser: install chromium"),
]

WITH_FORMS = ("single_trial", "simulated_demo")
BUTTON = """[...document.querySelectorAll('[role=dialog] button, form button')]
    .filter(button => button.innerText.trim() === 'Trigger')"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Run Airflow with the shipped DAGs and a simulated EKS, as `make ui` does."""
    home = tmp_path_factory.mktemp("ui")
    experiment = {"AIRFLOW__LLM_PROVISIONING__EXPERIMENT_FILE": str(write_experiment(home, "eks"))}
    with (
        simulator(home, clouds="eks", speed=200.0, seed=1) as connections,
        airflow(home, connections | experiment, clouds="eks") as started,
    ):
        yield started


def with_params(running: Airflow) -> set[str]:
    """Return the DAGs that have a form with fields, as soon as all shipped DAGs are known."""
    shipped = {path.stem for path in (ROOT / "airflow_llm_provisioning" / "example_dags").glob("*.py")}
    known: dict[str, Any] = {}
    while not shipped <= known.keys():
        known = {dag["dag_id"]: dag for dag in running.call("GET", "/api/v2/dags?limit=100")["dags"]}
    return {dag_id for dag_id in known if running.call("GET", f"/api/v2/dags/{dag_id}/details")["params"]}


async def submitted(tab: Page, running: Airflow, dag_id: str) -> None:
    """Open the form of a DAG, change nothing, and submit it."""
    await tab.open(f"{running.url}/dags/{dag_id}")
    opener = "[...document.querySelectorAll('button')].find(button => button.innerText.trim() === 'Trigger')"
    await tab.until(f"!!({opener})", f"the button that opens the form of {dag_id}")
    await tab.value(f"({opener}).click()")
    await tab.until(f"{BUTTON}.length === 1", f"the form of {dag_id}")
    await tab.until(f"!{BUTTON}[0].disabled", f"an enabled button in the form of {dag_id}")
    await tab.value(f"{BUTTON}[0].click()")


def first_run(running: Airflow, dag_id: str) -> dict[str, Any]:
    """Return the DAG run that the form started, as soon as its first task has ended."""
    while True:
        runs = running.call("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        if runs:
            path = f"/api/v2/dags/{dag_id}/dagRuns/{runs[0]['dag_run_id']}/taskInstances"
            states = {task["task_id"]: task["state"] for task in running.call("GET", path)["task_instances"]}
            if {"success", "failed", "deferred"} & set(states.values()):
                return {**runs[0], "tasks": states}
        assert running.alive(), running.log.read_text(encoding="utf-8", errors="replace")[-3000:]


async def test_every_form_can_be_submitted_as_it_opens(running: Airflow, tmp_path: Path) -> None:
    """The button is enabled without a change, the run starts, and a field that was left empty counts as not given.

    Airflow's form counts an empty field of a parameter without the type `null` as missing and disables its button
    (Airflow 3.3).
    """
    assert await asyncio.to_thread(with_params, running) == set(WITH_FORMS)
    async with page(tmp_path) as tab:
        for dag_id in WITH_FORMS:
            await submitted(tab, running, dag_id)
            run = await asyncio.to_thread(first_run, running, dag_id)
            assert "failed" not in run["tasks"].values(), (dag_id, run["tasks"])
            empty = {"single_trial": ("model", "image"), "simulated_demo": ("seed",)}[dag_id]
            assert [run["conf"].get(name) for name in empty] == [None] * len(empty), run["conf"]
