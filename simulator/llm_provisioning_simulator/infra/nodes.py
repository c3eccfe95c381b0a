"""Machines that boot, join and end: the cloud's part and the kubelet's part of a node's life.

Node autoscalers ask for machines here and send them away; they alone decide which and when. The order of events and of
the node's changes is that of the recordings of kubelet 1.34.9.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_provisioning_simulator.infra import nodeobjects
from llm_provisioning_simulator.infra.bill import Bill
from llm_provisioning_simulator.infra.boot import BootPlan, boot_plan
from llm_provisioning_simulator.infra.deviceplugin import DevicePlugin
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine, OperatingSystem
from llm_provisioning_simulator.infra.pace import Pace
from llm_provisioning_simulator.infra.stock import refused
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.profiles import InstanceType
from llm_provisioning_simulator.world import NodeSpec

Stage = Callable[[str], None]
"""Hears `launched`, `registered`, `ready`, `gpu` of one machine as they happen."""

_SUFFICIENT: Final = ("NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID")


class LaunchRefusedError(Exception):
    """The cloud makes no such machine: the message is the cloud's."""


class NodeFleet:
    """The machines of one cluster."""

    def __init__(self, ctx: ClusterContext) -> None:
        self._ctx = ctx
        self._tasks = TaskGroup()
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._addresses = 10
        self._plugin = DevicePlugin(ctx)
        self.machines: dict[str, Machine] = {}
        self.bill = Bill()

    def launch(
        self,
        spec: NodeSpec,
        size: InstanceType,
        operating_system: OperatingSystem,
        on_stage: Stage = lambda _stage: None,
        *,
        driver_installed: bool = True,
        startup_taints: tuple[Mapping[str, str], ...] = (),
    ) -> Machine:
        """Ask the cloud for a machine; it boots and joins by itself. Raises LaunchRefusedError."""
        self._check(spec)
        ctx = self._ctx
        machine = Machine(spec, size, operating_system, self.next_address(), ctx.clock.now(), startup_taints)
        self.machines[spec.name] = machine
        ctx.world.nodes[spec.provider_id] = spec
        plan = boot_plan(spec, operating_system, ctx.profile, ctx.rng)
        life = self._live(machine, plan, on_stage, driver_installed=driver_installed)
        self._lives[spec.name] = self._tasks.start(life)
        return machine

    def join_at_once(self, spec: NodeSpec, size: InstanceType, operating_system: OperatingSystem) -> Machine:
        """Add a machine that has been there since long: ready, without events."""
        ctx = self._ctx
        machine = Machine(spec, size, operating_system, self.next_address(), ctx.clock.now(), state="ready")
        self.machines[spec.name] = machine
        now = stamp(ctx.clock.now())
        node = nodeobjects.new_node(machine, ctx.profile, ctx.cluster.kubernetes_version, now)
        nodeobjects.make_ready(node, now)
        nodeobjects.drop_taint(node, nodeobjects.NOT_READY_TAINT)
        ctx.store.create("nodes", node, manager="kubelet")
        return machine

    async def terminate(self, name: str) -> None:
        """Send a machine away; its node object is gone when this returns. A machine that is gone already is fine."""
        machine = self.machines.get(name)
        if machine is None or machine.state == "leaving":
            return
        known, machine.state = machine.state != "launching", "leaving"
        if known:
            self._mutate(machine, _cordon)
            await self._ctx.pause("node_termination_s")
        life = self._lives.pop(name, None)
        if life is not None:
            life.cancel()
        self._remove(machine, known=known)

    async def stop(self) -> None:
        """End everything that runs for machines."""
        await self._tasks.stop()

    def next_address(self) -> str:
        """Return the next free IP of the cluster's node network."""
        self._addresses += 1
        return f"10.0.{self._addresses // 250}.{self._addresses % 250 + 1}"

    def _check(self, spec: NodeSpec) -> None:
        ctx = self._ctx
        if why := refused(ctx.faults, spec):
            raise LaunchRefusedError(why)
        if spec.disk_image and spec.disk_image not in ctx.world.disk_images:
            raise LaunchRefusedError(f"The resource '{spec.disk_image}' was not found")
        if spec.snapshot_id is None:
            return
        snapshot = ctx.world.snapshots.get(spec.snapshot_id)
        if snapshot is None:
            raise LaunchRefusedError(f"InvalidSnapshot.NotFound: The snapshot '{spec.snapshot_id}' does not exist.")
        if spec.data_volume_gib is not None and spec.data_volume_gib < snapshot.size_gib:
            raise LaunchRefusedError(
                f"InvalidBlockDeviceMapping: Volume of size {spec.data_volume_gib}GB is smaller than snapshot "
                f"'{spec.snapshot_id}', expect size >= {snapshot.size_gib}GB"
            )

    async def _live(self, machine: Machine, plan: BootPlan, on_stage: Stage, *, driver_installed: bool) -> None:
        """Boot, join, become ready, advertise the GPU, then report until cancelled."""
        ctx = self._ctx
        pace = Pace(ctx.clock)
        await pace.wait(plan.launch_s)
        self.bill.begin(machine, ctx.clock.now())
        on_stage("launched")
        await pace.wait(plan.register_s)
        if ctx.faults.node_never_joins:
            return
        self._register(machine)
        on_stage("registered")
        registered_at = ctx.clock.now()
        await pace.wait(plan.ready_s)
        self._ready(machine)
        on_stage("ready")
        await ctx.pause("taint_removal_s")
        self._mutate(machine, lambda node: nodeobjects.drop_taint(node, nodeobjects.NOT_READY_TAINT))
        self._tasks.start(self._notice(machine))
        plugged = self._tasks.start(self._plug(machine, plan, driver_installed=driver_installed))
        try:
            await self._report_forever(machine, registered_at.timestamp(), plugged, on_stage)
        finally:
            plugged.cancel()

    def _register(self, machine: Machine) -> None:
        ctx = self._ctx
        machine.state = "registered"
        self._event(machine, "Starting", "Starting kubelet.")
        self._sufficient(machine)
        self._sufficient(machine)
        self._event(machine, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
        now = stamp(ctx.clock.now())
        node = nodeobjects.new_node(machine, ctx.profile, ctx.cluster.kubernetes_version, now)
        ctx.store.create("nodes", node, manager="kubelet")
        self._sufficient(machine)

    def _ready(self, machine: Machine) -> None:
        if machine.state != "leaving":
            machine.state = "ready"
        now = stamp(self._ctx.clock.now())
        self._event(machine, "NodeReady", f"Node {machine.name} status is now: NodeReady")
        self._mutate(machine, lambda node: nodeobjects.make_ready(node, now), subresource="status")

    async def _notice(self, machine: Machine) -> None:
        """The node controller notices a new node at its own pace."""
        await self._ctx.pause("node_controller_notice_s")
        self._controller_event(machine, "RegisteredNode", f"Registered Node {machine.name} in Controller")

    async def _plug(self, machine: Machine, plan: BootPlan, *, driver_installed: bool) -> None:
        """Install the driver where there is a GPU, and run the device plugin; without a driver it never ends."""
        if machine.spec.gpu:
            await self._plugin.run(machine, plan, driver_installed=driver_installed)

    async def _report_forever(
        self, machine: Machine, registered_s: float, plugged: asyncio.Task[None], on_stage: Stage
    ) -> None:
        """Sync the node's status every few seconds; a GPU becomes allocatable at the first sync after its plugin."""
        ctx = self._ctx
        period_s = ctx.profile.value("status_sync_s")
        seen: tuple[int, int] = (0, 0)
        while True:
            passed_s = ctx.clock.now().timestamp() - registered_s
            await ctx.clock.sleep(period_s - passed_s % period_s)
            gpus = sum(machine.spec.gpu.values()) if plugged.done() else 0
            known = (gpus, len(machine.images))
            if known == seen:
                continue
            now = stamp(ctx.clock.now())
            self._report(machine, now, gpus)
            if known[0] != seen[0]:
                on_stage("gpu")
            seen = known

    def _report(self, machine: Machine, now: str, gpus: int) -> None:
        self._mutate(machine, lambda node: nodeobjects.report(node, machine, now, gpus=gpus), subresource="status")

    def _remove(self, machine: Machine, *, known: bool) -> None:
        ctx = self._ctx
        self.machines.pop(machine.name, None)
        self.bill.end(machine, ctx.clock.now())
        ctx.world.nodes.pop(machine.spec.provider_id, None)
        if known:
            self._plugin.forget(machine)
            ctx.store.delete("nodes", machine.name)
            self._controller_event(machine, "RemovingNode", f"Removing Node {machine.name} from Controller")

    def _sufficient(self, machine: Machine) -> None:
        for reason in _SUFFICIENT:
            self._event(machine, reason, f"Node {machine.name} status is now: {reason}")

    def _event(self, machine: Machine, reason: str, message: str) -> None:
        self._ctx.store.record_event(
            machine.reference, reason, message, component="kubelet", style="kubelet", host=machine.name
        )

    def _controller_event(self, machine: Machine, reason: str, what: str) -> None:
        self._ctx.store.record_event(
            machine.reference,
            reason,
            f"Node {machine.name} event: {what}",
            component="node-controller",
            style="kubelet",
        )

    def _mutate(
        self, machine: Machine, change: Callable[[dict[str, Any]], None], subresource: str | None = None
    ) -> None:
        self._ctx.store.mutate("nodes", machine.name, None, change, subresource=subresource, manager="kubelet")


def _cordon(node: dict[str, Any]) -> None:
    node["spec"]["unschedulable"] = True
