"""Many small API servers in one process: what `proof.concurrency` lets one triggerer record at once.

They speak list, watch and the service proxy as a real API server does (chunked JSON lines, a resourceVersion that
grows, `timeoutSeconds`, a backlog for whoever comes back), and do nothing else: no controller, no clock of their own.
The objects are made up, in the shapes and sizes of the recordings of KubeRay 1.7 on Kubernetes 1.34 (a pod 8 kB, an
event 0.9 kB). It must not know the recorder: it keeps what it sent, and whoever compares asks it.

Runs as `python -m proof.concurrency_clusters PLAN CERTIFICATE`: a `Plan` as JSON, a PEM file with key. Says one JSON
line on standard output for each step of its life, and goes when standard input closes.
"""

import asyncio
import contextlib
import json
import logging
import random
import ssl
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from proof.concurrency_objects import KINDS, Tale, endpoint_slice, paths

HOLD_S: Final = 55.0
TICK_S: Final = 0.01
# Of a recorder outside the namespace `default`: rayservices, rayclusters, pods, services, endpointslices, both events
# there and in `default`, nodes (node claims are absent here).
WATCHES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens: `clusters` are recorded at once, and `events_per_s` told by all of them for `recording_s`.

    One more cluster, the last, becomes ready at once: whoever measures warms up on it.
    """

    clusters: int
    events_per_s: float
    recording_s: float
    seed: int


@dataclass(slots=True, eq=False)
class Watch:
    """One open watch; `wake` is set when there is more to tell."""

    path: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Cluster:
    """One API server: `sent` is every version it told since the load began, in order."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tale = Tale(number)
        self.history: dict[str, list[tuple[int, bytes]]] = {path: [] for path in paths()}
        self.sent: list[tuple[str, str, str]] = []
        self.watches: set[Watch] = set()
        self.ready_at: float | None = None
        self.asked_at: float | None = None
        self.released = asyncio.Event()
        self.version = 100
        self.objects: dict[str, dict[str, dict[str, Any]]] = {path: {} for path in paths()}
        for resource, item in self.tale.beginning():
            self.tell(resource, item, counted=False)

    def tell(self, resource: str, item: dict[str, Any], *, counted: bool = True) -> None:
        """Write an object and tell whoever watches."""
        self.version += 1
        path = KINDS[resource].path(item["metadata"].get("namespace"))
        item["metadata"]["resourceVersion"] = str(self.version)
        uid = item["metadata"]["uid"]
        kind = "MODIFIED" if uid in self.objects[path] else "ADDED"
        self.objects[path][uid] = item
        self.history[path].append((self.version, json.dumps({"type": kind, "object": item}).encode() + b"\n"))
        if counted:
            self.sent.append((resource, uid, str(self.version)))
        for watch in self.watches:
            if watch.path == path:
                watch.wake.set()

    def become_ready(self) -> None:
        """Publish the ready endpoint; the clock of the lag starts."""
        slice_ = endpoint_slice(self.number, datetime.now(UTC))
        self.ready_at = time.monotonic()
        self.tell("endpointslices", slice_)


