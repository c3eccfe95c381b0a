"""Elotl Luna: a node for each marked pod that fits nowhere, made as its one ConfigMap said when it last started.

Luna is closed source: marks, keys of the ConfigMap and scale-down are from its documentation and from the origin's
install guide (elotl/GenAI-infra-stack @4792e87); the name of its event for a refused node is this simulator's own, as
Luna's is not published.
"""

import json
import re
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from llm_provisioning_simulator.infra.autoscalers import base, ec2
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine, OperatingSystem
from llm_provisioning_simulator.infra.nodes import LaunchRefusedError, NodeFleet
from llm_provisioning_simulator.profiles import InstanceType
from llm_provisioning_simulator.world import NodeSpec

Object = dict[str, Any]

NAMESPACE: Final = "elotl"
CONFIG_MAP: Final = "elotl-luna"
DEPLOYMENT: Final = "elotl-luna-manager"
WEBHOOK: Final = "elotl-luna-webhook"
CREATED_BY: Final[Mapping[str, str]] = {"node.elotl.co/created-by": "luna"}
GPU_TAINT: Final[Mapping[str, str]] = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}

_RESTARTED: Final = "kubectl.kubernetes.io/restartedAt"
_SKUS: Final = "node.elotl.co/instance-gpu-skus"
_TYPES: Final = "node.elotl.co/instance-type-regexp"


class Luna(base.PodAutoscaler):
    """Luna in one cluster."""

    idle_look_s = served_look_s = "reaction_s"

    def __init__(self, ctx: ClusterContext, fleet: NodeFleet) -> None:
        super().__init__(ctx, fleet)
        self._config: Mapping[str, str] = {}

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Read the configuration; follow the pods, and the restarts that read it anew."""
        self._read_config()
        return (*super().loops(), self._follow_restarts())

    def serves(self, pod: Object) -> bool:
        """Only pods that carry Luna's label, and no annotation to ignore them."""
        metadata = pod["metadata"]
        ignored = (metadata.get("annotations") or {}).get("pod.elotl.co/ignore") == "true"
        return (metadata.get("labels") or {}).get("elotl-luna") == "true" and not ignored

    def add_machine(self, pod: Object) -> str | None:
        """Ask for the smallest machine that a pod's requests and annotations admit."""
        size = base.smallest(self.ctx, pod, lambda item: _allows(pod, item))
        if size is None:
            self._refuse(pod, "no instance type satisfies the pod's requests and annotations")
            return None
        spec, operating_system = node_spec(self.ctx, size, self._config)
        try:
            return self.fleet.launch(spec, size, operating_system).name
        except LaunchRefusedError as error:
            self._refuse(pod, str(error))
            return None

    def may_remove(self, machine: Machine) -> bool:
        """Only machines with Luna's label."""
        return CREATED_BY.items() <= dict(machine.spec.labels).items()

    async def _follow_restarts(self) -> None:
        """Roll a deployment out whenever it was restarted, some seconds later; the manager reads the ConfigMap anew."""
        started: dict[str, str | None] = {}
        async for _type, _resource, item in self.ctx.store.subscribe("deployments"):
            name = item["metadata"]["name"]
            if item["metadata"]["namespace"] != NAMESPACE or name not in (DEPLOYMENT, WEBHOOK):
                continue
            metadata = item["spec"]["template"].get("metadata") or {}
            restarted = (metadata.get("annotations") or {}).get(_RESTARTED)
            if started.setdefault(name, restarted) != restarted:
                self.tasks.start(self._restart(name, item["metadata"]["generation"]))
            started[name] = restarted

    async def _restart(self, name: str, generation: int) -> None:
        await self.ctx.pause("restart_s")
        if name == DEPLOYMENT:
            self._read_config()

        def rolled_out(item: dict[str, Any]) -> None:
            item["status"]["observedGeneration"] = generation

        self.ctx.store.mutate(
            "deployments", name, NAMESPACE, rolled_out, subresource="status", manager="kube-controller-manager"
        )

    def _read_config(self) -> None:
        found = self.ctx.store.get("configmaps", CONFIG_MAP, NAMESPACE)
        self._config = dict((found or {}).get("data") or {})

    def _refuse(self, pod: Object, why: str) -> None:
        self.tell(pod, "NodeCreationFailed", f"Failed to add a node: {why}", "Warning", component="luna")


def node_spec(ctx: ClusterContext, size: InstanceType, config: Mapping[str, str]) -> tuple[NodeSpec, OperatingSystem]:
    """Return the node Luna asks for, as its configuration in force has it."""
    system, delivery = _images(ctx, config)
    taints = (GPU_TAINT,) if size.gpu else ()
    return base.new_node(ctx, "luna", size, labels=CREATED_BY, taints=taints, **delivery), system


def _images(ctx: ClusterContext, config: Mapping[str, str]) -> tuple[OperatingSystem, dict[str, Any]]:
    """Return what the configuration says about a node's system and about how images reach it."""
    cluster = ctx.cluster
    if cluster.cloud == "gke":
        # The origin's nodes could read the registry's stream only with an account of their own.
        account = config.get("gcp.nodeServiceAccount") or ""
        return "cos", {"streaming": cluster.streaming and bool(account), "service_account": account}
    if cluster.cloud == "aks":
        return "ubuntu", {"streaming": _is_true(config.get("azure.enableArtifactStreaming"))}
    if not _is_true(config.get("aws.isBottlerocketImage")):
        return "al2023", {}
    volume = ec2.data_volume(json.loads(config.get("aws.blockDeviceMappings") or "[]"))
    # Its SSM parameters name the newest AMI.
    launched = ec2.launched_with("bottlerocket", "bottlerocket@latest", config.get("aws.userData") or "")
    return "bottlerocket", {**volume, **launched}


def _is_true(text: str | None) -> bool:
    return (text or "").lower() == "true"


def _allows(pod: Object, size: InstanceType) -> bool:
    """Tell whether a pod's annotations admit a machine size."""
    annotations = pod["metadata"].get("annotations") or {}
    pattern = annotations.get(_TYPES)
    if pattern and not re.search(pattern, size.name):
        return False
    skus = [sku.strip() for sku in annotations.get(_SKUS, "").split(",") if sku.strip()]
    return not (size.gpu and skus) or size.gpu in skus
