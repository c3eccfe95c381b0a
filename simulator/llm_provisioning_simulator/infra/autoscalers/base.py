"""What all node autoscalers share: pods that fit on no node, the machines promised to them, and idle machines.

A machine is asked for once for each pod that needs one. An idle machine without a promise (its pod was deleted while it
booted) is promised again before another is asked for. The autoscalers differ in which pods they serve, when they look,
and what a new machine is like; nothing here knows those.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

from llm_provisioning_simulator.infra.autoscalers.buffers import VIRTUAL, Buffers
from llm_provisioning_simulator.infra.demand import allocatable_of, missing, pod_demand
from llm_provisioning_simulator.infra.deviceplugin import owned_by_daemonset
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine
from llm_provisioning_simulator.infra.nodes import NodeFleet
from llm_provisioning_simulator.infra.scheduler import holds_resources, is_unschedulable, selects, tolerates
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.profiles import InstanceType
from llm_provisioning_simulator.world import NodeSpec, digest_of

Object = dict[str, Any]

# The zones of a region, the first of which has the nodes that ask for none. Three of each, an assumption: regions have
# two to six.
ZONES: Final = {
    "eks": ("{region}a", "{region}b", "{region}c"),
    "gke": ("{region}-a", "{region}-b", "{region}-c"),
    "aks": ("{region}-1", "{region}-2", "{region}-3"),
}
ZONE_LABEL: Final = "topology.kubernetes.io/zone"


class NodeAutoscaler(ABC):
    """One node autoscaler of one cluster: it promises machines to pods, and sends idle machines away."""

    idle_look_s: ClassVar[str]
    """The profile's number: seconds between two looks for idle machines."""

    def __init__(self, ctx: ClusterContext, fleet: NodeFleet) -> None:
        self.ctx = ctx
        self.fleet = fleet
        self.tasks = TaskGroup()
        self.promises: dict[str, str] = {}
        """Pod (uid) -> the machine promised to it."""
        self._idle_since: dict[str, datetime] = {}
        self._buffers = Buffers(ctx)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (*self.loops(), self._remove_idle_machines()):
                    group.create_task(loop)
        finally:
            await self.tasks.stop()

    @abstractmethod
    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what else runs beside the removal of idle machines."""

    @abstractmethod
    def add_machine(self, pod: Object) -> str | None:
        """Ask the cloud for a machine for a pod and return its name; None, and an event, where there is none."""

    @abstractmethod
    def may_remove(self, machine: Machine) -> bool:
        """Tell whether an idle machine is one that this autoscaler removes."""

    def idle_limit_s(self, machine: Machine) -> float:
        """Return how long a machine may be idle."""
        return self.ctx.profile.value("scale_down_after_s")

    def removing(self, machine: Machine) -> None:  # noqa: B027 - Luna has nothing to note
        """Hear that the removal of a machine begins."""

    def removed(self, machine: Machine) -> None:  # noqa: B027 - the same
        """Hear that a machine is gone."""

    async def remove(self, machine: Machine) -> None:
        """End a machine whose removal has been told."""
        await self.fleet.terminate(machine.name)
        self.removed(machine)

    def promise(self, pod: Object) -> bool:
        """Promise a machine to a pod, an idle one before a new one; tell whether it has one now."""
        uid = pod["metadata"]["uid"]
        if uid not in self.promises:
            machine = self._free_machine(pod) or self.add_machine(pod)
            if machine is not None:
                self.promises[uid] = machine
        return uid in self.promises

    def drop_old_promises(self) -> None:
        """Forget promises to pods that no longer wait, and of machines that are gone."""
        waiting = {pod["metadata"]["uid"] for pod in (*pending_pods(self.ctx), *self._buffers.waiting)}
        machines = self.fleet.machines
        self.promises = {pod: name for pod, name in self.promises.items() if pod in waiting and name in machines}

    def tell(self, involved: Object, reason: str, message: str, type_: str = "Normal", *, component: str) -> None:
        """Write an event as a client-go recorder does; of virtual pods there are none."""
        if involved.get("kind") == VIRTUAL:
            return
        self.ctx.store.record_event(involved, reason, message, component=component, style="kubelet", type_=type_)

    def _free_machine(self, pod: Object) -> str | None:
        """Return a machine that stays, is idle and not promised, and on which a pod can run."""
        taken = set(self.promises.values()) | occupied(self.ctx) | self._buffers.nodes
        for machine in self.fleet.machines.values():
            if machine.state != "leaving" and machine.name not in taken and could_run(self.ctx, pod, machine):
                return machine.name
        return None

    async def _remove_idle_machines(self) -> None:
        look_every_s = self.ctx.profile.value(self.idle_look_s)
        while True:
            await self.ctx.clock.sleep(look_every_s)
            self._fill_buffers()
            for machine in self._idle_machines():
                idle_s = (self.ctx.clock.now() - self._idle_since[machine.name]).total_seconds()
                if idle_s >= self.idle_limit_s(machine):
                    self.removing(machine)
                    self.tasks.start(self.remove(machine))

    def _fill_buffers(self) -> None:
        """Promise machines to virtual pods that fit nowhere."""
        self._buffers.look()
        if self._buffers.waiting:
            self.drop_old_promises()
        for pod in self._buffers.waiting:
            self.promise(pod)

    def _idle_machines(self) -> list[Machine]:
        """Return the machines that hold nothing and that no waiting pod could use, and note since when."""
        busy, wanted = occupied(self.ctx) | self._buffers.nodes, pending_pods(self.ctx)
        wanted += self._buffers.waiting
        idle = []
        for machine in list(self.fleet.machines.values()):
            if not self.may_remove(machine) or machine.state == "leaving":
                continue
            if machine.name in busy or any(could_run(self.ctx, pod, machine) for pod in wanted):
                self._idle_since.pop(machine.name, None)
                continue
            self._idle_since.setdefault(machine.name, self.ctx.clock.now())
            idle.append(machine)
        self._idle_since = {name: at for name, at in self._idle_since.items() if name in self.fleet.machines}
        return idle


class PodAutoscaler(NodeAutoscaler):
    """A node autoscaler that follows single pods: Luna and Karpenter. The cluster autoscaler scans instead."""

    served_look_s: ClassVar[str]
    """The profile's number: seconds until a pod that was promised a machine is looked at again."""

    def __init__(self, ctx: ClusterContext, fleet: NodeFleet) -> None:
        super().__init__(ctx, fleet)
        self._followed: set[str] = set()

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return the loop that follows the pods."""
        return (self._follow_pods(),)

    def serves(self, pod: Object) -> bool:
        """Tell whether a pod is one that this autoscaler makes nodes for."""
        return True

    async def _follow_pods(self) -> None:
        async for _type, _resource, pod in self.ctx.store.subscribe("pods"):
            uid = pod["metadata"]["uid"]
            if self.serves(pod) and is_unschedulable(pod) and uid not in self._followed:
                self._followed.add(uid)
                self.tasks.start(self._serve(pod))

    async def _serve(self, pod: Object) -> None:
        """Keep a machine promised to a pod for as long as it waits; after a refusal try again later."""
        try:
            await self.ctx.pause("reaction_s")
            while still_waits(self.ctx, pod):
                self.drop_old_promises()
                await self.ctx.pause(self.served_look_s if self.promise(pod) else "retry_after_refusal_s")
        finally:
            self._followed.discard(pod["metadata"]["uid"])


def could_run(ctx: ClusterContext, pod: Object, machine: Machine) -> bool:
    """Tell whether a pod may and can run on an empty machine once its GPU is advertised."""
    own = {"node.kubernetes.io/instance-type": machine.spec.instance_type, ZONE_LABEL: machine.spec.zone}
    labels = {**own, **machine.spec.labels}
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
    """Return the nodes that hold a pod which does not belong to the node itself. One that has ended holds none
    (karpenter, pkg/utils/pod, IsTerminal; cluster-autoscaler, utils/drain, isPodTerminal); of Luna it is assumed.
    """
    return {
        pod["spec"]["nodeName"]
        for pod in ctx.store.peek_all("pods")
        if holds_resources(pod) and not owned_by_daemonset(pod)
    }


def zone_of(ctx: ClusterContext, *wishes: Mapping[str, Any] | None) -> str:
    """Return the zone in which a node is made: the first that one of these label selectors names, else the cluster's
    first one.
    """
    named = (str(wish[ZONE_LABEL]) for wish in wishes if wish and wish.get(ZONE_LABEL))
    return next(named, ZONES[ctx.cluster.cloud][0].format(region=ctx.cluster.region))


def wished(pod: Object | None) -> Mapping[str, Any]:
    """Return a pod's node selector; of no pod it is empty."""
    return ((pod or {}).get("spec") or {}).get("nodeSelector") or {}