class Clusters:
    """All of them behind one port, by the first part of the path."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.all = [Cluster(number) for number in range(plan.clusters + 1)]
        self.stopping = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        arrived_at = time.monotonic()
        first, _, rest = request.path.lstrip("/").partition("/")
        cluster, path = self.all[int(first)], f"/{rest}"
        if path == "/version":
            # It is no real cluster, and its clock is the machine's.
            return web.json_response({"gitVersion": "v1.34.0", "simulated": {"name": "concurrency"}})
        if path in cluster.history:
            return await self._collection(request, cluster, path)
        if "/proxy/" in path:
            return await self._proxied(cluster, path, arrived_at)
        found = cluster.tale.named(path)
        if found is not None:
            return web.json_response(cluster.objects[found[0]][found[1]])
        return web.json_response({"kind": "Status", "code": 404, "message": "not found"}, status=404)

    async def _collection(self, request: web.Request, cluster: Cluster, path: str) -> web.StreamResponse:
        if request.query.get("watch") is None:
            items = list(cluster.objects[path].values())
            return web.json_response({"metadata": {"resourceVersion": str(cluster.version)}, "items": items})
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watch = Watch(path)
        cluster.watches.add(watch)
        try:
            await self._stream(response, cluster, watch, request.query)
        except (ConnectionError, RuntimeError):
            pass  # the recorder went
        finally:
            cluster.watches.discard(watch)
        return response

    async def _stream(self, response: web.StreamResponse, cluster: Cluster, watch: Watch, query: Any) -> None:
        """Tell the backlog and what comes until the watch's time is over; a real server ends each at another moment."""
        version = int(query["resourceVersion"])
        ends_at = time.monotonic() + float(query["timeoutSeconds"]) * self.random.uniform(0.2, 1.0)
        history, position = cluster.history[watch.path], 0
        while not self.stopping:
            watch.wake.clear()
            due = []
            for number, line in history[position:]:
                if number > version:
                    due.append(line)
                    version = number
            position = len(history)
            if due:
                await response.write(b"".join(due))
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await watch.wake.wait()

    async def _proxied(self, cluster: Cluster, path: str, arrived_at: float) -> web.Response:
        """Serve's REST says the same for ever; the model's first answer takes until the load is over."""
        if not path.endswith("/chat/completions"):
            return web.json_response(cluster.tale.serve_answer() if "serve/applications" in path else {})
        if cluster.asked_at is None:
            cluster.asked_at = arrived_at
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOLD_S):
                await cluster.released.wait()
        return web.json_response(
            {"model": "phi", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
        )

    async def load(self) -> None:
        """Tell `events_per_s` for `recording_s`, drawn over all clusters; each becomes ready once, at any moment."""
        recorded = self.all[:-1]
        begun = time.monotonic()
        due_ready = deque(
            sorted((self.random.uniform(0.2, 0.9) * self.plan.recording_s, one.number) for one in recorded)
        )
        turns = self._turns(recorded)
        told = 0
        while (passed_s := time.monotonic() - begun) < self.plan.recording_s:
            while due_ready and due_ready[0][0] <= passed_s:
                self.all[due_ready.popleft()[1]].become_ready()
            while told < passed_s * self.plan.events_per_s:
                told += next(turns)
            await asyncio.sleep(TICK_S)
        for _, number in due_ready:
            self.all[number].become_ready()

    def _turns(self, recorded: list[Cluster]) -> Iterator[int]:
        """Let one cluster after the other tell its next story; yields how many watch events that made."""
        while True:
            for cluster in self.random.sample(recorded, len(recorded)):
                before = len(cluster.sent)
                for resource, item in cluster.tale.go_on(self.random):
                    cluster.tell(resource, item)
                yield len(cluster.sent) - before

    async def until_watched(self) -> bool:
        """Wait until every recorded cluster has all its watches; False where that does not come."""
        for _ in range(6000):
            if all(len(one.watches) >= WATCHES for one in self.all[:-1]):
                return True
            await asyncio.sleep(0.02)
        return False


def say(step: str, **detail: Any) -> None:
    """Tell whoever started this."""
    sys.stdout.write(json.dumps({"step": step, **detail}) + "\n")
    sys.stdout.flush()


async def serve(plan: Plan, certificate: str) -> None:
    """Live: serve, wait for the watches, tell, let the models answer, report, wait for the end."""
    # A trial that ends hangs up in the middle of its watches: no error here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    clusters = Clusters(plan)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", clusters.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096, ssl_context=context)
    await site.start()
    clusters.all[-1].become_ready()
    clusters.all[-1].released.set()
    say("serving", url=f"https://127.0.0.1:{runner.addresses[0][1]}")
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    living = asyncio.ensure_future(_live(clusters))
    await asyncio.wait({ended, living}, return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        living.result()
    await ended
    living.cancel()
    clusters.stopping = True
    await runner.cleanup()


async def _live(clusters: Clusters) -> None:
    watched = await clusters.until_watched()
    say("load_begins", watched=watched)
    begun = time.monotonic()
    await clusters.load()
    say("load_ends", seconds=time.monotonic() - begun, sent=sum(len(one.sent) for one in clusters.all[:-1]))
    # What was told last is on its way; then the models answer and the trials end.
    for _ in range(round(HOLD_S / 2 / TICK_S)):
        if all(one.asked_at is not None for one in clusters.all[:-1]):
            break
        await asyncio.sleep(TICK_S)
    await asyncio.sleep(1.0)
    say(
        "told",
        sent=[one.sent for one in clusters.all[:-1]],
        lags_s=[
            None if one.asked_at is None or one.ready_at is None else one.asked_at - one.ready_at
            for one in clusters.all[:-1]
        ],
    )
    for one in clusters.all[:-1]:
        one.released.set()
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    import resource as limits

    _, most = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(Plan(**json.loads(sys.argv[1])), sys.argv[2]))
