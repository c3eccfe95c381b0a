"""An installed Chromium, driven by Playwright: nothing is downloaded. What a page must not do is noted."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
# A loaded machine needs long to draw a page for the first time.
LIMIT_MS: Final = 120_000
SHOTS: Final = Path(__file__).resolve().parents[2] / "build" / "browser"


def program() -> str | None:
    """Return the browser's program, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Noted:
    """What pages did: errors in the console, requests to other hosts."""

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Note what this page does from now on."""
        page.on(
            "console",
            lambda message: (
                self._error(message.text, message.location.get("url", "")) if message.type == "error" else None
            ),
        )
        page.on("pageerror", lambda error: self._error(str(error), page.url))
        page.on("request", lambda request: self._request(request.url))

    def _error(self, text: str, where: str) -> None:
        self.errors.append(f"{where}: {text}")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1":
            self.foreign.append(url)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Run the browser."""
    async with async_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        running = await playwright.chromium.launch(executable_path=program(), args=options)
        try:
            yield running
        finally:
            await running.close()


async def new_context(running: Browser, **options: Any) -> BrowserContext:
    """Return a fresh profile, with cookies and storage of its own."""
    context = await running.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True, **options)
    context.set_default_timeout(LIMIT_MS)
    return context


async def shot(page: Page, name: str, *, full: bool = True) -> None:
    """Keep a picture of a page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SHOTS / f"{name}.png", full_page=full)


async def serious_violations(page: Page) -> list[str]:
    """Return what axe-core finds of weight serious or critical, one line each."""
    # The page's Content Security Policy forbids inline scripts; the protocol evaluates beside it.
    await page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{item['id']} ({item['impact']}): {item['help']}: {node['html'][:200]}"
        for item in found["violations"]
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]
