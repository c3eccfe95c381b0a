"""Karpenter: NodePools and node classes in, NodeClaims and nodes out (kubernetes-sigs/karpenter @226646810).

Reads the objects at the moment it makes a node, as the real one does. Conditions and their order are those of
pkg/apis/v1/nodeclaim_status.go; the events are those of scheduling/events.go, written by the legacy recorder.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_provisioning_simulator.infra.autoscalers import base
from llm_provisioning_simulator.infra.autoscalers.karpenter_nodes import (
    POOL_LABEL,
    admits,
    node_spec,
    seconds,
    template_labels,
)
from llm_provisioning_simulator.infra.demand import pod_demand
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine
from llm_provisioning_simulator.infra.nodeobjects import drop_taint
from llm_provisioning_simulator.infra.nodes import LaunchRefusedError, NodeFleet
from llm_provisioning_simulator.infra.scheduler import selects, tolerates
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.profiles import InstanceType
from llm_provisioning_simulator.world import NodeSpec

Object = dict[str, Any]

UNREGISTERED: Final[Mapping[str, str]] = {"key": "karpenter.sh/unregistered", "effect": "NoExecute"}

_CLASSES: Final = {"EC2NodeClass": "ec2nodeclasses", "AKSNodeClass": "aksnodeclasses"}
_CONDITIONS: Final = ("Launched", "Registered", "Initialized", "Ready")
_MANAGER: Final = "karpenter"


class Karpenter(base.PodAutoscaler):
    """Karpenter in one cluster."""

    idle_look_s = served_look_s = "empty_poll_s"

    def __init__(self, ctx: ClusterContext, fleet: NodeFleet) -> None:
        super().__init__(ctx, fleet)
        self._claims: dict[str, str] = {}
        """Machine -> its NodeClaim."""

    def add_machine(self, pod: Object) -> str | None:
        """Make a NodeClaim of the first pool that fits a pod, and its machine."""
        for pool in self.ctx.store.list("nodepools"):
            if _is_static(pool):
                continue
            size, node_class = self._size_for(pool, pod), self._class_of(pool)
            if size is not None and node_class is not None:
                return self._claim(pod, pool, node_class, size)
        text = "Failed to schedule pod, no nodepool matched: incompatible requirements, taints or resources"
        self._event(pod, "FailedScheduling", text, "Warning")
        return None

    def may_remove(self, machine: Machine) -> bool:
        """Only machines with a NodeClaim, and not those of a static pool (v1 NodePool, spec.replicas)."""
        pool = self.ctx.store.peek("nodepools", machine.spec.labels.get(POOL_LABEL, ""))
        return machine.name in self._claims and not _is_static(pool or {})

    def _fill_buffers(self) -> None:
        """Keep the nodes of static pools too."""
        super()._fill_buffers()
        if "StaticCapacity" in self.ctx.cluster.feature_gates:
            for pool in filter(_is_static, self.ctx.store.list("nodepools")):
                self._keep(pool)

    def _keep(self, pool: Object) -> None:
        """Make or end machines until a static pool has its number, empty ones first (pkg/controllers/static)."""
        wanted, name = int(pool["spec"]["replicas"]), pool["metadata"]["name"]
        machines = [
            machine
            for machine in self.fleet.machines.values()
            if machine.spec.labels.get(POOL_LABEL) == name and machine.state != "leaving"
        ]
        busy = base.occupied(self.ctx)
        for machine in sorted(machines, key=lambda item: item.name in busy)[: max(0, len(machines) - wanted)]:
            self.removing(machine)
            self.tasks.start(self.remove(machine))
        rules, node_class = pool["spec"]["template"]["spec"].get("requirements") or (), self._class_of(pool)
        sizes = [size for size in self.ctx.profile.instance_types if admits(rules, size)]
        for _ in range(wanted - len(machines) if sizes and node_class else 0):
            size = min(sizes, key=lambda item: (item.cpu, item.memory_gib))
            if self._claim(None, pool, node_class or {}, size) is None:
                break

    def idle_limit_s(self, machine: Machine) -> float:
        """Return how long the machine's pool leaves it empty (spec.disruption.consolidateAfter)."""
        pool = self.ctx.store.peek("nodepools", machine.spec.labels.get(POOL_LABEL, ""))
        after = ((pool or {}).get("spec", {}).get("disruption") or {}).get("consolidateAfter", "0s")
        return seconds(after)

    def removing(self, machine: Machine) -> None:
        """Say on the NodeClaim that its instance ends."""
        claim = self._claims.get(machine.name)
        if claim is not None:
            self._set(claim, "InstanceTerminating", "True", "InstanceTerminating", "")

    def removed(self, machine: Machine) -> None:
        """Delete the NodeClaim."""
        claim = self._claims.pop(machine.name, None)
        if claim is not None:
            self.ctx.store.delete("nodeclaims", claim)

    def _size_for(self, pool: Object, pod: Object) -> InstanceType | None:
        template = pool["spec"]["template"]
        labels = {base.ZONE_LABEL: base.zone_of(self.ctx, base.wished(pod)), **template_labels(pool)}
        if not base.has_zone(self.ctx, pod):
            return None
        if not tolerates(pod, template["spec"].get("taints") or ()) or not selects(pod, labels):
            return None
        return base.smallest(self.ctx, pod, lambda size: admits(template["spec"].get("requirements") or (), size))

    def _class_of(self, pool: Object) -> Object | None:
        reference = pool["spec"]["template"]["spec"]["nodeClassRef"]
        resource = _CLASSES.get(reference["kind"])
        return self.ctx.store.get(resource, reference["name"]) if resource else None

    def _claim(self, pod: Object | None, pool: Object, node_class: Object, size: InstanceType) -> str | None:
        """Make a NodeClaim and its machine; a refused one is deleted again, as Karpenter does. `pod`: that it is made
        for, None for a static pool's.
        """
        ctx = self.ctx
        made = ctx.store.create("nodeclaims", _new_claim(pool, pod, stamp(ctx.clock.now())), manager=_MANAGER)
        claim = made["metadata"]["name"]
        if pod is not None:
            self._event(pod, "Nominated", f"Pod should schedule on: nodeclaim/{claim}")
        spec, system = node_spec(ctx, pool, node_class, size, pod)
        try:
            machine = self.fleet.launch(spec, size, system, self._listener(claim, spec), startup_taints=(UNREGISTERED,))
        except LaunchRefusedError as error:
            self._set(claim, "Launched", "False", "LaunchFailed", str(error))
            self._claim_event(claim, "InsufficientCapacityError", f"NodeClaim {claim} event: {error}", "Warning")
            ctx.store.delete("nodeclaims", claim)
            return None
        self._claims[machine.name] = claim
        self.tasks.start(self._give_up(machine, claim))
        return machine.name

    def _listener(self, claim: str, spec: NodeSpec) -> Callable[[str], None]:
        """Return what turns a machine's stages into a NodeClaim's conditions."""

        def heard(stage: str) -> None:
            if stage == "launched":
                self._patch_status(claim, {"providerID": spec.provider_id, "imageID": "ami-simulated"})
                self._set(claim, "Launched", "True", "Launched", "")
            elif stage == "registered":
                self._patch_status(claim, {"nodeName": spec.name})
                self._mutate_node(spec.name, lambda node: drop_taint(node, UNREGISTERED["key"]))
                self._set(claim, "Registered", "True", "Registered", "")
            if stage == ("gpu" if spec.gpu else "ready"):
                self._mutate_node(spec.name, _mark_initialized)
                self._set(claim, "Initialized", "True", "Initialized", "")
                self._set(claim, "Ready", "True", "Ready", "")

        return heard

    async def _give_up(self, machine: Machine, claim: str) -> None:
        """End a machine that has not registered within the limit; its pod is provided for anew."""
        ctx = self.ctx
        await ctx.clock.sleep(ctx.profile.value("registration_limit_s"))
        if machine.state == "launching" and machine.name in self._claims:
            text = f"NodeClaim {claim} event: node not registered within 15m"
            self._claim_event(claim, "Registered", text, "Warning")
            self.removing(machine)
            await self.remove(machine)

    def _set(self, claim: str, type_: str, status: str, reason: str, message: str) -> None:
        now = stamp(self.ctx.clock.now())

        def change(item: Object) -> None:
            rows = item.setdefault("status", {}).setdefault("conditions", [])
            row = next((row for row in rows if row["type"] == type_), None)
            if row is None:
                row = {"type": type_}
                rows.append(row)
            if row.get("status") != status:
                row.update(status=status, lastTransitionTime=now)
            row.update(reason=reason, message=message, observedGeneration=item["metadata"].get("generation", 1))

        self.ctx.store.mutate("nodeclaims", claim, None, change, subresource="status", manager=_MANAGER)
        if status == "True":
            self._claim_event(claim, type_, f"Status condition transitioned, Type: {type_}, Status: Unknown -> True")

    def _patch_status(self, claim: str, fields: Mapping[str, str]) -> None:
        def change(item: Object) -> None:
            item.setdefault("status", {}).update(fields)

        self.ctx.store.mutate("nodeclaims", claim, None, change, subresource="status", manager=_MANAGER)

    def _mutate_node(self, name: str, change: Callable[[Object], None]) -> None:
        self.ctx.store.mutate("nodes", name, None, change, manager=_MANAGER)

    def _claim_event(self, claim: str, reason: str, message: str, type_: str = "Normal") -> None:
        found = self.ctx.store.get("nodeclaims", claim)
        if found is not None:
            self._event(found, reason, message, type_)

    def _event(self, involved: Object, reason: str, message: str, type_: str = "Normal") -> None:
        self.tell(involved, reason, message, type_, component="karpenter")


