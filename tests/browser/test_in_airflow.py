"""The forms of the shipped DAGs and the page LLM deployments in a real browser, on one real Airflow with a login."""

import asyncio
import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from chromium import LIMIT_MS, Noted, browser, new_context, program, shot
from playwright.async_api import BrowserContext, FrameLocator, Locator, Page, expect
from playwright.async_api import TimeoutError as TooLate
from seeded_history import seed

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "demo"))

from stack import Airflow, airflow, results_file, simulator  # noqa: E402 - a script's module, found only now
from ui import write_experiment  # noqa: E402

pytestmark = [
    pytest.mark.scheduler,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(program() is None, reason="no browser: install chromium"),
]

TARGET = "eks-plain"
# A trial is five processes of Airflow, which a loaded machine starts slowly.
TRIAL_MS = 1_200_000
PAUSE_S = 0.5
CLICK_AGAIN_MS = 15_000
OPEN_STATES = {"running", "deferred", "queued", "scheduled", "restarting", "up_for_retry"}
expect.set_options(timeout=LIMIT_MS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Run Airflow with the shipped DAGs and a simulated EKS, as `make ui` does, but with a login and a past."""
    home = tmp_path_factory.mktemp("ui")
    experiment = {"AIRFLOW__LLM_PROVISIONING__EXPERIMENT_FILE": str(write_experiment(home, "eks"))}
    seed(results_file(home))
    with (
        simulator(home, clouds="eks", speed=60.0, seed=1) as connections,
        airflow(home, connections | experiment, clouds="eks", users="admin:admin") as started,
    ):
        yield started


@pytest.fixture
async def context() -> AsyncIterator[BrowserContext]:
    """Give a profile of an otherwise empty browser."""
    async with browser() as opened:
        yield await new_context(opened)


def until(running: Airflow, ready: Callable[[], Any]) -> Any:
    """Ask until the answer is true, and return it; with pauses, because Airflow needs the processor itself."""
    while not (answer := ready()):
        assert running.alive(), running.log.read_text(encoding="utf-8", errors="replace")[-3000:]
        time.sleep(PAUSE_S)
    return answer


def with_params(running: Airflow) -> set[str]:
    """Return the DAGs that have a form with fields, as soon as all shipped DAGs are known."""
    shipped = {path.stem for path in (ROOT / "airflow_llm_provisioning" / "example_dags").glob("*.py")}

    def known() -> set[str]:
        return {dag["dag_id"] for dag in running.call("GET", "/api/v2/dags?limit=100")["dags"]}

    until(running, lambda: shipped <= known())
    return {dag_id for dag_id in known() if running.call("GET", f"/api/v2/dags/{dag_id}/details")["params"]}


async def logged_in(context: BrowserContext, running: Airflow, noted: Noted | None = None) -> Page:
    """Log in by Airflow's own form.

    Every other address leads there too, but by a script that may load the form twice: what was filled in is lost then.
    """
    tab = await context.new_page()
    if noted is not None:
        noted.watch(tab)
    await tab.goto(f"{running.url}/auth/login")
    await tab.fill("input[name=username]", "admin")
    await tab.fill("input[name=password]", running.password("admin"))
    await tab.click("button[type=submit]")
    await expect(tab.get_by_role("link", name="LLM deployments")).to_be_visible()
    return tab


async def submitted(tab: Page, running: Airflow, dag_id: str) -> None:
    """Open the form of a DAG, change nothing, and submit it."""
    # By its text: the name that is read aloud is another one (Airflow 3.3), and a narrow window has the icon only.
    await tab.set_viewport_size({"width": 1400, "height": 900})
    await tab.goto(f"{running.url}/dags/{dag_id}")
    text = re.compile(r"^\s*Trigger\s*$")
    await tab.locator("button").filter(has_text=text).first.click()
    await tab.get_by_role("dialog").locator("button").filter(has_text=text).click()
    await tab.set_viewport_size({"width": 1280, "height": 900})


def tasks(running: Airflow, dag_id: str, run_id: str) -> dict[str, str]:
    """Return the states of a DAG run's tasks."""
    path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances"
    return {task["task_id"]: task["state"] for task in running.call("GET", path)["task_instances"]}


def first_run(running: Airflow, dag_id: str) -> dict[str, Any]:
    """Return the DAG run that the form started, as soon as its first task has ended."""

    def begun() -> dict[str, Any] | None:
        runs = running.call("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        states = tasks(running, dag_id, runs[0]["dag_run_id"]) if runs else {}
        return {**runs[0], "tasks": states} if {"success", "failed", "deferred"} & set(states.values()) else None

    return dict(until(running, begun))


def ended(running: Airflow, dag_id: str, run_id: str) -> None:
    """Wait until a DAG run and its tasks have ended, because its trial holds a cluster that the next one needs."""
    address = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}"

    def over() -> bool:
        state = running.call("GET", address)["state"]
        return state not in ("queued", "running") and not OPEN_STATES & set(tasks(running, dag_id, run_id).values())

    until(running, over)


def cut(running: Airflow, dag_id: str, run_id: str) -> None:
    """End a DAG run that takes long, and wait for its teardown."""
    running.call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}", {"state": "failed"})
    ended(running, dag_id, run_id)


