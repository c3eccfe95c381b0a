"""The scheduler: binds each pod to a node it fits on, or says why there is none.

Filters, their order and their wording are those of kube-scheduler 1.34 (recordings): each node is counted under the
first filter it fails. An event is written whenever the reasons change.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm_provisioning_simulator.infra.claims import bind_claims, claim_problem
from llm_provisioning_simulator.infra.demand import missing, pod_demand, room_left
from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.infra.preemption import CONDITION, cheapest, may_preempt, priority_of, victims_on
from llm_provisioning_simulator.kube.stamps import stamp

Object = dict[str, Any]

_COMPONENT: Final = "default-scheduler"


class Scheduler:
    """One cluster's scheduler."""

    def __init__(self, ctx: ClusterContext) -> None:
        self._ctx = ctx
        self._said: dict[str, str] = {}
        """Pod uid -> the last reason given for not scheduling it."""

    async def run(self) -> None:
        """Follow pods and nodes until cancelled."""
        async for type_, resource, item in self._ctx.store.subscribe("pods", "nodes", "persistentvolumeclaims"):
            if resource == "pods" and type_ == "DELETED":
                self._said.pop(item["metadata"]["uid"], None)
            if resource != "pods" or type_ == "DELETED" or is_waiting(item):
                self.schedule()

    def schedule(self) -> None:
        """Look at every pod that waits: the most important first, and of these the oldest."""
        store = self._ctx.store
        waiting = [pod for pod in store.peek_all("pods") if is_waiting(pod)]
        for pod in sorted(waiting, key=lambda item: (-priority_of(item), int(item["metadata"]["resourceVersion"]))):
            self._place(pod)

    def _place(self, pod: Object) -> None:
        store = self._ctx.store
        pods = [item for item in store.peek_all("pods") if holds_resources(item)]
        fitting: list[tuple[float, str]] = []
        reasons: Counter[str] = Counter()
        nodes = store.peek_all("nodes")
        problem = claim_problem(store, pod)
        if problem is not None:
            self._refuse(pod, len(nodes), problem)
            return
        for node in nodes:
            here = [item for item in pods if item["spec"].get("nodeName") == node["metadata"]["name"]]
            room = room_left(node["status"]["allocatable"], here)
            obstacles = obstacles_on(pod, node, room)
            if obstacles:
                reasons.update(obstacles)
            else:
                fitting.append((room.get("cpu", 0.0), node["metadata"]["name"]))
        if fitting:
            # Tightest fit first, so that a small pod leaves the large machine to those who need it.
            self._bind(pod, min(fitting)[1])
        else:
            self._refuse(pod, len(nodes), _listed(reasons), self._preempt(pod, nodes, pods))

    def _preempt(self, pod: Object, nodes: Sequence[Object], pods: Sequence[Object]) -> str | None:
        """Make room for a pod by ending less important ones; return the node that it will get, None where none can."""
        options = {}
        for node in nodes if may_preempt(pod, pods) else ():
            name = node["metadata"]["name"]
            here = [item for item in pods if item["spec"].get("nodeName") == name]
            victims = victims_on(pod, node, here, obstacles_on)
            if victims:
                options[name] = victims
        chosen = cheapest(options)
        for victim in options[chosen] if chosen is not None else ():
            self._end(victim, pod, str(chosen))
        return chosen

    def _end(self, victim: Object, pod: Object, node: str) -> None:
        store, metadata = self._ctx.store, victim["metadata"]
        now = stamp(self._ctx.clock.now())

        def change(item: Object) -> None:
            item["status"].setdefault("conditions", []).append({**CONDITION, "lastTransitionTime": now})

        store.mutate("pods", metadata["name"], metadata["namespace"], change, subresource="status", manager=_COMPONENT)
        text = f"Preempted by pod {pod['metadata']['uid']} on node {node}"
        store.record_event(victim, "Preempted", text, component=_COMPONENT, style="controller", action="Preempting")
        store.delete("pods", metadata["name"], metadata["namespace"])

    def _bind(self, pod: Object, node: str) -> None:
        metadata = pod["metadata"]
        now = stamp(self._ctx.clock.now())

        def change(item: Object) -> None:
            item["spec"]["nodeName"] = node
            item["status"].pop("nominatedNodeName", None)
            kept = [row for row in item["status"].get("conditions") or () if row["type"] != "PodScheduled"]
            item["status"]["conditions"] = [
                *kept,
                {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now},
            ]

        store = self._ctx.store
        store.mutate("pods", metadata["name"], metadata["namespace"], change, subresource="binding", manager=_COMPONENT)
        text = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}"
        store.record_event(pod, "Scheduled", text, component=_COMPONENT, style="controller", action="Binding")
        self._said.pop(metadata["uid"], None)
        bind_claims(store, pod)

    def _refuse(self, pod: Object, nodes: int, why: str, nominated: str | None = None) -> None:
        """Say why a pod has no node. `nominated`: the node on which others make room for it."""
        metadata = pod["metadata"]
        message = _message(nodes, why) if nominated is None else f"0/{nodes} nodes are available: {why}."
        if self._said.get(metadata["uid"]) == message:
            return
        self._said[metadata["uid"]] = message
        now = stamp(self._ctx.clock.now())

        def change(item: Object) -> None:
            conditions = item["status"].setdefault("conditions", [])
            before = next((row for row in conditions if row["type"] == "PodScheduled"), None)
            since = before["lastTransitionTime"] if before else now
            if before:
                conditions.remove(before)
            conditions.append(
                {
                    "type": "PodScheduled",
                    "observedGeneration": item["metadata"].get("generation", 1),
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": since,
                    "reason": "Unschedulable",
                    "message": message,
                }
            )
            if nominated is not None:
                item["status"]["nominatedNodeName"] = nominated

        store = self._ctx.store
        store.record_event(
            pod,
            "FailedScheduling",
            message,
            component=_COMPONENT,
            style="controller",
            type_="Warning",
            action="Scheduling",
        )
        store.mutate("pods", metadata["name"], metadata["namespace"], change, subresource="status", manager=_COMPONENT)