def has_zone(ctx: ClusterContext, pod: Object) -> bool:
    """Tell whether the zone that a pod selects is one of the cluster's region."""
    zone = wished(pod).get(ZONE_LABEL)
    return zone is None or zone in [one.format(region=ctx.cluster.region) for one in ZONES[ctx.cluster.cloud]]


def new_identity(ctx: ClusterContext, pool: str, zone: str) -> tuple[str, str]:
    """Return the name and provider id of a new node, as its cloud makes them."""
    token = digest_of(ctx.cluster.name, pool, ctx.rng.random())[7:]
    cluster, cloud = ctx.cluster, ctx.cluster.cloud
    if cloud == "eks":
        octets = [int(token[index : index + 2], 16) for index in (0, 2, 4)]
        name = f"ip-10-{octets[0]}-{octets[1]}-{octets[2]}.{cluster.region}.compute.internal"
        return name, f"aws:///{zone}/i-0{token[:16]}"
    if cloud == "gke":
        # A node's name is also a label, of at most 63 characters: GKE shortens both parts.
        name = f"gke-{cluster.name[:22].rstrip('-')}-{pool[:22].rstrip('-')}-{token[:8]}-{token[8:12]}"
        return name, f"gce://simulated/{zone}/{name}"
    name = f"aks-{pool}-{int(token[:8], 16) % 10**8:08d}-vmss{token[8:14]}"
    group = f"/subscriptions/simulated/resourceGroups/mc_{cluster.name}/providers/Microsoft.Compute"
    return name, f"azure://{group}/virtualMachineScaleSets/aks-{pool}-vmss/virtualMachines/{token[:6]}"


def new_node(
    ctx: ClusterContext,
    pool: str,
    size: InstanceType,
    *,
    labels: Mapping[str, str],
    taints: tuple[Mapping[str, str], ...] = (),
    gpu: Mapping[str, int] | None = None,
    zone: str | None = None,
    **delivery: Any,
) -> NodeSpec:
    """Return a new node of this cluster. `pool` is a part of its name; `delivery`: NodeSpec's fields on images.

    `gpu`: SKU -> count; without it what the machine size has. `zone`: None for the cluster's first.
    """
    zone = zone or zone_of(ctx)
    name, provider_id = new_identity(ctx, pool, zone)
    cluster = ctx.cluster
    return NodeSpec(
        cluster=cluster.name,
        name=name,
        cloud=cluster.cloud,
        region=cluster.region,
        zone=zone,
        instance_type=size.name,
        gpu=dict(gpu) if gpu is not None else {size.gpu: size.gpus} if size.gpu else {},
        labels=dict(labels),
        taints=tuple(dict(taint) for taint in taints),
        provider_id=provider_id,
        **delivery,
    )
