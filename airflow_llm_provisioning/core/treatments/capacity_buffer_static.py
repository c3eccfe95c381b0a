"""Nodes that are always there: Karpenter's static capacity, the form of a buffer that counts nodes and not pods.

A NodePool with `spec.replicas` keeps that many nodes without regard to pods, and serves no pending pods; so the
target's own pools stay beside it. It does not know what the pods ask for, so the instance types must be named. No pod
of ours is on its nodes, so a DaemonSet pulls the image (`core.treatments.prepull`). The nodes stay between trials.
Sources: kubernetes-sigs/karpenter, pkg/apis/v1/nodepool.go (`replicas`: only `limits.nodes`, no weight, never switched
on or off), pkg/controllers/static; karpenter.sh, "NodePools" (spec.replicas) and "Settings": gate StaticCapacity,
alpha, off by default since 1.8. On EKS alone: that AKS's managed Karpenter has the gate on is not documented.
"""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.manifests import images, with_image
from airflow_llm_provisioning.core.manifests.groups import RayGroup, accelerators, ray_container
from airflow_llm_provisioning.core.names import LABEL_TARGET, label_value
from airflow_llm_provisioning.core.prepared_objects import IMAGE, NAME
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments.autoscaler_switches import gate_is_off
from airflow_llm_provisioning.core.treatments.base import Found, StepContext
from airflow_llm_provisioning.core.treatments.capacity_buffer import buffered_groups, pods_of
from airflow_llm_provisioning.core.treatments.kept_nodes import STATIC, KeptNodes, prepared_by
from airflow_llm_provisioning.core.treatments.prepull import prepulls
from airflow_llm_provisioning.core.workload import Workload

_GATE: Final = "StaticCapacity"
# As the target's own pools have it (`gateways.autoscalers.karpenter`).
_GPU_TAINT: Final[Mapping[str, str]] = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}


def _arguments(context: StepContext) -> Mapping[str, Any]:
    manifest, profile = context.manifest(), context.target.nodes
    named = images(manifest)
    if len(named) == 1:
        manifest = with_image(manifest, {named[0]: IMAGE})
    kept = [(group, pods_of(manifest, group)) for group in buffered_groups(manifest)]
    counts = {gpu: sum(pods for group, pods in kept if _asks_for_gpu(manifest, group) is gpu) for gpu in (False, True)}
    pools = [_pool(profile, context.target.name, gpu, nodes) for gpu, nodes in counts.items() if nodes]
    return {
        "target": context.target.as_dict(),
        "treatment": STATIC,
        # Each pod has a node of its own, so all of them are waited for.
        "objects": [*pools, *prepulls(manifest, kept, least_nodes=sum(counts.values()))],
        "image": context.image if len(named) == 1 else None,
        "idle": [{"what": "node", "amount": 1}],
    }


def _asks_for_gpu(manifest: Mapping[str, Any], group: RayGroup) -> bool:
    return bool(accelerators(ray_container(manifest, group)))


def _pool(profile: NodeProfile, target: str, gpu: bool, nodes: int) -> dict[str, Any]:
    """Return the pool of one kind of nodes: of the target's node class and label, with a name of its own."""
    rules = {
        "kubernetes.io/arch": "amd64",
        "karpenter.sh/capacity-type": str(profile.options.get("capacity_type", "on-demand")),
        "node.kubernetes.io/instance-type": str(profile.gpu_instance_type if gpu else profile.cpu_instance_type),
    }
    template: dict[str, Any] = {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": label_value(target)},
        "requirements": [{"key": key, "operator": "In", "values": [value]} for key, value in rules.items()],
        # Never replaced under a running trial.
        "expireAfter": "Never",
        **({"taints": [dict(_GPU_TAINT)]} if gpu else {}),
    }
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": f"{NAME}-{'gpu' if gpu else 'cpu'}"},
        "spec": {
            "replicas": nodes,
            "template": {"metadata": {"labels": {LABEL_TARGET: label_value(target)}}, "spec": template},
        },
    }


class CapacityBufferStatic(KeptNodes):
    """Karpenter's static node pools keep nodes for head and workers, and a DaemonSet pulls the image onto them."""

    name = STATIC
    clouds = frozenset({"eks"})
    looks_at: tuple[str, ...] = ("deployments",)
    steps = prepared_by(STATIC, _arguments)

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return what the nodes lack for static pools, and what excludes them."""
        found = list(super().requires(profile, workload))
        if profile.autoscaler != "karpenter" or profile.options.get("auto_mode"):
            found.append(
                f"{self.name} makes static node pools of a Karpenter that runs in the cluster: use another form."
            )
        groups = buffered_groups(workload.manifest)
        wanted = {_asks_for_gpu(workload.manifest, group) for group in groups}
        for gpu, key in ((False, "cpu_instance_type"), (True, "gpu_instance_type")):
            if gpu in wanted and not getattr(profile, key):
                found.append(
                    f"{self.name}: a static pool does not know what the pods ask for, and Karpenter would take its "
                    f"cheapest type: name `nodes.{key}`."
                )
        return tuple(found)

    def dry_runs(self, target: Target, workload: Workload) -> tuple[Mapping[str, Any], ...]:
        """Return a pool with `replicas`: Helm does not upgrade CRDs, and an older one drops the field."""
        return (_pool(target.nodes, target.name, gpu=True, nodes=1),)

    def on_cluster(self, found: Found, *, declared: bool) -> tuple[str, ...]:
        """Return that the cluster's Karpenter keeps no static nodes."""
        name = gate_is_off(found.get("deployments"), _GATE) if declared else None
        if name is None:
            return ()
        told = f"{self.name}: Karpenter ({name}) keeps no static nodes: set {_GATE}=true in its FEATURE_GATES"
        return (f"{told} (1.8 or newer; Helm: settings.featureGates.staticCapacity).",)
