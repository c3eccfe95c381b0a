"""An HTTP server on this machine that answers with recorded bodies, for gateways that meet what a cloud really said."""

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a method and a path (a regular expression, matched from its begin, query included).

    `times`: how often, None for always. An earlier answer of the list goes first.
    """

    method: str
    path: str
    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None

    def payload(self) -> bytes:
        """Return the bytes: text as it is, everything else as JSON."""
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


class Replay:
    """The server's address and what it was asked: (method, path with query, body)."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, bytes]] = []
        self._given: dict[int, int] = {}
        self._lock = threading.Lock()
        self.url = ""

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Return what is answered next; 501 for what no recording holds."""
        with self._lock:
            self.asked.append((method, path, body))
            for number, known in enumerate(self.answers):
                given = self._given.get(number, 0)
                spent = known.times is not None and given >= known.times
                if not spent and known.method == method and re.match(known.path, path):
                    self._given[number] = given + 1
                    return known
        return Answer(method, path, f"no recording of {method} {path}", 501, {"Content-Type": "text/plain"})

    def count(self, method: str, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(1 for how, where, _ in self.asked if how == method and re.match(path, where))


@contextmanager
def replaying(*answers: Answer) -> Iterator[Replay]:
    """Serve the answers until the end of the block."""
    replay = Replay(answers)

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = replay.answer(self.command, self.path, body)
            payload = answer.payload()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _reply  # noqa: N815  # the standard library's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    replay.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield replay
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def recorded(shared: Path, file: str) -> list[dict[str, Any]]:
    """Return the recorded exchanges of one file of the folder `recordings`."""
    return [json.loads(line) for line in (shared / "recordings" / file).read_text().splitlines() if line.strip()]
