"""Many small API servers in one process, which `proof.concurrency` lets one triggerer record at once.

They support list, watch and the service proxy like a real API server (chunked JSON lines, a growing resourceVersion,
`timeoutSeconds`, a backlog for reconnecting clients), and nothing else: no controller and no clock. The objects are
generated, with the formats and sizes of the recordings of KubeRay 1.7 on Kubernetes 1.34 (a pod 8 kB, an event 0.9 kB).
This module must not know the recorder: it stores what it sent, for the comparison.

Runs as `python -m proof.concurrency_clusters PLAN CERTIFICATE`: a `Plan` as JSON, a PEM file with key. It prints one
JSON line on standard output for each step, and ends when standard input closes.
"""

import asyncio
import contextlib
import json
import logging
import random
import re
import ssl
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from proof.concurrency_objects import KINDS, NAMESPACE, ObjectSequence, endpoint_slice, paths

HOLD_S: Final = 55.0
TICK_S: Final = 0.01
_NUMBER: Final = re.compile(r"llm-(\d{4})")
# Watches of a recorder outside the namespace `default`: rayclusters, pods, services, endpointslices, events there and
# in `default`, nodes (node claims are absent here), which recorders of one process share; and its own RayService.
WATCHES: Final = 7
# Of the watches, when one of two triggerers has died.
LEFT_AFTER_A_DEATH: Final = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The load: `trials` are recorded at once, and send `events_per_s` together for `recording_s`. Each cluster has
    `per_cluster` of them.

    One more cluster, the last, has one trial that becomes ready at once, for a warm-up. `interrupted`: before the load
    some watches end and all are opened again, while objects change.
    """

    trials: int
    events_per_s: float
    recording_s: float
    seed: int
    per_cluster: int = 1
    interrupted: bool = False

    def cluster_of(self, trial: int) -> int:
        """Return the number of a trial's cluster; the warm-up's trial has the number `trials`."""
        return -(-self.trials // self.per_cluster) if trial == self.trials else trial // self.per_cluster


@dataclass(slots=True, eq=False)
class Watch:
    """One open watch; `wake` is set when there are new versions. `only`: the one object that is watched, if any."""

    path: str
    transport: asyncio.BaseTransport | None
    only: str | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Deployment:
    """One trial's objects; `sent` is every version of it that was sent since the start of the load, in order."""

    def __init__(self, number: int, cluster: "Cluster") -> None:
        self.number = number
        self.objects = ObjectSequence(number)
        self.sent: list[tuple[str, str, str]] = []
        self.ready_at: float | None = None
        self.asked_at: float | None = None
        self.released = asyncio.Event()
        self._cluster = cluster
        for resource, item in self.objects.initial():
            self.send(resource, item, counted=False)

    def send(self, resource: str, item: dict[str, Any], *, counted: bool = True) -> None:
        """Store an object and send it to the watches."""
        self._cluster.send(resource, item)
        if counted:
            self.sent.append((resource, item["metadata"]["uid"], item["metadata"]["resourceVersion"]))

    def become_ready(self) -> None:
        """Publish the ready endpoint; the measurement of the lag starts."""
        slice_ = endpoint_slice(self.number, datetime.now(UTC))
        self.ready_at = time.monotonic()
        self.send("endpointslices", slice_)


