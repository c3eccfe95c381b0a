"""What all node autoscalers share: pods that no node can take, machines asked for on their behalf, and empty machines.

A machine is asked for once for each pod that needs one; an empty machine that is promised to nobody (its pod was
deleted while it booted) is promised again before another is asked for.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from llm_provisioning_simulator.infra.demand import allocatable_of, missing, pod_demand
from llm_provisioning_simulator.infra.deviceplugin import owned_by_daemonset
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine
from llm_provisioning_simulator.infra.nodes import NodeFleet
from llm_provisioning_simulator.infra.scheduler import is_unschedulable, selects, tolerates
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.profiles import InstanceType
from llm_provisioning_simulator.world import digest_of

Object = dict[str, Any]

ZONES: Final = {"eks": "{region}a", "gke": "{region}-a", "aks": "{region}-1"}


class NodeAutoscaler(Protocol):
    """One node autoscaler of one cluster."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


@dataclass(slots=True)
class Promises:
    """Which machine was asked for on behalf of which pod (uid)."""

    by_pod: dict[str, str] = field(default_factory=dict)

    def drop_gone(self, pods: set[str], machines: Mapping[str, Machine]) -> None:
        """Forget promises to pods, or of machines, that are no more."""
        kept = {pod: name for pod, name in self.by_pod.items() if pod in pods and name in machines}
        self.by_pod = kept

    def free(self, ctx: ClusterContext, machines: Mapping[str, Machine], pod: Object) -> str | None:
        """Return a machine that stays, is empty and promised to nobody, and on which a pod can run."""
        taken = set(self.by_pod.values()) | occupied(ctx)
        for machine in machines.values():
            if machine.state != "leaving" and machine.name not in taken and could_run(ctx, pod, machine):
                return machine.name
        return None


def could_run(ctx: ClusterContext, pod: Object, machine: Machine) -> bool:
    """Tell whether a pod may and can run on an empty machine once its GPU is advertised."""
    labels = {"node.kubernetes.io/instance-type": machine.spec.instance_type, **machine.spec.labels}
    if not (tolerates(pod, machine.spec.taints) and selects(pod, labels)):
        return False
    return not missing(pod_demand(pod), allocatable_of(machine.size, ctx.profile))


def smallest(ctx: ClusterContext, pod: Object, allowed: Callable[[InstanceType], bool]) -> InstanceType | None:
    """Return the smallest machine size that holds a pod, among those that are allowed."""
    demand = pod_demand(pod)
    sizes = [
        size
        for size in ctx.profile.instance_types
        if allowed(size)
        and bool(size.gpus) == bool(demand.get("nvidia.com/gpu"))
        and not missing(demand, allocatable_of(size, ctx.profile))
    ]
    return min(sizes, key=lambda size: (size.cpu, size.memory_gib), default=None)


def pending_pods(ctx: ClusterContext) -> list[Object]:
    """Return the pods that the scheduler could place nowhere, oldest first."""
    found = [pod for pod in ctx.store.peek_all("pods") if is_unschedulable(pod)]
    return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def still_waits(ctx: ClusterContext, pod: Object) -> bool:
    """Tell whether this very pod is still one that no node can take."""
    metadata = pod["metadata"]
    now = ctx.store.peek("pods", metadata["name"], metadata["namespace"])
    return now is not None and now["metadata"]["uid"] == metadata["uid"] and is_unschedulable(now)


def occupied(ctx: ClusterContext) -> set[str]:
    """Return the nodes that hold a pod which does not belong to the node itself."""
    return {
        pod["spec"]["nodeName"]
        for pod in ctx.store.peek_all("pods")
        if pod["spec"].get("nodeName") and not owned_by_daemonset(pod)
    }


def zone_of(ctx: ClusterContext) -> str:
    """Return the zone in which this cluster's nodes are made."""
    return ZONES[ctx.cluster.cloud].format(region=ctx.cluster.region)


def new_identity(ctx: ClusterContext, pool: str) -> tuple[str, str]:
    """Return the name and provider id of a new node, as its cloud makes them."""
    token = digest_of(ctx.cluster.name, pool, ctx.rng.random())[7:]
    cluster, cloud = ctx.cluster, ctx.cluster.cloud
    if cloud == "eks":
        octets = [int(token[index : index + 2], 16) for index in (0, 2, 4)]
        name = f"ip-10-{octets[0]}-{octets[1]}-{octets[2]}.{cluster.region}.compute.internal"
        return name, f"aws:///{zone_of(ctx)}/i-0{token[:16]}"
    if cloud == "gke":
        name = f"gke-{cluster.name}-{pool}-{token[:8]}-{token[8:12]}"
        return name, f"gce://simulated/{zone_of(ctx)}/{name}"
    name = f"aks-{pool}-{int(token[:8], 16) % 10**8:08d}-vmss{token[8:14]}"
    group = f"/subscriptions/simulated/resourceGroups/mc_{cluster.name}/providers/Microsoft.Compute"
    return name, f"azure://{group}/virtualMachineScaleSets/aks-{pool}-vmss/virtualMachines/{token[:6]}"


class EmptyNodes:
    """Sends machines away that have held no pod for a while. `ours`: which machines it may send away."""

    def __init__(self, ctx: ClusterContext, fleet: NodeFleet, ours: Callable[[Machine], bool]) -> None:
        self._ctx = ctx
        self._fleet = fleet
        self._ours = ours
        self._since: dict[str, datetime] = {}
        self._tasks = TaskGroup()

    async def run(
        self,
        look_every_s: float,
        patience_s: Callable[[Machine], float],
        before: Callable[[Machine], None] = lambda _machine: None,
        after: Callable[[Machine], None] = lambda _machine: None,
    ) -> None:
        """Look again and again until cancelled. `before` and `after` a machine's end, the autoscaler is told."""
        try:
            while True:
                await self._ctx.clock.sleep(look_every_s)
                for machine in self._idle():
                    empty_s = (self._ctx.clock.now() - self._since[machine.name]).total_seconds()
                    if empty_s >= patience_s(machine):
                        before(machine)
                        self._tasks.start(self._send_away(machine, after))
        finally:
            await self._tasks.stop()

    async def _send_away(self, machine: Machine, after: Callable[[Machine], None]) -> None:
        await self._fleet.terminate(machine.name)
        after(machine)

    def _idle(self) -> list[Machine]:
        """Return our machines that hold nothing and that no waiting pod could use, and note since when."""
        busy = occupied(self._ctx)
        wanted = pending_pods(self._ctx)
        now = self._ctx.clock.now()
        idle = []
        for machine in list(self._fleet.machines.values()):
            if not self._ours(machine) or machine.state == "leaving":
                continue
            if machine.name in busy or any(could_run(self._ctx, pod, machine) for pod in wanted):
                self._since.pop(machine.name, None)
                continue
            self._since.setdefault(machine.name, now)
            idle.append(machine)
        self._since = {name: since for name, since in self._since.items() if name in self._fleet.machines}
        return idle


async def together(*work: Any) -> None:
    """Run coroutines until one fails or all are cancelled."""
    async with asyncio.TaskGroup() as group:
        for item in work:
            group.create_task(item)
