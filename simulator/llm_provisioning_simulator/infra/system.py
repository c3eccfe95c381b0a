"""What a cluster has at the start: a system node, the operators' deployments, GPU and autoscaler objects.

The system node takes no workload: its taint is the one AKS puts on system pools and others by hand, so every pod of a
trial needs a new node.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm_provisioning_simulator.infra.autoscalers import luna
from llm_provisioning_simulator.infra.autoscalers.base import new_node
from llm_provisioning_simulator.infra.deviceplugin import NAMESPACE, daemonset
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine, OperatingSystem
from llm_provisioning_simulator.infra.nodeobjects import provider_label
from llm_provisioning_simulator.infra.nodes import NodeFleet
from llm_provisioning_simulator.infra.workloads import NO_PODS

KUBERAY_IMAGE: Final = "quay.io/kuberay/operator:v1.7.0"
SYSTEM_TAINT: Final[Mapping[str, str]] = {"key": "CriticalAddonsOnly", "value": "true", "effect": "NoSchedule"}

# Alpha gates of Karpenter that are simulated (karpenter.sh, "Settings").
_KARPENTER_GATES: Final = ("CapacityBuffer", "StaticCapacity")
_SYSTEMS: Final[dict[str, OperatingSystem]] = {"eks": "al2023", "gke": "cos", "aks": "ubuntu"}
_SIZES: Final = {"eks": "m5.xlarge", "gke": "e2-standard-4", "aks": "Standard_D4s_v5"}


def install(ctx: ClusterContext, fleet: NodeFleet) -> Machine:
    """Put the first objects into a new cluster and return its system node."""
    machine = _system_node(ctx, fleet)
    _deploy(ctx, "kuberay-operator", "kuberay-operator", KUBERAY_IMAGE)
    plugin = daemonset(ctx.cluster.cloud)
    plugin["metadata"]["annotations"] = {NO_PODS: "true"}
    ctx.store.create("daemonsets", plugin, namespace=NAMESPACE, manager="helm")
    if ctx.cluster.autoscaler == "luna":
        _deploy(ctx, luna.NAMESPACE, luna.DEPLOYMENT, "elotl/luna-manager:v1.2.10")
        _deploy(ctx, luna.NAMESPACE, luna.WEBHOOK, "elotl/luna-webhook:v1.2.10")
        config = {"metadata": {"name": luna.CONFIG_MAP}, "data": {}}
        ctx.store.create("configmaps", config, namespace=luna.NAMESPACE, manager="helm")
    elif ctx.cluster.autoscaler == "karpenter":
        gates = ",".join(f"{gate}={str(gate in ctx.cluster.feature_gates).lower()}" for gate in _KARPENTER_GATES)
        env = [{"name": "FEATURE_GATES", "value": gates}]
        _deploy(ctx, "kube-system", "karpenter", "public.ecr.aws/karpenter/controller:1.15.0", env=env)
    return machine


def _system_node(ctx: ClusterContext, fleet: NodeFleet) -> Machine:
    cloud = ctx.cluster.cloud
    size = ctx.profile.instance_type(_SIZES[cloud])
    spec = new_node(ctx, "system", size, labels={provider_label(cloud): "system"}, taints=(SYSTEM_TAINT,))
    return fleet.join_at_once(spec, size, _SYSTEMS[cloud])


def _deploy(
    ctx: ClusterContext, namespace: str, name: str, image: str, *, env: Sequence[Mapping[str, str]] = ()
) -> None:
    """Create a deployment of one running replica, as `helm install` leaves it."""
    store = ctx.store
    if store.peek("namespaces", namespace) is None:
        store.create("namespaces", {"metadata": {"name": namespace}}, manager="helm")
    labels = {"app.kubernetes.io/name": name}
    template: dict[str, Any] = {
        "metadata": {"labels": dict(labels)},
        "spec": {"containers": [{"name": name, "image": image, "imagePullPolicy": "IfNotPresent"}]},
    }
    if env:
        template["spec"]["containers"][0]["env"] = [dict(item) for item in env]
    available = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": ""}
    deployment = {
        "metadata": {"name": name, "labels": dict(labels), "annotations": {NO_PODS: "true"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": dict(labels)}, "template": template},
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
            "updatedReplicas": 1,
            "conditions": [available],
        },
    }
    store.create("deployments", deployment, namespace=namespace, manager="helm")
