"""The clouds' own node autoscaler over the node pools of their API: kubernetes/autoscaler, and what GKE made of it.

Events, waits and limits are those of kubernetes/autoscaler (processors/status/eventing_scale_up_processor.go, its
constants and defaults). A pool is read anew at every scan, as the cloud's API last left it.
"""

from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Final

from llm_provisioning_simulator.infra.autoscalers import base
from llm_provisioning_simulator.infra.autoscalers.provisioning import AutoProvisioning
from llm_provisioning_simulator.infra.demand import GPU, allocatable_of, missing, pod_demand
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine, OperatingSystem
from llm_provisioning_simulator.infra.nodeobjects import provider_label
from llm_provisioning_simulator.infra.nodes import LaunchRefusedError, NodeFleet
from llm_provisioning_simulator.infra.preemption import priority_of
from llm_provisioning_simulator.infra.scheduler import selects, tolerates
from llm_provisioning_simulator.kube.stamps import parse_stamp
from llm_provisioning_simulator.profiles import InstanceType
from llm_provisioning_simulator.world import NodePool, NodeSpec

Object = dict[str, Any]

_EXPENDABLE_BELOW: Final = -10
_SYSTEMS: Final[dict[str, OperatingSystem]] = {"eks": "al2023", "gke": "cos", "aks": "ubuntu"}


class NativeAutoscaler(base.NodeAutoscaler):
    """The cluster autoscaler of one cluster."""

    idle_look_s = "scan_interval_s"

    def __init__(self, ctx: ClusterContext, fleet: NodeFleet) -> None:
        super().__init__(ctx, fleet)
        self._pool_of: dict[str, str] = {}
        """Machine -> its pool."""
        self._backs_off: dict[str, datetime] = {}
        """Pool -> when its last scale-up failed."""
        self._told: dict[str, str] = {}
        """Pod (uid) -> why no pool was enlarged for it, as it was last told."""
        self._provisioning = AutoProvisioning(ctx)

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return the loop that scans for pending pods."""
        return (self._scan_repeatedly(),)

    def may_remove(self, machine: Machine) -> bool:
        """Only machines of a pool that is above its minimum, or gone."""
        pool = self.ctx.cluster.pools.get(self._pool_of.get(machine.name, ""))
        return machine.name in self._pool_of and (pool is None or self._size(pool) > pool.min_nodes)

    def removed(self, machine: Machine) -> None:
        """Let auto-provisioning drop a pool that it made, once its last node is gone."""
        pool = self._pool_of.get(machine.name, "")
        if not any(owner == pool and name in self.fleet.machines for name, owner in self._pool_of.items()):
            self._provisioning.drop(pool)

    async def _scan_repeatedly(self) -> None:
        while True:
            await self.ctx.pause("scan_interval_s")
            await self._give_up_on_missing()
            self._provisioning.settle()
            for pool in self._pools():
                while self._size(pool) < pool.min_nodes and self._grow(pool) is not None:
                    pass
            self.drop_old_promises()
            for pod in base.pending_pods(self.ctx):
                if self._is_old_enough(pod) and self.promise(pod):
                    self._told.pop(pod["metadata"]["uid"], None)

    def _is_old_enough(self, pod: Object) -> bool:
        """GPU pods wait half a minute: their node might only be missing its driver. For expendable pods no node is made
        (cluster-autoscaler FAQ, --expendable-pods-priority-cutoff, default -10).
        """
        if priority_of(pod) < _EXPENDABLE_BELOW:
            return False
        created_at = parse_stamp(pod["metadata"]["creationTimestamp"])
        age = self.ctx.profile.value("gpu_pod_age_s" if pod_demand(pod).get(GPU) else "pod_age_s")
        return created_at is not None and (self.ctx.clock.now() - created_at).total_seconds() >= age

    def add_machine(self, pod: Object) -> str | None:
        """Enlarge the first pool that fits; say so on the pod, or say why there is none."""
        reasons: list[str] = []
        for pool in self._pools():
            reason = self._obstacle(pool, pod)
            if reason is None:
                before = self._size(pool)
                machine = self._grow(pool, pod)
                if machine is not None:
                    group = f"{self._group(pool)} {before}->{before + 1} (max: {pool.max_nodes})"
                    self._event(pod, "TriggeredScaleUp", f"pod triggered scale-up: [{{{group}}}]")
                    return machine.name
                reason = "in backoff after failed scale-up"
            reasons.append(reason)
        if self._provisioning.begin(pod) is not None:
            return None
        counted = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons)))
        message = f"pod didn't trigger scale-up: {counted}" if counted else "pod didn't trigger scale-up: "
        uid = pod["metadata"]["uid"]
        if self._told.get(uid) != message:
            self._told[uid] = message
            self._event(pod, "NotTriggerScaleUp", message)
        return None

    def _obstacle(self, pool: NodePool, pod: Object) -> str | None:
        """Return why a pool cannot help a pod, in the autoscaler's words; None when it can."""
        failed_at = self._backs_off.get(pool.name)
        if failed_at is not None:
            waited_s = (self.ctx.clock.now() - failed_at).total_seconds()
            if waited_s < self.ctx.profile.value("retry_after_refusal_s"):
                return "in backoff after failed scale-up"
        if not tolerates(pod, pool.taints):
            return "node(s) had untolerated taint(s)"
        labels = {**self._labels(pool), base.ZONE_LABEL: base.zone_of(self.ctx, base.wished(pod))}
        if not (base.has_zone(self.ctx, pod) and selects(pod, labels)):
            return "node(s) didn't match Pod's node affinity/selector"
        if missing(pod_demand(pod), allocatable_of(self._instance_type(pool), self.ctx.profile)):
            return "Insufficient resources"
        return "max node group size reached" if self._size(pool) >= pool.max_nodes else None

    def _grow(self, pool: NodePool, pod: Object | None = None) -> Machine | None:
        """Add a machine to a pool; None when the cloud refuses, and the pool is left alone for a while."""
        ctx = self.ctx
        try:
            machine = self.fleet.launch(
                self._spec(pool, base.zone_of(ctx, base.wished(pod))),
                self._instance_type(pool),
                _SYSTEMS[ctx.cluster.cloud],
                driver_installed=pool.driver_installed,
            )
        except LaunchRefusedError as error:
            self._backs_off[pool.name] = ctx.clock.now()
            text = f"Scale-up failed for group {self._group(pool)}: {error}"
            status = {"kind": "ConfigMap", "name": "cluster-autoscaler-status", "namespace": "kube-system"}
            self._event(status, "FailedToScaleUpGroup", text, "Warning")
            if pod is not None and ctx.cluster.cloud == "gke":
                self._event(pod, "FailedScaleUp", _of_gke(base.zone_of(ctx, base.wished(pod)), str(error)), "Warning")
            return None
        self._pool_of[machine.name] = pool.name
        return machine

    async def _give_up_on_missing(self) -> None:
        """Send away machines that did not join in time, and leave their pool alone for a while."""
        now, limit_s = self.ctx.clock.now(), self.ctx.profile.value("provision_limit_s")
        for machine in list(self.fleet.machines.values()):
            if machine.state == "launching" and (now - machine.launched_at).total_seconds() > limit_s:
                self._backs_off[self._pool_of.get(machine.name, "")] = now
                await self.fleet.terminate(machine.name)

    def _pools(self) -> list[NodePool]:
        return list(self.ctx.cluster.pools.values())

    def _size(self, pool: NodePool) -> int:
        machines = self.fleet.machines
        return sum(
            1
            for name, owner in self._pool_of.items()
            if owner == pool.name and name in machines and machines[name].state != "leaving"
        )

    def _group(self, pool: NodePool) -> str:
        cluster = self.ctx.cluster
        if cluster.cloud == "gke":
            zone = base.zone_of(self.ctx)
            return (
                f"https://www.googleapis.com/compute/v1/zones/{zone}/instanceGroups/gke-{cluster.name}-{pool.name}-grp"
            )
        return f"aks-{pool.name}-vmss" if cluster.cloud == "aks" else pool.name

    def _instance_type(self, pool: NodePool) -> InstanceType:
        return self.ctx.profile.instance_type(pool.instance_type)

    def _labels(self, pool: NodePool) -> dict[str, str]:
        return {**pool.labels, provider_label(self.ctx.cluster.cloud): pool.name, **_disk_label(pool)}

    def _spec(self, pool: NodePool, zone: str) -> NodeSpec:
        return base.new_node(
            self.ctx,
            pool.name,
            self._instance_type(pool),
            labels=self._labels(pool),
            taints=pool.taints,
            gpu=pool.gpu,
            zone=zone,
            streaming=_streams(self.ctx.cluster.cloud, pool),
            service_account=pool.service_account,
            disk_image=pool.disk_image,
        )

    def _event(self, pod: Object, reason: str, message: str, type_: str = "Normal") -> None:
        self.tell(pod, reason, message, type_, component="cluster-autoscaler")


