"""GKE's node auto-provisioning: which node pool it makes for a pod that no pool fits, and when the pool is there.

What a pod's selector and tolerations bring about is as Google's pages on node auto-provisioning and on workload
separation say; that such pools have no GPU driver unless the selector names a version is
GoogleCloudPlatform/container-engine-accelerators#402 and #407; that they stream as the cluster does, and only so, is
the image-streaming page's. It knows nothing of trials.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from llm_provisioning_simulator.infra.autoscalers import base
from llm_provisioning_simulator.infra.demand import GPU, pod_demand
from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.profiles import InstanceType
from llm_provisioning_simulator.world import NodePool, digest_of

Object = dict[str, Any]

# Assumed, 60 to 180 s: as for a pool made by hand (the GKE stand-in's `create_node_pool`).
POOL_CREATION_S: Final = 90.0
# A limit that no experiment here reaches.
MAX_NODES: Final = 100
ACCELERATOR: Final = "cloud.google.com/gke-accelerator"
DRIVER: Final = "cloud.google.com/gke-gpu-driver-version"
SKUS: Final[Mapping[str, str]] = {
    "nvidia-l4": "L4",
    "nvidia-tesla-t4": "T4",
    "nvidia-tesla-a100": "A100",
    "nvidia-a100-80gb": "A100-80GB",
    "nvidia-h100-80gb": "H100",
}


class AutoProvisioning:
    """The pools that one cluster makes for itself."""

    def __init__(self, ctx: ClusterContext) -> None:
        self._ctx = ctx
        self._coming: dict[str, tuple[NodePool, datetime]] = {}
        self._made: set[str] = set()

    def begin(self, pod: Object) -> NodePool | None:
        """Begin to make a pool for a pod, or find the one that is coming; None where auto-provisioning has none."""
        ctx = self._ctx
        pool = pool_for(ctx, pod) if ctx.cluster.auto_provisioning else None
        if pool is None or pool.name in ctx.cluster.pools:
            return None
        due_at = ctx.clock.now() + timedelta(seconds=POOL_CREATION_S)
        return self._coming.setdefault(pool.name, (pool, due_at))[0]

    def settle(self) -> None:
        """Put the pools whose time has come into the cluster; they stream as the cluster does then."""
        for name, (pool, due_at) in list(self._coming.items()):
            if self._ctx.clock.now() >= due_at:
                del self._coming[name]
                self._ctx.cluster.pools[name] = replace(pool, streaming=self._ctx.cluster.streaming)
                self._made.add(name)

    def drop(self, pool: str) -> None:
        """Remove a pool that lost its last node, where it was made here."""
        if pool in self._made:
            self._made.discard(pool)
            self._ctx.cluster.pools.pop(pool, None)


def pool_for(ctx: ClusterContext, pod: Object) -> NodePool | None:
    """Return the pool that a pod's selector, tolerations and demand lead to; None where there can be none."""
    selector = dict(pod["spec"].get("nodeSelector") or {})
    accelerator, driver = selector.pop(ACCELERATOR, None), selector.pop(DRIVER, None)
    gpus = int(pod_demand(pod).get(GPU, 0))
    sku = SKUS.get(accelerator or "")
    separate = _separated(pod, selector)
    # A GPU must be named, and a label is only given to nodes that the pod also tolerates.
    if bool(gpus) != bool(sku) or len(separate) < len(selector):
        return None
    size = base.smallest(ctx, pod, lambda known: known.gpu == sku)
    if size is None:
        return None
    taints = [{"key": key, "value": value, "effect": "NoSchedule"} for key, value in separate.items()]
    labels = dict(separate)
    if accelerator:
        labels[ACCELERATOR] = accelerator
        taints.append({"key": GPU, "value": "present", "effect": "NoSchedule"})
    if driver:
        labels[DRIVER] = driver
    return _pool(ctx, size, labels, taints, driver)


def _pool(
    ctx: ClusterContext,
    size: InstanceType,
    labels: Mapping[str, str],
    taints: list[dict[str, str]],
    driver: str | None,
) -> NodePool:
    shape = digest_of(ctx.cluster.name, size.name, sorted(labels.items()))[7:15]
    return NodePool(
        name=f"nap-{size.name}-{shape}",
        instance_type=size.name,
        min_nodes=0,
        max_nodes=MAX_NODES,
        labels=labels,
        taints=tuple(taints),
        gpu={size.gpu: size.gpus} if size.gpu else {},
        driver_installed=driver in {"latest", "default"},
        image_type="COS_CONTAINERD",
        auto_provisioned=True,
    )


def _separated(pod: Object, selector: Mapping[str, str]) -> dict[str, str]:
    """Return the selected labels that the pod also tolerates as taints."""
    tolerated = {
        (item.get("key"), item.get("value"))
        for item in pod["spec"].get("tolerations") or ()
        if item.get("operator", "Equal") == "Equal" and item.get("effect") == "NoSchedule"
    }
    return {key: value for key, value in selector.items() if (key, value) in tolerated}