def fail_the_wait(running: Airflow, dag_id: str, run_id: str) -> None:
    """Mark the waiting task of a trial failed, as a user does in Airflow, as soon as it waits."""
    address = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/wait"
    until(running, lambda: running.call("GET", address)["state"] == "deferred")
    running.call("PATCH", address, {"new_state": "failed"})
    ended(running, dag_id, run_id)


async def submit_the_forms(tab: Page, running: Airflow) -> None:
    """Submit every form as it opens: the button is enabled without a change, the run starts, and a field that was left
    empty counts as not given. Afterwards one trial is aborted.

    Airflow's form counts an empty field of a parameter without the type `null` as missing and disables its button
    (Airflow 3.3).
    """
    assert await asyncio.to_thread(with_params, running) == set(WITH_FORMS)
    for dag_id, (empty, end) in WITH_FORMS.items():
        await submitted(tab, running, dag_id)
        run = await asyncio.to_thread(first_run, running, dag_id)
        assert "failed" not in run["tasks"].values(), (dag_id, run["tasks"])
        assert [run["conf"].get(name) for name in empty] == [None] * len(empty), run["conf"]
        await asyncio.to_thread(end, running, dag_id, run["dag_run_id"])


async def followed(tab: Page) -> None:
    """Wait until Airflow's address has followed the frame's.

    Airflow (3.3) sets its own address when the frame has loaded, and the frame's when its own has changed. On a loaded
    machine the second step may come late, and sends the frame back: what was clicked meanwhile is lost.
    """
    frame = await (await tab.locator("iframe").element_handle()).content_frame()
    assert frame is not None
    await tab.wait_for_url(lambda url: url.endswith(frame.url.partition(urlsplit(url).netloc)[2]))