class Cluster:
    """One API server."""

    def __init__(self) -> None:
        self.history: dict[str, list[tuple[int, str, bytes]]] = {path: [] for path in paths()}
        self.watches: set[Watch] = set()
        self.version = 100
        self.objects: dict[str, dict[str, dict[str, Any]]] = {path: {} for path in paths()}

    def open_watches(self) -> list[tuple[str, str | None]]:
        """Return what the watches show that have a client."""
        there = (watch for watch in self.watches if watch.transport is not None and not watch.transport.is_closing())
        return [(watch.path, watch.only) for watch in there]

    def watched(self) -> int:
        """Return how many watches have a client."""
        return len(self.open_watches())

    def send(self, resource: str, item: dict[str, Any]) -> None:
        """Store an object under a new version and send it to its watches."""
        self.version += 1
        path = KINDS[resource].path(item["metadata"].get("namespace"))
        item["metadata"]["resourceVersion"] = str(self.version)
        uid, name = item["metadata"]["uid"], item["metadata"]["name"]
        kind = "MODIFIED" if uid in self.objects[path] else "ADDED"
        self.objects[path][uid] = item
        self.history[path].append((self.version, name, json.dumps({"type": kind, "object": item}).encode() + b"\n"))
        for watch in self.watches:
            if watch.path == path and watch.only in (None, name):
                watch.wake.set()


class Clusters:
    """All servers behind one port, selected by the first part of the path."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.servers = [Cluster() for _ in range(plan.cluster_of(plan.trials) + 1)]
        self.all = [Deployment(number, self.servers[plan.cluster_of(number)]) for number in range(plan.trials + 1)]
        self.stopping = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        arrived_at = time.monotonic()
        first, _, rest = request.path.lstrip("/").partition("/")
        cluster, path = self.servers[int(first)], f"/{rest}"
        if path == "/version":
            # It is not a real cluster, and its clock is the machine's.
            return web.json_response({"gitVersion": "v1.34.0", "simulated": {"name": "concurrency"}})
        if path in cluster.history:
            return await self._collection(request, cluster, path)
        if "/proxy/" in path:
            return await self._proxied(self._deployment(path), path, arrived_at)
        if path.startswith(f"{KINDS['rayservices'].path(NAMESPACE)}/"):
            collection, uid = self._deployment(path).objects.named()
            return web.json_response(cluster.objects[collection][uid])
        return web.json_response({"kind": "Status", "code": 404, "message": "not found"}, status=404)

    def _deployment(self, path: str) -> Deployment:
        """Return the trial that a path names."""
        found = _NUMBER.search(path)
        if found is None:
            raise web.HTTPNotFound
        return self.all[int(found.group(1))]

    async def _collection(self, request: web.Request, cluster: Cluster, path: str) -> web.StreamResponse:
        if request.query.get("watch") is None:
            items = list(cluster.objects[path].values())
            return web.json_response({"metadata": {"resourceVersion": str(cluster.version)}, "items": items})
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        only = re.search(r"metadata\.name=(\S+)", request.query.get("fieldSelector", ""))
        watch = Watch(path, request.transport, only.group(1) if only else None)
        cluster.watches.add(watch)
        try:
            await self._stream(response, cluster, watch, request.query)
        except (ConnectionError, RuntimeError):
            pass  # the recorder disconnected
        finally:
            cluster.watches.discard(watch)
        return response

    async def _stream(self, response: web.StreamResponse, cluster: Cluster, watch: Watch, query: Any) -> None:
        """Send the backlog and new versions until the watch ends. A real server ends each watch at another time."""
        version = int(query["resourceVersion"])
        ends_at = time.monotonic() + float(query["timeoutSeconds"]) * self.random.uniform(0.2, 1.0)
        history, position = cluster.history[watch.path], 0
        while not self.stopping:
            watch.wake.clear()
            due = []
            for number, name, line in history[position:]:
                if number > version and watch.only in (None, name):
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

    async def _proxied(self, trial: Deployment, path: str, arrived_at: float) -> web.Response:
        """Serve's REST answer never changes; the model's first answer comes after the end of the load."""
        if not path.endswith("/chat/completions"):
            return web.json_response(trial.objects.serve_answer() if "serve/applications" in path else {})
        if trial.asked_at is None:
            trial.asked_at = arrived_at
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOLD_S):
                await trial.released.wait()
        return web.json_response(
            {"model": "phi", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
        )

    async def load(self) -> None:
        """Send `events_per_s` for `recording_s`, drawn over all clusters; each becomes ready once, at a random time."""
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

    async def change(self) -> None:
        """Let objects change at the load's rate until this is cancelled. No trial becomes ready."""
        begun, told, turns = time.monotonic(), 0, self._turns(self.all[:-1])
        while True:
            while told < (time.monotonic() - begun) * self.plan.events_per_s:
                told += next(turns)
            await asyncio.sleep(TICK_S)

    def _turns(self, recorded: list[Deployment]) -> Iterator[int]:
        """Let one cluster after the other send its next change; yield the number of its watch events."""
        while True:
            for trial in self.random.sample(recorded, len(recorded)):
                before = len(trial.sent)
                for resource, item in trial.objects.next_versions(self.random):
                    trial.send(resource, item)
                yield len(trial.sent) - before

    def watched_share(self) -> float:
        """Return the share of the recorded clusters' watches that are open."""
        per, trials = self.plan.per_cluster, self.plan.trials
        wanted = [WATCHES + min(per, trials - first * per) for first in range(len(self.servers) - 1)]
        there = [min(one.watched(), number) for one, number in zip(self.servers, wanted, strict=False)]
        return sum(there) / sum(wanted)

    async def wait_for_watches(self, at_most: float = 1.0) -> bool:
        """Wait until every recorded cluster has all its watches, or (`at_most` below 1) until only such a share of them
        is open; return False if that does not happen.
        """
        for _ in range(6000):
            share = self.watched_share()
            if share == 1.0 if at_most == 1.0 else share <= at_most:
                return True
            await asyncio.sleep(0.02)
        return False

    async def _each_open_again(self, before: list[set[tuple[str, str | None]]]) -> bool:
        """Wait until each watch was seen open; return False if that does not happen."""
        for _ in range(6000):
            for one, missing in zip(self.servers, before, strict=True):
                missing.difference_update(one.open_watches())
            if not any(before):
                return True
            await asyncio.sleep(0.02)
        return False

    async def interruption(self) -> None:
        """Wait until some watches have ended and each was open again; what was sent before is not counted."""
        changing = asyncio.ensure_future(self.change())
        before = [set(one.open_watches()) for one in self.servers]
        report_step("interruptible")
        # Single watches end at any time, so all of them are never open at one instant.
        await self.wait_for_watches(at_most=LEFT_AFTER_A_DEATH)
        begun = time.monotonic()
        again = await self._each_open_again(before)
        changing.cancel()
        for one in self.all:
            one.sent.clear()
        report_step("watched_again", watched=again, after_s=time.monotonic() - begun)


