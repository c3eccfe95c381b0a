"""CapacityBuffers: virtual pods that an autoscaler keeps room for, and what it says of them.

Virtual pods are in no API. They are placed on nodes that are there, and where they do not fit the autoscaler makes
nodes for them as for pending pods; a node that holds one is not empty. The trial's pods take the room, because the
scheduler knows nothing of virtual ones. Conditions, reasons and texts: kubernetes/autoscaler,
cluster-autoscaler/capacitybuffer/common and processors/capacitybuffer (a virtual pod keeps its uid, so the autoscaler's
hints leave it where it was); kubernetes-sigs/karpenter, PR 3028. ResourceQuotas, percentages and scalableRef are not
simulated: such a buffer stays without conditions.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm_provisioning_simulator.infra.demand import room_left
from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.infra.scheduler import holds_resources, obstacles_on
from llm_provisioning_simulator.kube.stamps import stamp

Object = dict[str, Any]

VIRTUAL: Final = "VirtualPod"
_RESOURCE: Final = "capacitybuffers"
_ACTIVE: Final = "buffer.x-k8s.io/active-capacity"
_NO_TEMPLATE: Final = {"karpenter": "PodTemplateNotFound", "native": "error"}
_RESOLVED: Final = {
    "karpenter": ("Resolved", "Pod template resolved successfully"),
    "native": ("AttributesSetSuccessfully", "ready"),
}


class Buffers:
    """The virtual pods of one cluster."""

    def __init__(self, ctx: ClusterContext) -> None:
        self._ctx = ctx
        self._node_of: dict[str, str] = {}
        """Virtual pod (uid) -> the node that has room for it."""
        self.waiting: list[Object] = []
        """The virtual pods that fit nowhere, as of the last look."""

    @property
    def nodes(self) -> set[str]:
        """The nodes that are not empty because of them."""
        return set(self._node_of.values())

    def look(self) -> None:
        """Place the virtual pods of every buffer anew, and report it."""
        if not self._ctx.cluster.keeps_buffers:
            return
        store, placed, self.waiting = self._ctx.store, dict[str, str](), []
        pods = [pod for pod in store.peek_all("pods") if holds_resources(pod)]
        by_buffer = [(buffer, list(self._virtual(buffer))) for buffer in store.peek_all(_RESOURCE)]
        for _, own in by_buffer:
            for pod in own:
                node = self._place(pod, pods)
                if node is None:
                    self.waiting.append(pod)
                else:
                    placed[pod["metadata"]["uid"]] = node
                    pods.append({**pod, "spec": {**pod["spec"], "nodeName": node}})
        self._node_of = placed
        for buffer, own in by_buffer:
            self._report(buffer, own)

    def _virtual(self, buffer: Object) -> Iterator[Object]:
        template = self._template(buffer)
        metadata, spec = buffer["metadata"], buffer["spec"]
        if template is None or "deletionTimestamp" in metadata:
            return
        for number in range(1, int(spec.get("replicas") or 0) + 1):
            yield {
                "kind": VIRTUAL,
                "metadata": {
                    "name": f"capacity-buffer-{metadata['name']}-{number}",
                    "namespace": metadata["namespace"],
                    "uid": f"{metadata['uid']}-{number}",
                },
                "spec": dict(template["template"]["spec"]),
                "status": {},
            }

    def _template(self, buffer: Object) -> Object | None:
        spec, namespace = buffer["spec"], buffer["metadata"]["namespace"]
        name = (spec.get("podTemplateRef") or {}).get("name")
        if not name or spec.get("provisioningStrategy", _ACTIVE) != _ACTIVE:
            return None
        return self._ctx.store.peek("podtemplates", name, namespace)

    def _place(self, pod: Object, pods: list[Object]) -> str | None:
        """Return the node that has room: the one where it was, if it still fits there."""
        nodes: dict[str, Object] = {node["metadata"]["name"]: node for node in self._ctx.store.peek_all("nodes")}
        before = self._node_of.get(pod["metadata"]["uid"])
        for name in sorted(nodes, key=lambda item: (item != before, item)):
            here = [item for item in pods if item["spec"].get("nodeName") == name]
            if not obstacles_on(pod, nodes[name], room_left(nodes[name]["status"]["allocatable"], here)):
                return name
        return None

    def _report(self, buffer: Object, pods: list[Object]) -> None:
        metadata, template = buffer["metadata"], self._template(buffer)
        status: dict[str, Any] = {"provisioningStrategy": _ACTIVE, "replicas": len(pods)}
        who = self._ctx.cluster.autoscaler
        if template is None:
            told = [("ReadyForProvisioning", "False", _NO_TEMPLATE[who], "the pod template was not found")]
        else:
            status |= {"podTemplateRef": buffer["spec"]["podTemplateRef"], "podTemplateGeneration": 1}
            told = [("ReadyForProvisioning", "True", *_RESOLVED[who]), ("Provisioning", *self._provisioning(who, pods))]
        before = {row["type"]: row for row in (buffer.get("status") or {}).get("conditions") or ()}
        rows = [self._condition(before.get(row[0]), row) for row in told]
        if {**(buffer.get("status") or {})} == {**status, "conditions": rows}:
            return

        def change(item: Object) -> None:
            item["status"] = {**status, "conditions": rows}

        self._ctx.store.mutate(
            _RESOURCE, metadata["name"], metadata["namespace"], change, subresource="status", manager="autoscaler"
        )

    def _provisioning(self, who: str, pods: list[Object]) -> tuple[str, str, str]:
        """Return status, reason and message: the cluster autoscaler's say nothing of whether there are nodes."""
        count, missing = len(pods), sum(pod in self.waiting for pod in pods)
        if not count:
            reason = "BufferIsEmpty" if who == "native" else "BufferEmpty"
            return "False", reason, "Buffer has zero desired replicas"
        if who == "native":
            return "True", "FakePodsInjected", ""
        if missing:
            told = f"{missing}/{count} virtual pods required new capacity, 0 failed"
            return "False", "RequiresNewCapacity", told
        return "True", "FitsExistingCapacity", f"All {count} virtual pods fit on existing capacity"

    def _condition(self, before: Mapping[str, Any] | None, row: tuple[str, str, str, str]) -> Object:
        type_, status, reason, message = row
        same = before is not None and before["status"] == status
        since = before["lastTransitionTime"] if before is not None and same else stamp(self._ctx.clock.now())
        told = {"type": type_, "status": status, "reason": reason, "message": message}
        return {**told, "lastTransitionTime": since}
