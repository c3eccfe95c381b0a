"""Builders for one small simulated cluster without HTTP, in virtual time."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.infra.autoscalers.base import NodeAutoscaler
from llm_provisioning_simulator.infra.autoscalers.karpenter import Karpenter
from llm_provisioning_simulator.infra.autoscalers.luna import Luna
from llm_provisioning_simulator.infra.autoscalers.native import NativeAutoscaler
from llm_provisioning_simulator.infra.endpoints import EndpointController
from llm_provisioning_simulator.infra.kubelet import Kubelets
from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.infra.nodes import NodeFleet
from llm_provisioning_simulator.infra.scheduler import Scheduler
from llm_provisioning_simulator.infra.system import install
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.profiles import Profile
from llm_provisioning_simulator.runtime import ContainerContext, ProbeKind
from llm_provisioning_simulator.virtual_time import VirtualClock
from llm_provisioning_simulator.world import CloudCluster, Image, World

Object = dict[str, Any]
Build = Callable[..., Any]
GIB = 1024**3
# Virtual seconds between two looks of a wait.
LOOK_EVERY_S = 0.25
REGIONS = {"eks": "us-west-2", "gke": "us-central1", "aks": "eastus"}
IMAGES = {
    "eks": "123456789012.dkr.ecr.us-west-2.amazonaws.com/serving:r-1",
    "gke": "us-central1-docker.pkg.dev/project/serving/ray:r-1",
    "aks": "acme.azurecr.io/serving:r-1",
}


@dataclass
class PlainRuntime:
    """Containers that run without doing anything. `init_s`: what an init container takes."""

    clock: SimClock
    init_s: float = 8.0
    healthy: bool = True
    started: list[ContainerContext] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    async def run_init_container(self, ctx: ContainerContext) -> int:
        self.started.append(ctx)
        await self.clock.sleep(self.init_s)
        return 0

    def container_started(self, ctx: ContainerContext) -> None:
        self.started.append(ctx)

    def container_ended(self, pod: Object, container: str) -> None:
        self.stopped.append(f"{pod['metadata']['name']}/{container}")

    def probe(self, pod: Object, container: str, kind: ProbeKind) -> str | None:
        return None if self.healthy else "success\n"

    def pod_stopped(self, pod: Object) -> None:
        self.stopped.append(pod["metadata"]["name"])


class SmallCluster:
    """Everything of infra on one store. `history`: every change of every watched resource, in order."""

    def __init__(self, cloud: str, autoscaler: str, *, profile: Profile, world: World) -> None:
        self.clock = VirtualClock.of_this_loop()
        self.world = world
        self.cloud = CloudCluster("demo", cloud, REGIONS[cloud], "1.34.9", autoscaler)  # type: ignore[arg-type]
        world.clusters["demo"] = self.cloud
        world.aks_attached.add(("demo", "acme.azurecr.io"))
        self.store = ObjectStore(self.clock, seed=1)
        self.ctx = ClusterContext(self.cloud, world, self.store, self.clock, profile, random.Random(1))
        self.fleet = NodeFleet(self.ctx)
        self.runtime = PlainRuntime(self.clock)
        kinds = {"luna": Luna, "karpenter": Karpenter, "native": NativeAutoscaler}
        self.autoscaler: NodeAutoscaler = kinds[autoscaler](self.ctx, self.fleet)
        self.tasks = TaskGroup()
        self.history: list[tuple[datetime, str, str, Object]] = []

    async def start(self) -> None:
        self.tasks.start(self._record())
        self.system = install(self.ctx, self.fleet)
        self.tasks.start(Scheduler(self.ctx).run())
        self.tasks.start(EndpointController(self.ctx).run())
        self.tasks.start(Kubelets(self.ctx, self.fleet.machines, self.runtime).run())
        self.tasks.start(self.autoscaler.run())
        await asyncio.sleep(0.01)

    async def stop(self) -> None:
        await self.tasks.stop()
        await self.fleet.stop()

    async def _record(self) -> None:
        async for type_, resource, item in self.store.subscribe(
            "pods", "nodes", "events", "endpointslices", "nodeclaims"
        ):
            self.history.append((self.clock.now(), type_, resource, item))

    def apply(self, pod: Object) -> Object:
        return self.store.create("pods", pod, namespace="default", manager="test")

    def pod(self, name: str) -> Object:
        found = self.store.get("pods", name, "default")
        assert found is not None, f"pod {name} is gone"
        return found

    async def until(self, holds: Callable[[], bool], *, limit_s: float = 3000, what: str = "it") -> None:
        """Wait, in virtual seconds, until something holds."""
        end = self.clock.now().timestamp() + limit_s
        while not holds():
            if self.clock.now().timestamp() > end:
                states = {machine.name: machine.state for machine in self.fleet.machines.values()}
                raise AssertionError(
                    f"{what} did not happen within {limit_s} s; machines {states}; {self.events()[-5:]}"
                )
            await self.clock.sleep(LOOK_EVERY_S)
        # Let the recorder of `history` catch up.
        await self.clock.sleep(0)

    def is_running(self, name: str) -> bool:
        found = self.store.peek("pods", name, "default")
        return bool(found) and found["status"].get("phase") == "Running"

    def is_ready(self, name: str) -> bool:
        found = self.store.peek("pods", name, "default") or {"status": {}}
        rows = found["status"].get("conditions") or ()
        return any(row["type"] == "Ready" and row["status"] == "True" for row in rows)

    def events(self, about: str | None = None) -> list[tuple[str, str]]:
        """Return (reason, message) of every event, in order of their first writing."""
        return [
            (item["reason"], item["message"])
            for _, type_, resource, item in self.history
            if resource == "events" and type_ == "ADDED" and about in (None, item["involvedObject"]["name"])
        ]

    def new_machines(self) -> list[str]:
        return [name for name in self.fleet.machines if name != self.system.name]


def a_world(cloud: str, layers: tuple[int, ...] = (GIB, GIB // 2)) -> World:
    world = World()
    world.push(
        Image(IMAGES[cloud], "sha256:" + "a" * 64, layers, {}, {}, REGIONS[cloud], datetime(2026, 1, 1, tzinfo=UTC))
    )
    return world


def a_pod(cloud: str, name: str = "worker", *, gpu: bool = True, init: bool = True, **changes: Any) -> Object:
    """Return a pod as KubeRay makes a worker (with GPU and init container) or a head (without both)."""
    amounts = {"cpu": "8" if gpu else "2", "memory": "20Gi" if gpu else "8Gi"} | (
        {"nvidia.com/gpu": "1"} if gpu else {}
    )
    main = {
        "name": "ray-worker" if gpu else "ray-head",
        "image": IMAGES[cloud],
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "readinessProbe": {
            "exec": {"command": ["true"]},
            "initialDelaySeconds": 10,
            "periodSeconds": 5,
            "failureThreshold": 1,
        },
    }
    small = {"cpu": "200m", "memory": "256Mi"}
    first = {
        "name": "wait-gcs-ready",
        "image": IMAGES[cloud],
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": small, "limits": small},
    }
    spec: Object = {"containers": [main], "terminationGracePeriodSeconds": 5}
    if init and gpu:
        spec["initContainers"] = [first]
    if gpu:
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    metadata = {"name": name, "labels": {"elotl-luna": "true"}}
    if gpu:
        metadata["annotations"] = {"node.elotl.co/instance-gpu-skus": "L4,A10G,A10,L40S"}  # type: ignore[assignment]
    return {"metadata": metadata, "spec": spec | changes}
