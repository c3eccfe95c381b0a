"""A headless Chromium, driven by its DevTools protocol (chromedevtools.github.io): no driver and no library besides the
HTTP client that Airflow brings.
"""

import asyncio
import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
# A loaded machine needs long to draw a page for the first time.
LIMIT_S: Final = 120.0
LOOK_EVERY_S: Final = 0.2


def chromium() -> str | None:
    """Return the browser's program, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def open(self, url: str) -> None:
        """Go to an address; what is on the page is waited for by `until`."""
        await self._call("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """Return what a JavaScript expression gives, as JSON."""
        told = await self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise AssertionError(f"{expression}: {told['exceptionDetails']}")
        return told["result"].get("value")

    async def until(self, expression: str, what: str) -> None:
        """Wait until an expression gives something true."""
        for _ in range(int(LIMIT_S / LOOK_EVERY_S)):
            if await self.value(expression):
                return
            await asyncio.sleep(LOOK_EVERY_S)
        text = await self.value("document.body.innerText.slice(0, 3000)")
        raise AssertionError(f"{what} did not come within {LIMIT_S:g} s. The page: {text}")

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            told = json.loads(await self._socket.receive_str())
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result


@asynccontextmanager
async def page(home: Path) -> AsyncIterator[Page]:
    """Run the browser with a profile of its own in the folder `home`; give its tab."""
    program = chromium()
    assert program is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--window-size=1400,1600", "--remote-debugging-port=0", f"--user-data-dir={home}", "about:blank"]
    with (home / "browser.log").open("wb") as log:
        browser = subprocess.Popen([program, *options], stdout=log, stderr=log, start_new_session=True)  # noqa: S603, ASYNC220
    try:
        port = await _port(home / "DevToolsActivePort")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json/list") as reply:
                address = next(tab["webSocketDebuggerUrl"] for tab in await reply.json() if tab["type"] == "page")
            async with http.ws_connect(address, max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        browser.send_signal(signal.SIGTERM)
        await asyncio.to_thread(browser.wait, 30)


async def _port(file: Path) -> int:
    """Return the port that the browser chose; it writes it into its profile when it listens."""
    for _ in range(int(LIMIT_S / LOOK_EVERY_S)):
        if lines := await asyncio.to_thread(_lines, file):
            return int(lines[0])
        await asyncio.sleep(LOOK_EVERY_S)
    raise AssertionError(f"The browser did not start: {await asyncio.to_thread(_lines, file.with_name('browser.log'))}")


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
