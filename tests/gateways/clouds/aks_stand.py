"""Builders of the AKS tests: the stand-in over HTTP, the gateway in front of it, a ledger that remembers the order."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.gateways.clouds.aks.arm import LocalCredential
from airflow_llm_provisioning.gateways.clouds.aks.cloud import AksCloud
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.store.ledger import Entry
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.aks import AksStandIn
from llm_provisioning_simulator.clouds.aks.tasks import Registry
from llm_provisioning_simulator.images import seed_public_images
from llm_provisioning_simulator.world import CloudCluster, Image, World, digest_of

HOST = "llmprovisioning.azurecr.io"
RECIPE = ImageRecipe(base="rayproject/ray:2.46.0", pip=("hf_transfer==0.1.9",), env={"HF_HUB_ENABLE_HF_TRANSFER": "1"})
BUILD = {"recipe": RECIPE.as_dict(), "repository": "ray-serving", "target": "aks", "keep_days": 7}
POOL = {
    "name": "aksgpu",
    "machine_type": "Standard_NV36ads_A10_v5",
    "gpu_sku": "A10",
    "gpu_count": 1,
    "min_nodes": 0,
    "max_nodes": 4,
    "labels": {"llm-provisioning/target": "aks"},
    "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
    "streaming": True,
    "disk_gib": 128,
}

# Virtual seconds: short, because nothing here is about how long Azure takes; a speed at which every deadline of the
# gateway is far away in real time.
DURATIONS_S = {
    "create_pool": 6.0,
    "update_pool": 6.0,
    "delete_pool": 6.0,
    "register_feature": 6.0,
    "build_queue": 2.0,
    "build_failure": 2.0,
    "build_pull_bytes_s": 1e9,
    "build_install_bytes_s": 1e9,
    "build_push_bytes_s": 1e9,
    "convert_bytes_s": 200e6,
    "referrer_lag": 2.0,
}
SPEED = 60.0


class RecordingLedger:
    """A ledger in memory. `events`: what was written, in order, for tests of intent before create."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.events: list[str] = []
        self.on_intend: Callable[[], None] = lambda: None
        self._entries: dict[str, Entry] = {}
        self._clock = clock

    def intend(self, kind: str, name: str, place: str, tags: Mapping[str, str], expires_at: datetime) -> str:
        entry_id = f"{place} {kind} {name}"
        self.on_intend()
        self.events.append(f"intend {kind} {name}")
        if entry_id not in self._entries or self._entries[entry_id].state == "gone":
            self._entries[entry_id] = Entry(
                entry_id, kind, name, place, tags, "intended", self._clock(), expires_at=expires_at
            )
        return entry_id

    def created(self, entry_id: str, identity: str) -> None:
        self.events.append(f"created {identity}")
        self._entries[entry_id] = replace(self._entries[entry_id], state="created", identity=identity)

    def gone(self, entry_id: str) -> None:
        self.events.append(f"gone {entry_id}")
        self._entries[entry_id] = replace(self._entries[entry_id], state="gone")

    def open_entries(self, place: str | None = None) -> Sequence[Entry]:
        return [e for e in self._entries.values() if e.state != "gone" and place in (None, e.place)]


@dataclass
class Stand:
    """One running stand-in and everything a test asks of it. `jump` moves the gateway's clock, not the stand-in's."""

    world: World
    sim: AksStandIn
    clock: SimClock
    urls: dict[str, str]
    ledger: RecordingLedger
    durations: dict[str, float]
    jump: timedelta = timedelta()
    clouds: list[AksCloud] = field(default_factory=list)

    def now(self) -> datetime:
        return self.clock.now() + self.jump

    def cloud(self, **overrides: Any) -> AksCloud:
        """Return a new gateway, as a new process would have it."""
        arguments: dict[str, Any] = {
            "subscription_id": self.sim.subscription_id,
            "resource_group": self.sim.resource_group,
            "registry": "llmprovisioning",
            "endpoints": self.urls,
            "ledger": self.ledger,
            "clock": self.now,
            **overrides,
        }
        cloud = AksCloud(LocalCredential(), **arguments)
        self.clouds.append(cloud)
        return cloud

    async def start(self, verb: str, request: Mapping[str, Any], cloud: AksCloud | None = None) -> Operation:
        """Start an operation in a thread, as a trigger does."""
        return stored(await asyncio.to_thread((cloud or self.cloud()).start, verb, request))

    async def poll(self, operation: Operation, cloud: AksCloud | None = None) -> Operation:
        return stored(await asyncio.to_thread((cloud or self.cloud()).poll, operation))

    async def until(
        self, operation: Operation, reached: Callable[[Operation], bool], cloud: AksCloud | None = None
    ) -> Operation:
        """Poll until something holds, or the operation ended without it."""
        cloud = cloud or self.cloud()
        async with asyncio.timeout(60):
            while not reached(operation):
                assert operation.state == "running", operation
                operation = await self.poll(operation, cloud)
                await asyncio.sleep(0.01)
        return operation

    async def end(self, operation: Operation, cloud: AksCloud | None = None) -> Operation:
        return await self.until(operation, lambda op: op.state != "running", cloud)

    async def run(self, verb: str, request: Mapping[str, Any]) -> Operation:
        cloud = self.cloud()
        return await self.end(await self.start(verb, request, cloud), cloud)

    async def built(self) -> dict[str, Any]:
        """Build the image and return the result."""
        operation = await self.run("build_image", BUILD)
        assert operation.result is not None, operation.error
        return dict(operation.result)

    def push(self, reference: str, layer_bytes: Sequence[int] = (200_000_000,)) -> Image:
        """Put another owner's image into a registry."""
        image = Image(reference, digest_of("foreign", reference), tuple(layer_bytes), {}, {}, "eastus", self.now())
        return self.world.push(image)

    def jump_s(self, seconds: float) -> None:
        """Move the gateway's clock on."""
        self.jump += timedelta(seconds=seconds)

    async def owned(self) -> list[Owned]:
        """List from a new process."""
        return await asyncio.to_thread(self.cloud().list_owned)

    async def until_nothing_is_owned(self, cloud: AksCloud) -> None:
        """Wait for the deletions that Azure has only accepted so far."""
        for _ in range(1000):
            if not await asyncio.to_thread(cloud.list_owned):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(await self.owned())

    def count(self, call: str) -> int:
        """Return how often a call was answered."""
        return self.sim.calls.count(call)


def stored(operation: Operation) -> Operation:
    """Return an operation as it comes back from a database."""
    return Operation.from_dict(json.loads(json.dumps(operation.as_dict())))


@asynccontextmanager
async def azure(
    *, registries: Sequence[Registry] | None = None, nodes: Callable[[str, str], int] | None = None
) -> AsyncIterator[Stand]:
    """Run a stand-in with one cluster `c1`."""
    world, clock = World(), SimClock.start(SPEED)
    seed_public_images(world)
    world.clusters["c1"] = CloudCluster("c1", "aks", "eastus", "1.33.2", "native", server="http://127.0.0.1:9")
    sim = AksStandIn(world, clock, registries=registries, durations_s=DURATIONS_S, nodes_of=nodes)
    stand = Stand(world, sim, clock, await sim.start(), RecordingLedger(clock.now), sim.durations_s)
    try:
        yield stand
    finally:
        for cloud in stand.clouds:
            await asyncio.to_thread(cloud.close)
        await sim.stop()
