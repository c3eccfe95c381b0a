"""A whole simulated cluster without HTTP: two nodes that are there, kubelets, scheduler, endpoints, operator, Ray.

It keeps every change with the virtual instant at which it came, as the recordings do.
"""

import asyncio
import copy
import functools
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from llm_provisioning_simulator.app.controllers import ApplicationLayer
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.infra.endpoints import EndpointController
from llm_provisioning_simulator.infra.kubelet import Kubelets
from llm_provisioning_simulator.infra.machines import ClusterContext, LocalImage
from llm_provisioning_simulator.infra.nodes import NodeFleet
from llm_provisioning_simulator.infra.scheduler import Scheduler
from llm_provisioning_simulator.kube.backend import PodRequest
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.profiles import Profile, load_profile
from llm_provisioning_simulator.virtual_time import VirtualClock, run_at_once
from llm_provisioning_simulator.world import CloudCluster, Delivery, Image, NodeSpec, World

WATCHED = ("rayservices", "rayclusters", "pods", "services", "events", "endpointslices", "nodes")
RECORDED_IMAGE = "127.0.0.1:5001/acme/ray-llm:2.60.0"


@dataclass(frozen=True)
class Seen:
    """One line of a trace."""

    at: datetime
    type: str
    resource: str
    object: dict[str, Any] = field(repr=False)


def tiny_profile(**values: float) -> Profile:
    """The EKS profile with the recordings' own short delays, so that a trial takes about a virtual minute."""
    profile = load_profile("eks", "native")
    # The sandbox is slow enough that a busy machine does not skip what can be seen before it is there.
    short = {"gcs_check_s": 8.0, "head_start_s": 6.0, "runtime_env_base_s": 2.0, "sandbox_s": 2.0}
    return profile.with_values(**{**short, "run_to_run_noise": 0.0, **values})


def an_image(reference: str = RECORDED_IMAGE, **packages: str) -> Image:
    """An image of 160 MB with Ray in it, as recorded."""
    held = {"ray": "2.60.0", **{name.replace("_", "-"): version for name, version in packages.items()}}
    return Image(reference, "sha256:" + "b" * 64, (160_024_299,), held, {}, None, datetime(2026, 1, 1, tzinfo=UTC))


class TrialRig:
    """Start it, `apply` a manifest, wait for what you claim, `stop` it."""

    def __init__(
        self,
        profile: Profile | None = None,
        *,
        image: Image | None = None,
        cached: bool = True,
        gpu_node: bool = True,
        delivery: Delivery | None = None,
    ) -> None:
        self.clock = VirtualClock.of_this_loop()
        self.profile = profile or tiny_profile()
        self.world = World()
        self.faults = Faults()
        self.store = ObjectStore(self.clock, seed=3)
        self.image = self.world.push(image or an_image())
        cluster = CloudCluster("rig", "eks", "us-west-2", "1.34.9", "native")
        self.ctx = ClusterContext(
            cluster, self.world, self.store, self.clock, self.profile, random.Random(3), self.faults
        )
        self.fleet = NodeFleet(self.ctx)
        self.app = ApplicationLayer(self.store, self.clock, self.profile, seed=3, faults=self.faults)
        self.runtime = self.app.runtime
        self.trace: list[Seen] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._cached = LocalImage(self.image, delivery or Delivery("present")) if cached else None
        self._gpu_node = gpu_node

    async def __aenter__(self) -> "TrialRig":
        self.store.create("namespaces", {"metadata": {"name": "serving"}}, manager="test")
        kubelets = Kubelets(self.ctx, self.fleet.machines, self.runtime)
        loops = (
            self._record(),
            kubelets.run(),
            Scheduler(self.ctx).run(),
            EndpointController(self.ctx).run(),
        )
        self._tasks = [asyncio.get_running_loop().create_task(loop) for loop in loops]
        await self.app.start()
        self.join("cpu-node-1", "cpu", gpus=0)
        if self._gpu_node:
            self.join("gpu-node-1", "gpu", gpus=1)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.app.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.fleet.stop()

    def join(self, name: str, pool: str, *, gpus: int, cold: bool = False) -> None:
        """Add a node that is ready at once, with its GPUs allocatable; a cold one must pull the image."""
        spec = NodeSpec(
            "rig", name, "eks", "us-west-2", "us-west-2a", "g6.4xlarge", {"L4": gpus} if gpus else {}, {"pool": pool}
        )
        size = next(item for item in self.profile.instance_types if item.cpu >= 16 and item.gpus)
        machine = self.fleet.join_at_once(spec, size, "al2023")
        if self._cached is not None and not cold:
            machine.images[self.image.reference] = self._cached

        def change(node: dict[str, Any]) -> None:
            for part in ("capacity", "allocatable"):
                node["status"][part]["nvidia.com/gpu"] = str(gpus)

        self.store.mutate("nodes", name, None, change, subresource="status", manager="kubelet")

    def apply(self, manifest: dict[str, Any]) -> None:
        """Create a RayService."""
        self.store.create("rayservices", copy.deepcopy(manifest), manager="kubectl")

    def service(self) -> dict[str, Any]:
        """Return the RayService; {} when there is none."""
        found = self.store.list("rayservices", "serving")
        return found[0] if found else {}

    def ready(self) -> bool:
        """Whether the RayService is Ready."""
        return self.condition("Ready").get("status") == "True"

    def condition(self, type_: str) -> dict[str, Any]:
        """Return a condition of the RayService, {} where it has none of this type."""
        conditions = (self.service().get("status") or {}).get("conditions") or ()
        return next((item for item in conditions if item["type"] == type_), {})

    def applications(self) -> dict[str, Any]:
        """Return the application statuses the operator shows, wherever they stand."""
        status = self.service().get("status") or {}
        parts = [status.get("activeServiceStatus") or {}, status.get("pendingServiceStatus") or {}]
        return next((part["applicationStatuses"] for part in parts if part.get("applicationStatuses")), {})

    def pod(self, node_type: str) -> dict[str, Any]:
        """Return the only pod of a Ray node type."""
        (pod,) = self.store.list("pods", "serving", labels={"ray.io/node-type": node_type})
        return pod

    async def until(self, true: Callable[[], bool], virtual_s: float = 600.0) -> None:
        """Wait until something holds; a TimeoutError tells what the cluster looked like."""
        for _ in range(int(virtual_s * 4)):
            if true():
                return
            await self.clock.sleep(0.25)
        events = [
            f"{seen.object['reason']}: {seen.object['message']}" for seen in self.trace if seen.resource == "events"
        ]
        raise TimeoutError(f"{self.service().get('status')}\n" + "\n".join(events))

    async def get(self, path: str, node_type: str = "head", port: int = 8265, query: str = "") -> tuple[int, bytes]:
        """GET from a pod as the API server's proxy does."""
        status, _, body = await self.runtime.request(PodRequest(self.pod(node_type), port, path, query=query))
        return status, body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])

    async def _record(self) -> None:
        async for type_, resource, item in self.store.subscribe(*WATCHED):
            self.trace.append(Seen(self.clock.now(), type_, resource, copy.deepcopy(item)))


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a loop that never waits, so that no load of the machine can reorder anything."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run_at_once(test(*args, **kwargs))

    return wrapper
