"""What a view of the page LLM deployments costs with 10^2 to 10^5 trials in the results store (a SQLite file).

`python benchmarks/page.py [--trials 100,1000,10000,100000]` prints, per view and per part that a view loads later:
first paint in a real browser (where one is installed), the time until all parts stand in the page, the time until the
answer was complete, the processor's part of it, the time until the database had the first row of each statement, and
bytes. Nothing else should run; the machine's load is printed.
"""

import argparse
import asyncio
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from statistics import median
from typing import Any, Final

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1] / "tests"),
    str(Path(__file__).resolve().parents[1] / "tests/report"),
]

VIEWS: Final = ("now", "results", "history", "targets", "owned", "trial?id=night-000-00")
TIMES: Final = 5
HEADING: Final = (
    f"{'trials':>7} {'view':<18} {'first paint':>12} {'all parts':>12} {'complete':>9} {'CPU':>9} {'database':>9} "
    f"{'bytes':>9}"
)
NOT_MEASURED: Final = (None, None)
NIGHT: Final = 36
NIGHTS_MADE: Final = 28
# The limits that the page promises.
FIRST_PAINT_S: Final = 1.0
BYTES: Final = 1_000_000


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", default="100,1000,10000,100000")
    wanted = [int(text) for text in parser.parse_args().trials.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with served(home) as (url, token, spent):
            print(f"Load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n{HEADING}", flush=True)
            worst = [line for count in wanted for line in measured(home, count, url, token, spent)]
    held = all(paint_s is None or paint_s < FIRST_PAINT_S for paint_s, _ in worst)
    small = all(size < BYTES for _, size in worst)
    print(f"Load after: {os.getloadavg()[0]:.1f}.")
    print(f"First paint under {FIRST_PAINT_S:g} s: {'yes' if held else 'NO'}. Under 1 MB: {'yes' if small else 'NO'}.")
    return 0 if held and small else 1


def measured(home: Path, count: int, url: str, token: str, spent: list[float]) -> Iterator[tuple[float | None, int]]:
    """Yield (first paint in seconds, bytes) of every view and of every part that it loads, and print its line."""
    build(home / "results.db", count)
    paints = asyncio.run(painted(url, token))
    waiting = list(VIEWS)
    while waiting:
        view = waiting.pop(0)
        took, cpu_s, inside, text = answered(f"{url}/{view}", token, spent)
        waiting[:0] = [unescape(found) for found in re.findall(r'data-load="([^"]+)"', text)]
        size = len(text.encode())
        paint_s, all_s = paints.get(view, NOT_MEASURED)
        times = " ".join(f"{seconds * 1000:>6.0f} ms" for seconds in (took, cpu_s, inside))
        shown = f"{_told(paint_s, view)} {_told(all_s, view)} {times} {size:>9,}"
        print(f"{count:>7} {view.split('?')[0]:<18} {shown}", flush=True)
        yield paint_s, size


def _told(seconds: float | None, view: str) -> str:
    missing = "no browser" if view in VIEWS else "a part"
    return f"{missing if seconds is None else f'{seconds * 1000:.0f} ms':>12}"


def answered(url: str, token: str, spent: list[float]) -> tuple[float, float, float, str]:
    """Return the median seconds of an answer, of the processor and inside the database, and the answer."""
    import urllib.request

    took, used, inside, text = [], [], [], ""
    for _ in range(TIMES):
        spent.clear()
        begun, cpu = time.perf_counter(), time.process_time()
        request = urllib.request.Request(url, headers={"Cookie": f"_token={token}", "Accept": "text/html"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=300) as reply:  # noqa: S310 - this machine
            text = reply.read().decode()
        took.append(time.perf_counter() - begun)
        used.append(time.process_time() - cpu)
        inside.append(sum(spent))
    return median(took), median(used), median(inside), text


async def painted(url: str, token: str) -> dict[str, tuple[float | None, float | None]]:
    """Return view -> seconds from the navigation to the first contentful paint, as the browser itself measures it, and
    to the last of the parts that are loaded later.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        return {}
    from playwright.async_api import async_playwright

    found: dict[str, tuple[float | None, float | None]] = {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        context = await browser.new_context()
        await context.add_cookies([{"name": "_token", "value": token, "url": url}])
        tab = await context.new_page()
        for view in VIEWS:
            paints, ends = [], []
            for _ in range(TIMES):
                await tab.goto(f"{url}/{view}")
                paints.append(await first_paint(tab))
                ends.append(await all_parts(tab))
            found[view] = median(paints), median(ends)
        await browser.close()
    return found


async def all_parts(tab: Any) -> float:
    """Return when the last part of the page that was opened was there, in seconds after the navigation began."""
    while True:
        at_ms = await tab.evaluate("document.querySelector('[aria-busy]') ? 0 : performance.now()")
        if at_ms:
            return float(at_ms) / 1000
        await asyncio.sleep(0.02)


async def first_paint(tab: Any) -> float:
    """Return when the page that was opened was painted first, in seconds after the navigation began."""
    while True:
        # The page's Content Security Policy forbids the library's own way to wait for an expression.
        at_ms = await tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
        if at_ms:
            return float(at_ms) / 1000
        await asyncio.sleep(0.02)


@contextmanager
def served(home: Path) -> Iterator[tuple[str, str, list[float]]]:
    """Serve the page behind Airflow's own auth manager; give its address, a user's token, and the database's times."""
    os.environ |= {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a made-up secret of this benchmark" * 2,
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW_CONN_LLM_PROVISIONING_RESULTS": f'{{"conn_type": "sqlite", "host": "{home / "results.db"}"}}',
        "PYTHONWARNINGS": "ignore",
    }
    import uvicorn
    from airflow.api_fastapi.app import get_auth_manager, init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils.db import initdb
    from fastapi import FastAPI

    from airflow_llm_provisioning.plugin import LlmDeploymentsPlugin

    initdb()
    init_auth_manager()
    outer = FastAPI()
    (mounted,) = LlmDeploymentsPlugin().fastapi_apps
    outer.mount(mounted["url_prefix"], mounted["app"])
    server = uvicorn.Server(uvicorn.Config(outer, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="reader", role="viewer"))
    try:
        yield f"http://127.0.0.1:{port}{mounted['url_prefix']}", token, timed_statements()
    finally:
        server.should_exit = True
        thread.join()


def timed_statements() -> list[float]:
    """Return a list to which every statement of any database adds its seconds."""
    from sqlalchemy import Engine, event

    spent: list[float] = []

    def before(connection: Any, *_: Any) -> None:
        connection.info["begun"] = time.perf_counter()

    def after(connection: Any, *_: Any) -> None:
        spent.append(time.perf_counter() - connection.info["begun"])

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    return spent


def build(file: Path, count: int) -> None:
    """Make a results store with so many trials, of one experiment with 12 cells of 3 replicates a night.

    28 nights are written as the teardown writes them; older ones are copies under other names and dates.
    """
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

    for old in file.parent.glob(f"{file.name}*"):
        old.unlink()
    store = ResultsStore.open(f"sqlite:///{file}")
    made = min(count, NIGHT * NIGHTS_MADE)
    store.save_trials([one_trial(number) for number in range(made)])
    store.close()
    with sqlite3.connect(file) as database:
        for copy in range(1, -(-count // made)):
            _copy(database, copy, min(made, count - copy * made))
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def one_trial(number: int) -> Any:
    """Return one made-up trial of a night."""
    from result_builders import a_trial

    from airflow_llm_provisioning.core.result import MilestoneResult

    night, place = divmod(number, NIGHT)
    cell, replicate = divmod(place, 3)
    cloud, setup, variant = ("eks", "gke", "aks")[cell % 3], ("static", "dynamic")[cell // 3 % 2], cell // 6
    opened_at = datetime(2026, 10, 1, 1, tzinfo=UTC) - timedelta(days=night) + timedelta(minutes=20 * place)
    stones = [
        MilestoneResult(f"milestone_{at:02d}", opened_at, opened_at + timedelta(seconds=40 * at), "event of a Pod")
        for at in range(30)
    ]
    return a_trial(
        f"night-{night:03d}-{place:02d}",
        cloud=cloud,
        setup=setup,
        variant=("baseline", "improved")[variant],
        factor=(1.0, 0.5)[variant] * (1 + 0.01 * ((number * 7) % 5 - 2)),
        experiment="nightly",
        dag_id="nightly_cold_start",
        run_id=f"night-{night:03d}",
        replicate=replicate,
        number=place,
        opened_at=opened_at,
        milestones=stones,
        cost=cost_of(number),
    )


def cost_of(number: int) -> dict[str, Any]:
    """Return a made-up cost of two machines (`core.cost.priced`)."""
    amounts = [round(0.2 + 0.01 * (number % 7), 4), 1.1]
    nodes = [
        {"node": f"node-{at}", "instance_type": "g6.4xlarge", "zone": "z", "spot": False, "gpus": at, "seconds": 1800.0}
        | {"gone": True, "hour": 2 * amount, "amount": amount, "low": amount, "high": amount}
        for at, amount in enumerate(amounts)
    ]
    total = dict.fromkeys(("amount", "low", "high"), round(sum(amounts), 4))
    return total | {"currency": "USD", "gpu_hours": 0.5, "dated": "2026-01-05", "nodes": nodes, "unknown": []}


def _copy(database: sqlite3.Connection, copy: int, rows: int) -> None:
    days = NIGHTS_MADE * copy
    changed = {
        "trial_id": f"trial_id || '-{copy}'",
        "run_id": f"run_id || '-{copy}'",
        "opened_at": f"strftime('%Y-%m-%d %H:%M:%f', opened_at, '-{days} days') || '000'",
    }
    ids = f"(SELECT trial_id FROM llmp_trials WHERE trial_id NOT LIKE 'night-%-%-%' ORDER BY trial_id LIMIT {rows})"  # noqa: S608
    for table in ("llmp_trials", "llmp_phases", "llmp_milestones"):
        names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(changed.get(name, f'"{name}"') for name in names)
        listed = ", ".join(f'"{name}"' for name in names)
        database.execute(f"INSERT INTO {table} ({listed}) SELECT {values} FROM {table} WHERE trial_id IN {ids}")  # noqa: S608


if __name__ == "__main__":
    sys.exit(main())
