"""Which pods make room for a pod of a higher priority, as kube-scheduler's DefaultPreemption chooses them. Pure.

Sources: kubernetes 1.34, pkg/scheduler/framework/plugins/defaultpreemption (victims are reprieved from the highest
priority down; the node whose most important victim is least important is taken) and
pkg/scheduler/framework/preemption (texts of the event and of the condition).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm_provisioning_simulator.infra.demand import room_left

Object = dict[str, Any]
Obstacles = Any

CONDITION: Final[Mapping[str, str]] = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "PreemptionByScheduler",
    "message": "default-scheduler: preempting to accommodate a higher priority pod",
}


def priority_of(pod: Mapping[str, Any]) -> int:
    """Return a pod's priority, as admission computed it."""
    return int(pod["spec"].get("priority") or 0)


def may_preempt(pod: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a pod may ask for room: its class lets it, and no pod that makes room for it is still ending."""
    if pod["spec"].get("preemptionPolicy") == "Never":
        return False
    node = (pod.get("status") or {}).get("nominatedNodeName")
    return not any(
        item["spec"].get("nodeName") == node
        and "deletionTimestamp" in item["metadata"]
        and priority_of(item) < priority_of(pod)
        for item in pods
        if node
    )


def victims_on(pod: Object, node: Object, here: Sequence[Object], obstacles: Obstacles) -> list[Object] | None:
    """Return the pods of a node that must go so that a pod fits; None where that does not help.

    `obstacles`: (pod, node, room) -> why the pod cannot run there.
    """
    mine = priority_of(pod)
    kept = [item for item in here if priority_of(item) >= mine]
    lower = sorted((item for item in here if priority_of(item) < mine), key=lambda item: -priority_of(item))
    allocatable = node["status"]["allocatable"]
    if not lower or obstacles(pod, node, room_left(allocatable, kept)):
        return None
    victims = []
    for item in lower:
        if obstacles(pod, node, room_left(allocatable, [*kept, item])):
            victims.append(item)
        else:
            kept.append(item)
    return victims


def cheapest(options: Mapping[str, Sequence[Object]]) -> str | None:
    """Return the node whose victims matter least; None without options."""

    def weight(node: str) -> tuple[int, int, int, str]:
        priorities = [priority_of(item) for item in options[node]]
        # Each is moved above zero, so that more victims weigh more (pickOneNodeForPreemption).
        return max(priorities), sum(2**31 + priority for priority in priorities), len(priorities), node

    return min(options, key=weight, default=None)
