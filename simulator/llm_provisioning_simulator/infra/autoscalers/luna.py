"""Elotl Luna: a node for each marked pod that fits nowhere, made as its one ConfigMap said when it last started.

Luna is closed source: marks, keys of the ConfigMap and scale-down are from its documentation and from the origin's
install guide (elotl/GenAI-infra-stack @4792e87); the name of its event for a refused node is this simulator's own, as
Luna's is not published.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.infra.autoscalers import base
from llm_provisioning_simulator.infra.machines import ClusterContext, OperatingSystem
from llm_provisioning_simulator.infra.nodes import LaunchRefusedError, NodeFleet
from llm_provisioning_simulator.infra.scheduler import is_unschedulable
from llm_provisioning_simulator.infra.tasks import TaskGroup
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
_DATA_DEVICE: Final = "/dev/xvdb"


class Luna:
    """Luna in one cluster."""

    def __init__(self, ctx: ClusterContext, fleet: NodeFleet) -> None:
        self._ctx = ctx
        self._fleet = fleet
        self._tasks = TaskGroup()
        self._promises = base.Promises()
        self._asked: set[str] = set()
        """Pods (uid) a node is being worked out for."""
        self._empty = base.EmptyNodes(ctx, fleet, lambda machine: _is_ours(machine.spec))
        self._config: Mapping[str, str] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        self._read_config()
        patience_s = self._ctx.profile.value("scale_down_after_s")
        look_s = self._ctx.profile.value("reaction_s")
        try:
            await base.together(
                self._follow_pods(), self._follow_restarts(), self._empty.run(look_s, lambda _machine: patience_s)
            )
        finally:
            await self._tasks.stop()

    async def _follow_restarts(self) -> None:
        """Roll a deployment out whenever it was restarted, some seconds later; the manager reads the ConfigMap anew."""
        started: dict[str, str | None] = {}
        async for _type, _resource, item in self._ctx.store.subscribe("deployments"):
            name = item["metadata"]["name"]
            if item["metadata"]["namespace"] != NAMESPACE or name not in (DEPLOYMENT, WEBHOOK):
                continue
            metadata = item["spec"]["template"].get("metadata") or {}
            restarted = (metadata.get("annotations") or {}).get(_RESTARTED)
            if started.setdefault(name, restarted) != restarted:
                self._tasks.start(self._restart(name, item["metadata"]["generation"]))
            started[name] = restarted

    async def _restart(self, name: str, generation: int) -> None:
        await self._ctx.pause("restart_s")
        if name == DEPLOYMENT:
            self._read_config()

        def rolled_out(item: dict[str, Any]) -> None:
            item["status"]["observedGeneration"] = generation

        self._ctx.store.mutate(
            "deployments", name, NAMESPACE, rolled_out, subresource="status", manager="kube-controller-manager"
        )

    def _read_config(self) -> None:
        found = self._ctx.store.get("configmaps", CONFIG_MAP, NAMESPACE)
        self._config = dict((found or {}).get("data") or {})

    async def _follow_pods(self) -> None:
        async for _type, _resource, pod in self._ctx.store.subscribe("pods"):
            uid = pod["metadata"]["uid"]
            if _is_marked(pod) and is_unschedulable(pod) and uid not in self._asked:
                self._asked.add(uid)
                self._tasks.start(self._provide(pod))

    async def _provide(self, pod: Object) -> None:
        """See to it that a pod is promised a machine for as long as it waits; later again when one is refused."""
        ctx, uid = self._ctx, pod["metadata"]["uid"]
        try:
            await ctx.pause("reaction_s")
            while base.still_waits(ctx, pod):
                pods = {item["metadata"]["uid"] for item in base.pending_pods(ctx)}
                self._promises.drop_gone(pods, self._fleet.machines)
                satisfied = uid in self._promises.by_pod or self._satisfy(pod)
                await ctx.pause("reaction_s" if satisfied else "retry_after_refusal_s")
        finally:
            self._asked.discard(uid)

    def _satisfy(self, pod: Object) -> bool:
        """Promise a machine to a pod; tell whether that worked."""
        uid = pod["metadata"]["uid"]
        free = self._promises.free(self._ctx, self._fleet.machines, pod)
        if free is None:
            size = base.smallest(self._ctx, pod, lambda item: _allows(pod, item))
            if size is None:
                self._refused(pod, "no instance type satisfies the pod's requests and annotations")
                return False
            spec, operating_system = node_spec(self._ctx, size, self._config)
            try:
                free = self._fleet.launch(spec, size, operating_system).name
            except LaunchRefusedError as error:
                self._refused(pod, str(error))
                return False
        self._promises.by_pod[uid] = free
        return True

    def _refused(self, pod: Object, why: str) -> None:
        self._ctx.store.record_event(
            pod,
            "NodeCreationFailed",
            f"Failed to add a node: {why}",
            component="luna",
            style="kubelet",
            type_="Warning",
        )


def node_spec(ctx: ClusterContext, size: InstanceType, config: Mapping[str, str]) -> tuple[NodeSpec, OperatingSystem]:
    """Return the node Luna asks for, as its configuration in force has it."""
    cluster = ctx.cluster
    name, provider_id = base.new_identity(ctx, "luna")
    spec: dict[str, Any] = {
        "cluster": cluster.name,
        "name": name,
        "cloud": cluster.cloud,
        "region": cluster.region,
        "zone": base.zone_of(ctx),
        "instance_type": size.name,
        "gpu": {size.gpu: size.gpus} if size.gpu else {},
        "labels": dict(CREATED_BY),
        "taints": (GPU_TAINT,) if size.gpu else (),
        "provider_id": provider_id,
    }
    if cluster.cloud == "gke":
        # The origin's nodes could read the registry's stream only with an account of their own.
        account = config.get("gcp.nodeServiceAccount") or ""
        return NodeSpec(**spec, streaming=cluster.streaming and bool(account), service_account=account), "cos"
    if cluster.cloud == "aks":
        return NodeSpec(**spec, streaming=_is_true(config.get("azure.enableArtifactStreaming"))), "ubuntu"
    if not _is_true(config.get("aws.isBottlerocketImage")):
        return NodeSpec(**spec), "al2023"
    return NodeSpec(**spec, **_data_volume(config.get("aws.blockDeviceMappings"))), "bottlerocket"


def _data_volume(mappings: str | None) -> dict[str, Any]:
    """Return what EC2's block device mappings say of Bottlerocket's data volume; other devices hold no images."""
    for device in json.loads(mappings or "[]"):
        if device.get("DeviceName") == _DATA_DEVICE:
            ebs = device.get("Ebs") or {}
            return {
                "snapshot_id": ebs.get("SnapshotId"),
                "data_volume_gib": ebs.get("VolumeSize"),
                "volume_initialization_rate_mib_s": ebs.get("VolumeInitializationRate"),
            }
    return {}


def _is_true(text: str | None) -> bool:
    return (text or "").lower() == "true"


def _is_marked(pod: Object) -> bool:
    metadata = pod["metadata"]
    ignored = (metadata.get("annotations") or {}).get("pod.elotl.co/ignore") == "true"
    return (metadata.get("labels") or {}).get("elotl-luna") == "true" and not ignored


def _allows(pod: Object, size: InstanceType) -> bool:
    """Tell whether a pod's annotations admit a machine size."""
    annotations = pod["metadata"].get("annotations") or {}
    pattern = annotations.get(_TYPES)
    if pattern and not re.search(pattern, size.name):
        return False
    skus = [sku.strip() for sku in annotations.get(_SKUS, "").split(",") if sku.strip()]
    return not (size.gpu and skus) or size.gpu in skus


def _is_ours(spec: NodeSpec) -> bool:
    return CREATED_BY.items() <= dict(spec.labels).items()