async def opens(link: Locator, shown: Locator, tab: Page) -> None:
    """Click until the click has opened what it should, as a person does whose click was lost (see `followed`)."""
    for _ in range(LIMIT_MS // CLICK_AGAIN_MS):
        with suppress(TooLate):
            await link.click(timeout=CLICK_AGAIN_MS)
            await shown.wait_for(timeout=CLICK_AGAIN_MS)
            break
    await expect(shown).to_be_visible()
    await followed(tab)


async def show(tab: Page, frame: FrameLocator, chosen: str) -> None:
    """Show what was chosen in a view's form; `chosen`: how the address tells it."""
    await frame.get_by_role("button", name="Show").click()
    await tab.wait_for_url(lambda url: chosen in url)
    await followed(tab)


async def inside(tab: Page, view: str) -> FrameLocator:
    """Return the page in Airflow's frame, showing a view of its navigation."""
    frame = tab.frame_locator("iframe")
    link = frame.get_by_role("navigation").get_by_role("link", name=view)
    await opens(link, frame.get_by_role("heading", name=view, level=1), tab)
    return frame


async def started(tab: Page) -> str:
    """Start the first combination that a target offers; return the DAG run's id."""
    frame = await inside(tab, "Targets")
    panel = frame.locator(f"#target-{TARGET}")
    await panel.get_by_role("button", name="Start a trial").click()
    told = panel.get_by_role("status")
    await expect(told).to_contain_text("Started as DAG run")
    return (await told.inner_text()).removeprefix("Started as DAG run ").split(". ")[0]


async def newest(tab: Page, status: str) -> tuple[FrameLocator, Locator]:
    """Return the newest trial that was started by hand, as soon as the page shows how it ended."""
    frame = await inside(tab, "Results")
    await frame.get_by_label("Experiment").select_option("by-hand")
    await show(tab, frame, "experiment=by-hand")
    row = frame.locator("#trials tbody tr").first
    await expect(row).to_contain_text(status)
    return frame, row


async def downloaded(tab: Page, frame: FrameLocator, name: str, folder: Path) -> Path:
    """Follow a download link; return the file."""
    async with tab.expect_download() as waiting:
        await frame.get_by_role("link", name=name).click()
    found = await waiting.value
    path = folder / found.suggested_filename
    await found.save_as(path)
    return path


def replayed(file: Path) -> str:
    """Replay a file as the page's command does; return what it says."""
    command = [sys.executable, "-m", "airflow_llm_provisioning.cli", "replay", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603


# DAG with a form -> its fields that may stay empty, and how its run is ended.
WITH_FORMS = {"simulated_demo": (("seed",), cut), "single_trial": (("model", "image"), fail_the_wait)}


async def test_a_user_walks_through_the_page(running: Airflow, context: BrowserContext, tmp_path: Path) -> None:
    """Log in, submit Airflow's own forms, open the page from the navigation, find a failed trial red, start a trial,
    watch it to its result, open it, download and replay its recording, go to its log; acknowledge a regression. Nothing
    is asked of another host, and no error is in the console.
    """
    noted = Noted()
    tab = await logged_in(context, running, noted)
    await submit_the_forms(tab, running)
    await tab.get_by_role("link", name="LLM deployments").click()

    _, row = await newest(tab, "aborted")
    badge = row.locator(".badge.status")
    # The list loads itself again meanwhile.
    await expect(badge).to_have_css("background-color", "rgb(179, 38, 30)")

    run_id = await started(tab)
    await shot(tab, "in-airflow-targets", full=False)
    frame = await inside(tab, "Now")
    panel = frame.locator("article.panel", has_text="waits for the endpoint")
    # Nothing is clicked: the page updates itself.
    await expect(panel).to_contain_text(TARGET, timeout=TRIAL_MS)
    await shot(tab, "in-airflow-now", full=False)
    await expect(frame.get_by_text("No trial of a DAG that you may read is running")).to_be_visible(timeout=TRIAL_MS)
    await asyncio.to_thread(ended, running, "single_trial", run_id)

    frame, row = await newest(tab, "succeeded")
    await shot(tab, "in-airflow-results", full=False)
    await opens(row.get_by_role("link").first, frame.get_by_role("heading", name="Where the time went"), tab)
    await expect(frame.locator("#blockers")).not_to_contain_text("Reading the recording")
    await expect(frame.locator("#cost")).to_contain_text("USD (")
    await expect(frame.get_by_text("llm-provisioning replay")).to_be_visible()
    await shot(tab, "in-airflow-trial", full=False)

    trace = await downloaded(tab, frame, "Download the trace", tmp_path)
    file = await downloaded(tab, frame, "Download the replayable file", tmp_path)
    assert json.loads(gzip.decompress(trace.read_bytes()).splitlines()[0])["type"] == "HEADER"
    assert "the same, byte for byte" in await asyncio.to_thread(replayed, file)

    await frame.get_by_role("link", name="wait", exact=True).click()
    await expect(tab).to_have_url(f"{running.url}/dags/single_trial/runs/{quote(run_id)}/tasks/wait")
    await expect(tab.get_by_text("endpoint ready").first).to_be_visible()
    await tab.go_back()

    frame = await inside(tab, "History")
    await frame.get_by_label("Cell").select_option(label="eks-plain / phi3-2025 / static / baseline (simulated)")
    await show(tab, frame, "/history?")
    await frame.get_by_label("Why is this known and accepted?").fill("the new node image is wanted")
    await frame.get_by_role("button", name="Acknowledge").click()
    await expect(frame.get_by_text("Acknowledged by admin")).to_be_visible()
    await shot(tab, "in-airflow-history", full=False)

    assert noted.errors == []
    assert noted.foreign == []