def report_step(step: str, **detail: Any) -> None:
    """Send a message to the parent process."""
    sys.stdout.write(json.dumps({"step": step, **detail}) + "\n")
    sys.stdout.flush()


async def serve(plan: Plan, certificate: str) -> None:
    """Run all steps: serve, wait for the watches, send the load, let the models answer, report, wait for the end."""
    # A trial that ends closes its watches in the middle; this is no error here.
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
    report_step("serving", url=f"https://127.0.0.1:{runner.addresses[0][1]}")
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    steps = asyncio.ensure_future(_run_steps(clusters))
    await asyncio.wait({ended, steps}, return_when=asyncio.FIRST_COMPLETED)
    if steps.done():
        steps.result()
    await ended
    steps.cancel()
    clusters.stopping = True
    await runner.cleanup()


async def _run_steps(clusters: Clusters) -> None:
    watched = await clusters.wait_for_watches()
    if clusters.plan.interrupted:
        await clusters.interruption()
    report_step("load_begins", watched=watched)
    begun = time.monotonic()
    await clusters.load()
    report_step("load_ends", seconds=time.monotonic() - begun, sent=sum(len(one.sent) for one in clusters.all[:-1]))
    # The last versions are in transit; afterwards the models answer and the trials end.
    for _ in range(round(HOLD_S / 2 / TICK_S)):
        if all(one.asked_at is not None for one in clusters.all[:-1]):
            break
        await asyncio.sleep(TICK_S)
    await asyncio.sleep(1.0)
    report_step(
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
