"""A simulated Google project on a thread of its own, a gateway to it, and a ledger that watches the order of calls."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from google.auth.credentials import AnonymousCredentials

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.gke.cloud import GkeCloud
from airflow_llm_provisioning.gateways.store.ledger import Entry
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke import GkeStandIn
from llm_provisioning_simulator.images import seed_public_images
from llm_provisioning_simulator.world import CloudCluster, NodePool, World

PROJECT, REGION = "my-project", "us-central1"
RECIPE = {
    "base": "rayproject/ray-ml:2.33.0.914af0-py311",
    "pip": ["hf_transfer==0.1.9"],
    "env": {"HF_HUB_ENABLE_HF_TRANSFER": "1"},
}
BUILD = {"recipe": RECIPE, "repository": "ray-serving", "target": "gke-streaming", "keep_days": 7}
POOL = {
    "name": "gpu-streaming",
    "machine_type": "g2-standard-12",
    "gpu_sku": "L4",
    "gpu_count": 1,
    "min_nodes": 0,
    "max_nodes": 2,
    "labels": {"llm-provisioning/nodes": "gpu-streaming"},
    "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
    "streaming": True,
}
SPEED = 40.0
# Short, so that a test takes parts of a second and every deadline lies minutes away; jumps are the test's own.
QUICK = {
    **dict.fromkeys(("enable_api", "update_cluster", "update_node_pool", "create_node_pool", "delete_node_pool"), 2.0),
    **dict.fromkeys(("create_repository", "delete_repository", "delete_version", "prewarm"), 2.0),
    **dict.fromkeys(("create_disk", "delete_disk", "create_instance", "delete_instance", "builder_boot"), 1.0),
    **dict.fromkeys(("create_disk_image", "delete_disk_image", "set_labels", "builder_install"), 1.0),
    "builder_copy_bytes_s": 10000000000.0,
    "build_queue": 1.0,
    "build_setup": 1.0,
    **dict.fromkeys(("build_pull_bytes_s", "build_install_bytes_s", "build_push_bytes_s"), 10000000000.0),
}


class MemoryLedger:
    """A ledger in memory. `calls`: (what, kind, name) in order."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.calls: list[tuple[str, str, str]] = []

    def intend(self, kind: str, name: str, place: str, tags: Mapping[str, str], expires_at: datetime) -> str:
        entry_id = f"{place}|{kind}|{name}"
        if entry_id not in self.entries or self.entries[entry_id].state == "gone":
            self.entries[entry_id] = Entry(entry_id, kind, name, place, tags, "intended", expires_at, expires_at)
            self.calls.append(("intend", kind, name))
        return entry_id

    def created(self, entry_id: str, identity: str) -> None:
        self._move(entry_id, "created", identity)

    def gone(self, entry_id: str) -> None:
        self._move(entry_id, "gone", self.entries[entry_id].identity)

    def open_entries(self, place: str | None = None) -> list[Entry]:
        return [e for e in self.entries.values() if e.state != "gone" and place in {None, e.place}]

    def _move(self, entry_id: str, state: Any, identity: str | None) -> None:
        old = self.entries[entry_id]
        self.entries[entry_id] = Entry(
            entry_id, old.kind, old.name, old.place, old.tags, state, old.intended_at, old.expires_at, identity
        )
        self.calls.append((state, old.kind, old.name))

    def states(self) -> dict[str, str]:
        """Kind -> state of its (single) entry."""
        return {entry.kind: entry.state for entry in self.entries.values()}


class GoogleProject:
    """The stand-in with its world, running on a loop of its own."""

    def __init__(self) -> None:
        self.world = World()
        seed_public_images(self.world)
        self.clock = SimClock.start(SPEED)
        self.ahead = timedelta(0)
        """How far the gateway's clock runs ahead of the stand-in's: set it to let a deadline pass."""
        self.loop = asyncio.new_event_loop()
        self.stand_in = GkeStandIn(self.world, self.clock, durations_s=QUICK, region=REGION)
        self.endpoints: dict[str, str] = {}
        self.ledger = MemoryLedger()
        self._clouds: list[GkeCloud] = []
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> "GoogleProject":
        self._thread.start()
        self.endpoints = self.run(self.stand_in.start())
        return self

    def __exit__(self, *_: object) -> None:
        for cloud in self._clouds:
            cloud.close()
        self.run(self.stand_in.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine on the stand-in's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def cloud(self, **options: Any) -> GkeCloud:
        """Return a new gateway, as a new process would have it: it remembers nothing."""
        cloud = GkeCloud(
            AnonymousCredentials(),
            project=PROJECT,
            location=options.pop("location", REGION),
            endpoints=self.endpoints,
            ledger=options.pop("ledger", self.ledger),
            clock=lambda: self.clock.now() + self.ahead,
            **options,
        )
        self._clouds.append(cloud)
        return cloud

    def calls(self, service: str, suffix: str) -> int:
        """How many calls of a method came in."""
        return sum(name.endswith(suffix) for name in self.stand_in.apis[service].calls)

    def cluster(self, name: str = "main", **fields: Any) -> CloudCluster:
        """Put a cluster into the world, with a CPU pool and a GPU pool that does not stream."""
        cluster = CloudCluster(name, "gke", REGION, "1.33.5", "native", **fields)
        cluster.pools["cpu"] = NodePool("cpu", "e2-standard-4", 1, 3, {}, (), {}, image_type="COS_CONTAINERD")
        cluster.pools["gpu"] = NodePool("gpu", "g2-standard-12", 0, 2, {}, (), {"L4": 1}, image_type="COS_CONTAINERD")
        self.world.clusters[name] = cluster
        return cluster


@contextmanager
def google_project() -> Iterator[GoogleProject]:
    with GoogleProject() as project:
        yield project


def follow(cloud: GkeCloud, operation: Operation, *, until: Callable[[Operation], bool] | None = None) -> Operation:
    """Look again and again, a few milliseconds apart, until the operation ended (or `until` holds)."""
    deadline = time.monotonic() + 30
    while operation.state == "running" and not (until and until(operation)):
        assert time.monotonic() < deadline, operation
        operation = Operation.from_dict(cloud.poll(operation).as_dict())
        time.sleep(0.01)
    return operation


def finish(cloud: GkeCloud, verb: str, request: Mapping[str, Any]) -> Operation:
    """Start a verb and follow it to its end."""
    return follow(cloud, cloud.start(verb, request))