def is_waiting(pod: Object) -> bool:
    """Tell whether a pod waits for a node."""
    return not pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]


def is_unschedulable(pod: Object) -> bool:
    """Tell whether the scheduler has said that no node fits: what node autoscalers act on. Where others make room for
    the pod they do not (Karpenter 1.14 pkg/utils/pod, IsPreempting; cluster-autoscaler 1.34, filter_out_schedulable).
    """
    status = pod.get("status") or {}
    conditions = status.get("conditions") or ()
    return (
        is_waiting(pod)
        and not status.get("nominatedNodeName")
        and any(
            row["type"] == "PodScheduled" and row["status"] == "False" and row.get("reason") == "Unschedulable"
            for row in conditions
        )
    )


def holds_resources(pod: Object) -> bool:
    """Tell whether a pod takes room on its node: bound, and not ended."""
    return bool(pod["spec"].get("nodeName")) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def obstacles_on(pod: Object, node: Object, room: Mapping[str, float]) -> list[str]:
    """Return why a pod cannot run on a node, in the scheduler's words; empty when it can."""
    spec = node["spec"]
    if spec.get("unschedulable"):
        return ["node(s) were unschedulable"]
    if not tolerates(pod, spec.get("taints") or ()):
        return ["node(s) had untolerated taint(s)"]
    if not selects(pod, node["metadata"].get("labels") or {}):
        return ["node(s) didn't match Pod's node affinity/selector"]
    return [f"Insufficient {name}" for name in missing(pod_demand(pod), room)]


def tolerates(pod: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a pod may run in spite of a node's taints (PreferNoSchedule keeps no pod away)."""
    tolerations = pod["spec"].get("tolerations") or ()
    return all(
        taint.get("effect") == "PreferNoSchedule" or any(_tolerated(taint, item) for item in tolerations)
        for taint in taints
    )


def selects(pod: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a node's labels satisfy a pod's node selector and required node affinity."""
    selector = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    return not terms or any(
        all(_matches(labels, rule) for rule in term.get("matchExpressions") or ()) for term in terms
    )


def _tolerated(taint: Mapping[str, Any], toleration: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")


def _matches(labels: Mapping[str, str], rule: Mapping[str, Any]) -> bool:
    found, operator = labels.get(rule["key"]), rule["operator"]
    values = rule.get("values") or ()
    outcomes = {
        "In": found in values,
        "NotIn": found not in values,
        "Exists": found is not None,
        "DoesNotExist": found is None,
    }
    return outcomes.get(operator, False)


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))


def _message(nodes: int, why: str) -> str:
    return (
        f"0/{nodes} nodes are available: {why}. no new claims to deallocate, preemption: "
        f"0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
    )