def _disk_label(pool: NodePool) -> dict[str, str]:
    """Return the label of a node with a secondary boot disk (GKE's page on preloading; the same string is what pods
    select such nodes by).
    """
    if not pool.disk_image:
        return {}
    _, project, _, _, image = pool.disk_image.split("/")
    key = f"cloud.google.com.node-restriction.kubernetes.io/gke-secondary-boot-disk-{image}"
    return {key: f"CONTAINER_IMAGE_CACHE.{project}"}


def _of_gke(zone: str, why: str) -> str:
    """Return what GKE says on the pod: GKE's page "Troubleshoot cluster autoscaler not scaling up"."""
    what = "GCE quota exceeded" if "QUOTA" in why else "GCE out of resources"
    return (
        f"Node scale up in zones {zone} associated with this pod failed: {what}. Pod is at risk of not being scheduled."
    )


def _streams(cloud: str, pool: NodePool) -> bool:
    """Tell whether a pool's nodes stream: as the pool itself says, on GKE only on COS.

    GKE's cluster-level setting is the default that a pool takes when it is made (container v1, NodePoolDefaults); a
    pool that says something itself keeps to it, so a plain and a streaming one live in one cluster.
    """
    on_cos = cloud != "gke" or pool.image_type.upper() in ("", "COS_CONTAINERD")
    return pool.streaming and on_cos
