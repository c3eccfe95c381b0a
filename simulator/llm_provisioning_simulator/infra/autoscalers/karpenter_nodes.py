"""What Karpenter's NodePools and node classes say about the nodes to be made. Reads objects, makes nothing."""

import re
from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.infra.autoscalers import base, ec2
from llm_provisioning_simulator.infra.machines import ClusterContext, OperatingSystem
from llm_provisioning_simulator.profiles import InstanceType
from llm_provisioning_simulator.world import NodeSpec

Object = dict[str, Any]

POOL_LABEL: Final = "karpenter.sh/nodepool"


def node_spec(
    ctx: ClusterContext, pool: Object, node_class: Object, size: InstanceType, pod: Object | None = None
) -> tuple[NodeSpec, OperatingSystem]:
    """Return the node a pool and its class describe at this moment; `pod`: that it is made for."""
    system, delivery = _images(ctx.cluster.cloud, node_class["spec"])
    labels = {**template_labels(pool), "node.kubernetes.io/instance-type": size.name}
    taints = tuple(pool["spec"]["template"]["spec"].get("taints") or ())
    zone = base.zone_of(ctx, base.wished(pod), labels)
    return base.new_node(ctx, "karpenter", size, labels=labels, taints=taints, zone=zone, **delivery), system


def _images(cloud: str, spec: Object) -> tuple[OperatingSystem, dict[str, Any]]:
    """Return what a node class says about a node's system and about how images reach it."""
    if cloud == "aks":
        return "ubuntu", {"streaming": bool((spec.get("artifactStreaming") or {}).get("enabled"))}
    alias = next((str(term["alias"]) for term in spec.get("amiSelectorTerms") or () if term.get("alias")), "")
    system: OperatingSystem = "al2023" if "al2023" in alias else "bottlerocket"
    launched = ec2.launched_with(system, alias, str(spec.get("userData") or ""))
    if system == "al2023":
        return system, launched
    volume = ec2.data_volume(spec.get("blockDeviceMappings") or ())
    raid = spec.get("instanceStorePolicy") == "RAID0"
    return system, {**volume, **launched, "instance_store_raid": raid}


def template_labels(pool: Object) -> dict[str, str]:
    """Return the labels a pool's nodes carry: the template's own, the pool's, and requirements of one value."""
    template = pool["spec"]["template"]
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    for rule in template["spec"].get("requirements") or ():
        if rule["operator"] == "In" and len(rule.get("values") or ()) == 1:
            labels[rule["key"]] = rule["values"][0]
    return labels | {POOL_LABEL: pool["metadata"]["name"]}


def admits(requirements: Any, size: InstanceType) -> bool:
    """Tell whether a pool's requirements admit a machine size; keys that say nothing about sizes are met."""
    known: dict[str, str | None] = {"node.kubernetes.io/instance-type": size.name}
    for vendor in ("karpenter.k8s.aws/instance", "karpenter.azure.com/sku"):
        known[f"{vendor}-gpu-name"] = size.gpu.lower() if size.gpu else None
        known[f"{vendor}-gpu-count"] = str(size.gpus) if size.gpus else None
    return all(_met(known[rule["key"]], rule) for rule in requirements if rule["key"] in known)


def _met(found: str | None, rule: Mapping[str, Any]) -> bool:
    values = [str(value).lower() for value in rule.get("values") or ()]
    outcomes = {
        "In": found is not None and found.lower() in values,
        "NotIn": found is None or found.lower() not in values,
        "Exists": found is not None,
        "DoesNotExist": found is None,
    }
    return outcomes.get(rule["operator"], False)


def seconds(duration: str) -> float:
    """Read a Go duration (`30s`, `1m30s`, `1h`); `Never` is infinity."""
    if duration == "Never":
        return float("inf")
    factors = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(number) * factors[unit] for number, unit in re.findall(r"([\d.]+)([hms])", duration))