def _is_static(pool: Object) -> bool:
    return (pool.get("spec") or {}).get("replicas") is not None


def _new_claim(pool: Object, pod: Object | None, at: str) -> Object:
    template = pool["spec"]["template"]
    demand = {} if pod is None else pod_demand(pod)
    requests = {name: f"{amount:g}" for name, amount in demand.items()}
    conditions = [
        {
            "type": type_,
            "status": "Unknown",
            "reason": "AwaitingReconciliation",
            "message": "object is awaiting reconciliation",
            "lastTransitionTime": at,
        }
        for type_ in _CONDITIONS
    ]
    return {
        "metadata": {
            "generateName": f"{pool['metadata']['name']}-",
            "labels": template_labels(pool),
            "ownerReferences": [
                {
                    "apiVersion": "karpenter.sh/v1",
                    "kind": "NodePool",
                    "name": pool["metadata"]["name"],
                    "uid": pool["metadata"]["uid"],
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "nodeClassRef": dict(template["spec"]["nodeClassRef"]),
            "requirements": [dict(rule) for rule in template["spec"].get("requirements") or ()],
            "resources": {"requests": requests},
            "taints": [dict(taint) for taint in template["spec"].get("taints") or ()],
        },
        "status": {"conditions": conditions},
    }


def _mark_initialized(node: Object) -> None:
    node["metadata"].setdefault("labels", {})["karpenter.sh/initialized"] = "true"
