"""Every view in a real browser: nothing is wider than the window, axe-core finds nothing serious, the console is
silent, no other host is asked, and the forms do what they say. The server is the application behind Airflow's own auth
manager; no scheduler is needed.
"""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from chromium import LIMIT_MS, Noted, browser, new_context, program, serious_violations, shot
from playwright.async_api import BrowserContext, Page, expect
from seeded_history import seed

from airflow_llm_provisioning.gateways.store import ResultsStore

pytestmark = [
    pytest.mark.skipif(program() is None, reason="no browser: install chromium"),
    pytest.mark.timeout(600),
]

VIEWS = ("now", "results", "history", "targets", "owned", "trial?id=seeded-000")
WIDTHS = (390, 1280, 2560)
# What Airflow's switch does in its own document: this page's one hears of it.
SWITCH = "mode => { localStorage.setItem('theme', mode); dispatchEvent(new StorageEvent('storage', {key: 'theme'})); }"


@pytest.fixture
def address(page_app: Any, store: ResultsStore, results_db: Path) -> Iterator[str]:
    """Serve the page with a seeded history on a port of this machine; give its address."""
    import uvicorn

    seed(results_db)
    server = uvicorn.Server(uvicorn.Config(page_app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/llm-deployments"
    server.should_exit = True
    thread.join()


async def logged_in(context: BrowserContext, address: str, role: str) -> None:
    """Give the browser the cookie that Airflow's login sets."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=f"the-{role}", role=role))
    await context.add_cookies([{"name": "_token", "value": token, "url": address}])


async def test_every_view_at_three_widths_in_both_modes(address: str) -> None:
    """The mode follows what Airflow's own switch keeps in the browser, when a view is opened and while it is open. A
    view is loaded once, with its later parts, and the window changes around it. Pictures are kept under build/browser.
    """
    noted = Noted()
    modes = ["light", "dark"]
    async with browser() as opened:
        context = await new_context(opened)
        await logged_in(context, address, "viewer")
        tab = await context.new_page()
        noted.watch(tab)
        await tab.goto(f"{address}/now")
        await tab.evaluate(SWITCH, modes[0])
        for view in VIEWS:
            await tab.goto(f"{address}/{view}")
            await expect(tab.locator("[aria-busy]")).to_have_count(0, timeout=LIMIT_MS)
            for mode in modes:
                await tab.evaluate(SWITCH, mode)
                await looked_at(tab, view, mode)
            # The next view is opened in the mode that this one ends with.
            modes.reverse()

    assert noted.errors == []
    assert noted.foreign == []


async def looked_at(tab: Page, view: str, mode: str) -> None:
    """Hold an open view against what holds at every width."""
    assert await tab.evaluate("document.documentElement.dataset.theme") == mode
    assert await tab.locator("p.alarm", has_text="could not be loaded").count() == 0
    for width in WIDTHS:
        await tab.set_viewport_size({"width": width, "height": 900})
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, width)
        # A picture of a whole wide page takes longer than everything else.
        await shot(tab, f"{view.split('?')[0]}-{width}-{mode}", full=width < max(WIDTHS))
    assert await serious_violations(tab) == [], (view, mode)


async def test_a_regression_is_acknowledged_in_the_page(address: str, store: ResultsStore) -> None:
    """An op opens the slower cell, says why it is known, and sees who acknowledged it."""
    noted = Noted()
    async with browser() as opened:
        context = await new_context(opened)
        await logged_in(context, address, "op")
        tab = await context.new_page()
        noted.watch(tab)
        await tab.goto(f"{address}/history")
        cell = tab.get_by_label("Cell")
        await cell.select_option(label="eks-plain / phi3-2025 / static / baseline (simulated)")
        await tab.get_by_role("button", name="Show").click()
        await tab.get_by_label("Why is this known and accepted?").fill("the new node image is wanted")
        await tab.get_by_role("button", name="Acknowledge").click()
        await expect(tab.get_by_text("Acknowledged by the-op")).to_be_visible(timeout=LIMIT_MS)

    (note,) = store.level_notes()
    assert (note.by, note.run_id) == ("the-op", "night-14")
    assert noted.errors == []
    assert noted.foreign == []
