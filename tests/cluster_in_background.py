"""A simulated cluster on a thread of its own, so that synchronous operators can talk to it over HTTP."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from airflow_llm_provisioning.core.target import Target
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.images import seed_public_images
from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.profiles import Profile, load_profile
from llm_provisioning_simulator.world import CloudCluster, World

TOKEN = "made-up-token-that-must-not-leak"
SPEED = 600.0


@dataclass
class BackgroundCluster:
    """Its parts are touched through `call`, which runs on its loop."""

    simulated: SimulatedCluster
    url: str
    world: World
    clock: SimClock
    _loop: asyncio.AbstractEventLoop = field(repr=False)

    def call(self, work: Callable[[], Any]) -> Any:
        """Run a function on the cluster's loop and return its result."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(timeout=120)

    def objects(self, resource: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return the objects of a resource."""
        found: list[dict[str, Any]] = self.call(lambda: self.simulated.store.list(resource, namespace))
        return found

    def names(self, resource: str) -> list[str]:
        """Return the names of a resource's objects."""
        return sorted(item["metadata"]["name"] for item in self.objects(resource))

    def create(self, resource: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create an object as another owner."""
        made: dict[str, Any] = self.call(lambda: self.simulated.store.create(resource, manifest, manager="somebody"))
        return made

    def fault(self, name: str, value: Any) -> None:
        """Switch a fault."""
        self.call(lambda: self.simulated.faults.switch(name, value))

    def until(self, true: Callable[[], bool], real_s: float = 120.0) -> None:
        """Wait until something holds."""
        ends = time.monotonic() + real_s
        while not true():
            if time.monotonic() > ends:
                raise TimeoutError("it did not come to hold")
            time.sleep(0.05)


def kube_config(url: str) -> dict[str, Any]:
    """Return a kubeconfig of the cluster, with a token."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }


def kubernetes_connection(url: str) -> str:
    """Return the value of an AIRFLOW_CONN_* variable that leads to the cluster."""
    return json.dumps({"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(kube_config(url))}})


class ClusterThread:
    """Runs one cluster until it is left. `change`: what is made of the cloud's profile before."""

    def __init__(
        self,
        *,
        speed: float = SPEED,
        cloud: str = "eks",
        autoscaler: str = "luna",
        change: Callable[[Profile], Profile] = lambda profile: profile,
    ) -> None:
        self._change = change
        self._speed, self._cloud, self._autoscaler = speed, cloud, autoscaler
        self._stop: asyncio.Event | None = None
        self._started: Future[BackgroundCluster] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="simulated-cluster", daemon=True)

    def __enter__(self) -> BackgroundCluster:
        self._thread.start()
        self._cluster = self._started.result(timeout=120)
        return self._cluster

    def __exit__(self, *failure: object) -> None:
        assert self._stop is not None
        self._cluster.call(self._stop.set)
        self._thread.join(timeout=120)

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        try:
            world = World()
            seed_public_images(world)
            described = CloudCluster("demo", self._cloud, "us-west-2", "1.34.9", self._autoscaler)  # type: ignore[arg-type]
            world.clusters["demo"] = described
            clock = SimClock.start(self._speed)
            profile = self._change(load_profile(self._cloud, self._autoscaler))
            cluster = SimulatedCluster(described, world, clock, profile=profile, seed=7)
            url = await cluster.start()
        except BaseException as error:
            self._started.set_exception(error)
            raise
        self._started.set_result(BackgroundCluster(cluster, url, world, clock, asyncio.get_running_loop()))
        await self._stop.wait()
        await cluster.stop()


def simulated_target(**fields: Any) -> Target:
    """Return the target on that cluster: EKS nodes by Luna."""
    nodes = {
        "cloud": "eks",
        "autoscaler": "luna",
        "kubernetes_minor": "1.34",
        "gpu_skus": ["L4"],
        "options": {"api_server": "https://demo.simulated", "cluster_certificate": "Q0E="},
    }
    data = {"name": "plain", "cluster": "demo", "conn_id": "sim", "variants": ["baseline", "fast_download"]}
    return Target.from_dict({**data, "nodes": nodes, **fields})
