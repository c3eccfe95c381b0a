"""Preflight's look at the nodes: does the workload fit, is there a GPU or something that makes one, do nodes stay?"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.core.manifests import place
from airflow_llm_provisioning.core.node_fit import Demand, demands, misfit
from airflow_llm_provisioning.core.quantity import quantity
from airflow_llm_provisioning.core.treatments.kept_nodes import stays_after_trials
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS, nodes_gone_s
from airflow_llm_provisioning.gateways.kubernetes import Cluster

Level = Literal["error", "note"]

# What the node profiles ask for by `gpu_skus`.
_MADE: Final = "nvidia.com/gpu"
_WARM: Final = (
    "Nothing removes the nodes of this target, so every start is warm and enters no cold comparison. If a node "
    "autoscaler does, set nodes_gone_s."
)


async def check_nodes(
    cluster: Cluster, target: Target, *, workloads: Sequence[Workload]
) -> AsyncIterator[tuple[Level, str]]:
    """Yield what keeps the workloads of a target off its nodes, and whether its starts are warm."""
    if not nodes_gone_s(target) and not stays_after_trials(target.nodes):
        yield "note", _WARM
    served = [workload for workload in workloads if target.serves(workload.name)]
    if not served:
        return
    nodes, _ = await cluster.list("nodes")
    for workload in served:
        for found in _of_workload(target, workload, nodes):
            yield found


def _of_workload(target: Target, workload: Workload, nodes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Level, str]]:
    autoscaler = AUTOSCALERS[target.nodes.autoscaler]
    head, workers = (autoscaler.placement(target.nodes, group) for group in ("head", "worker"))
    makes_nodes = autoscaler.removes_nodes(target.nodes) or bool(target.nodes_gone_s)
    for demand in demands(place(workload.manifest, head, workers)):
        why = misfit(demand, nodes)
        if why is None:
            continue
        who = f"Workload {workload.name!r}: a pod of group {demand.group} fits on no node that is there: {why}."
        unmade = [name for name in demand.accelerators if not _exists(name, nodes) and not _can_make(name, target)]
        if unmade and makes_nodes:
            yield "error", f"{who} No node has {', '.join(unmade)}, and the node profile makes none."
        elif not makes_nodes:
            yield (
                "error",
                f"{who} Nothing makes nodes here, so it stays Pending: give it other nodes or less to ask for.",
            )
        else:
            yield _level_of_size(target, demand, nodes), f"{who} The node autoscaler has to make one that it fits on."


def _exists(resource: str, nodes: Sequence[Mapping[str, Any]]) -> bool:
    return any((quantity((node["status"].get("allocatable") or {}).get(resource)) or 0) > 0 for node in nodes)


def _can_make(resource: str, target: Target) -> bool:
    """Return whether the node profile may give such a device: NVIDIA's by name, others only by an instance type."""
    return bool(target.nodes.gpu_instance_type) or (resource == _MADE and bool(target.nodes.gpu_skus))


def _level_of_size(target: Target, demand: Demand, nodes: Sequence[Mapping[str, Any]]) -> Level:
    """Return `error` where a node of the profile's own instance type is there, and shows that it is too small."""
    wanted = target.nodes.gpu_instance_type if demand.accelerators else target.nodes.cpu_instance_type
    alike = [
        {"metadata": {}, "status": {**node["status"], "conditions": [{"type": "Ready", "status": "True"}]}}
        for node in nodes
        if wanted and (node["metadata"].get("labels") or {}).get("node.kubernetes.io/instance-type") == wanted
    ]
    size = Demand(demand.group, demand.requests, {}, ())
    return "error" if alike and misfit(size, alike) is not None else "note"
