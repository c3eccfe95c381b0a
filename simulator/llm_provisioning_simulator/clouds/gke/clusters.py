"""The container API of the simulated project: clusters as the world has them, node pools, and what updates leave."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke.http import Call, GoogleError, Handler, Operations, Running, stamp
from llm_provisioning_simulator.world import CloudCluster, NodePool, World

_BASE: Final = "container.projects.locations."
# Links of zonal clusters name the project by number (cloud-custodian, recorded 2020-09-08).
PROJECT_NUMBER: Final = "123456789012"
# What a cluster that makes a pool says it is doing, by the operation's type.
_DOING: Final[Mapping[str, str]] = {
    "CREATE_NODE_POOL": "creating a node pool for",
    "DELETE_NODE_POOL": "deleting a node pool for",
}
# GKE's accelerator types: https://cloud.google.com/compute/docs/gpus
ACCELERATORS: Final[Mapping[str, str]] = {
    "nvidia-l4": "L4",
    "nvidia-tesla-t4": "T4",
    "nvidia-tesla-a100": "A100",
    "nvidia-a100-80gb": "A100-80GB",
    "nvidia-h100-80gb": "H100",
}


class Clusters:
    """GKE clusters of the world. `extras`: cluster -> fields laid over what is answered (autopilot, versions, ...).

    `pool_extras`: (cluster, pool) -> the same for a pool, as the conditions that stay on one after its error passed.
    """

    def __init__(self, world: World, clock: SimClock, durations_s: Mapping[str, float]) -> None:
        self._world = world
        self._clock = clock
        self._durations_s = durations_s
        self._pools: dict[tuple[str, str], dict[str, Any]] = {}
        self.extras: dict[str, dict[str, Any]] = {}
        self.pool_extras: dict[tuple[str, str], dict[str, Any]] = {}
        self.operations = Operations(clock, "operation-")

    def handlers(self) -> dict[str, Handler]:
        """Return the answers of container.v1."""
        pools = f"{_BASE}clusters.nodePools."
        return {
            f"{_BASE}clusters.get": self._get,
            f"{_BASE}clusters.list": self._list,
            f"{_BASE}clusters.update": self._update,
            f"{_BASE}operations.get": self._operation,
            f"{_BASE}operations.list": self._operation_list,
            f"{pools}get": self._get_pool,
            f"{pools}list": self._list_pools,
            f"{pools}create": self._create_pool,
            f"{pools}update": self._update_pool,
            f"{pools}delete": self._delete_pool,
        }

    def _cluster(self, call: Call) -> CloudCluster:
        name = call.path["clustersId"]
        cluster = self._world.clusters.get(name)
        if cluster is None or cluster.cloud != "gke" or cluster.region != call.path["locationsId"]:
            raise GoogleError("NOT_FOUND", f"Not found: {_linked(self._parent(call))}/clusters/{name}.")
        return cluster

    def _parent(self, call: Call) -> str:
        return f"projects/{call.path['projectsId']}/locations/{call.path['locationsId']}"

    def _body(self, cluster: CloudCluster, call: Call) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": cluster.name,
            "location": cluster.region,
            "locations": [f"{cluster.region}-{letter}" for letter in "abc"]
            if len(cluster.region.split("-")) == 2
            else [cluster.region],
            "status": "RUNNING",
            "currentMasterVersion": f"{cluster.kubernetes_version}-gke.1000000",
            "selfLink": _link(f"{self._parent(call)}/clusters/{cluster.name}"),
            "nodePools": [self._pool(cluster, pool) for pool in cluster.pools.values()],
            "nodePoolDefaults": {
                "nodeConfigDefaults": {"gcfsConfig": {"enabled": cluster.streaming or self._autopilot(cluster)}}
            },
        }
        if cluster.server is not None:
            body["endpoint"] = cluster.server
        if cluster.auto_provisioning:
            body["autoscaling"] = {"enableNodeAutoprovisioning": True}
        return {**body, **self.extras.get(cluster.name, {})}

    def _pool(self, cluster: CloudCluster, pool: NodePool) -> dict[str, Any]:
        made = self._pools.get((cluster.name, pool.name)) or _from_world(pool)
        config = {**made["config"]}
        if self._says_streaming(cluster, pool):
            config["gcfsConfig"] = {"enabled": pool.streaming}
        body = {"status": "RUNNING", **made, "config": config, **self.pool_extras.get((cluster.name, pool.name), {})}
        target = f"/clusters/{cluster.name}/nodePools/{pool.name}"
        last = next((r for r in reversed(self.operations.known.values()) if r.target.endswith(target)), None)
        if last is not None and last.kind == "CREATE_NODE_POOL" and last.error is not None:
            return {**body, "status": "ERROR", "conditions": [{"message": last.error.message}]}
        if last is not None and last.kind == "DELETE_NODE_POOL" and not last.done:
            return {**body, "status": "STOPPING"}
        return body

    def _says_streaming(self, cluster: CloudCluster, pool: NodePool) -> bool:
        """Return whether a pool has a gcfsConfig: those that Google makes have none and follow the cluster's default
        (Autopilot: cloud-custodian, recorded 2023-06-20; auto-provisioned: assumed alike).
        """
        return not (pool.auto_provisioned or self._autopilot(cluster))

    def _autopilot(self, cluster: CloudCluster) -> bool:
        return bool(self.extras.get(cluster.name, {}).get("autopilot", {}).get("enabled"))

    async def _get(self, call: Call) -> dict[str, Any]:
        return self._body(self._cluster(call), call)

    async def _list(self, call: Call) -> dict[str, Any]:
        region = call.path["locationsId"]
        here = [c for c in self._world.clusters.values() if c.cloud == "gke" and region in ("-", c.region)]
        return {"clusters": [self._body(cluster, call) for cluster in here]}

    async def _update(self, call: Call) -> dict[str, Any]:
        cluster = self._cluster(call)
        update = (call.body or {}).get("update", {})
        if set(update) != {"desiredGcfsConfig"}:
            raise GoogleError("UNIMPLEMENTED", f"The simulator updates desiredGcfsConfig only, not {sorted(update)}.")

        def effect() -> None:
            cluster.streaming = bool(update["desiredGcfsConfig"].get("enabled", False))

        return self._begin(call, "update_cluster", "UPDATE_CLUSTER", f"/clusters/{cluster.name}", effect)

    def _begin(self, call: Call, what: str, kind: str, target: str, effect: Any) -> dict[str, Any]:
        cluster = f"{self._parent(call)}/clusters/{call.path['clustersId']}"
        busy = self.operations.busy(cluster)
        if busy is not None:
            raise _busy(busy, call.path["clustersId"])
        running = self.operations.begin(
            self._durations_s[what], effect, kind=kind, target=f"{self._parent(call)}{target}", fault=call.fault
        )
        return self._operation_body(running)

    def _operation_body(self, running: Running) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": running.name,
            "operationType": running.kind,
            "status": "DONE" if running.done else "RUNNING",
            "selfLink": _link(f"{running.target.partition('/clusters/')[0]}/operations/{running.name}"),
            "targetLink": _link(running.target),
            "startTime": stamp(running.started_at),
        }
        if running.ended_at is not None:
            body["endTime"] = stamp(running.ended_at)
        if running.error is not None:
            body |= {"error": running.error.status(), "statusMessage": running.error.message}
        return body

    async def _operation(self, call: Call) -> dict[str, Any]:
        return self._operation_body(self.operations.get(call.path["operationsId"]))

    async def _operation_list(self, call: Call) -> dict[str, Any]:
        return {"operations": [self._operation_body(running) for running in self.operations.known.values()]}

    def _world_pool(self, call: Call) -> tuple[CloudCluster, NodePool]:
        cluster = self._cluster(call)
        pool = cluster.pools.get(call.path["nodePoolsId"])
        if pool is None:
            where = f"{self._parent(call)}/clusters/{cluster.name}/nodePools/{call.path['nodePoolsId']}"
            raise GoogleError("NOT_FOUND", f'nodePool "{where}" not found')
        return cluster, pool

    async def _get_pool(self, call: Call) -> dict[str, Any]:
        return self._pool(*self._world_pool(call))

    async def _list_pools(self, call: Call) -> dict[str, Any]:
        cluster = self._cluster(call)
        return {"nodePools": [self._pool(cluster, pool) for pool in cluster.pools.values()]}

    async def _create_pool(self, call: Call) -> dict[str, Any]:
        cluster = self._cluster(call)
        wanted = call.body["nodePool"]
        name = wanted.get("name", "")
        if not name or not wanted.get("config", {}).get("machineType"):
            raise GoogleError("INVALID_ARGUMENT", "node_pool.name and node_pool.config.machine_type are needed")
        self._check_disks(wanted["config"])
        if name in cluster.pools:
            raise GoogleError("ALREADY_EXISTS", f"Already exists: {self._parent(call)}/clusters/{cluster.name}/{name}.")

        def effect() -> None:
            self._pools[cluster.name, name] = {**wanted, "status": "RUNNING"}
            cluster.pools[name] = _to_world(wanted, cluster)

        target = f"/clusters/{cluster.name}/nodePools/{name}"
        answer = self._begin(call, "create_node_pool", "CREATE_NODE_POOL", target, effect)
        # From the first moment the pool is there, provisioning; where the create fails it stays, in error.
        self._pools[cluster.name, name] = {**wanted, "status": "PROVISIONING"}
        cluster.pools[name] = replace(_to_world(wanted, cluster), max_nodes=0)
        return answer

    def _check_disks(self, config: Mapping[str, Any]) -> None:
        for disk in config.get("secondaryBootDisks", ()):
            if disk.get("diskImage", "") not in self._world.disk_images:
                raise GoogleError("INVALID_ARGUMENT", f"The resource '{disk.get('diskImage')}' was not found.")

    async def _update_pool(self, call: Call) -> dict[str, Any]:
        cluster, pool = self._world_pool(call)
        update = call.body or {}
        if "gcfsConfig" not in update:
            raise GoogleError("UNIMPLEMENTED", "The simulator updates gcfsConfig only.")

        def effect() -> None:
            enabled = bool(update["gcfsConfig"].get("enabled", False))
            cluster.pools[pool.name] = replace(cluster.pools[pool.name], streaming=enabled)

        target = f"/clusters/{cluster.name}/nodePools/{pool.name}"
        return self._begin(call, "update_node_pool", "UPGRADE_NODES", target, effect)

    async def _delete_pool(self, call: Call) -> dict[str, Any]:
        cluster, pool = self._world_pool(call)

        def effect() -> None:
            cluster.pools.pop(pool.name, None)
            self._pools.pop((cluster.name, pool.name), None)

        target = f"/clusters/{cluster.name}/nodePools/{pool.name}"
        return self._begin(call, "delete_node_pool", "DELETE_NODE_POOL", target, effect)


def _busy(running: Running, cluster: str) -> GoogleError:
    """Return the refusal of a second change: Google has two wordings (hashicorp/terraform-provider-google 10366)."""
    if running.kind in _DOING:
        message = (
            f"Operation {running.name} is currently {_DOING[running.kind]} cluster {cluster}. "
            "Please wait and try again once it is done."
        )
        return GoogleError("FAILED_PRECONDITION", message)
    message = f"Cluster is running incompatible operation {running.name}."
    return GoogleError("FAILED_PRECONDITION", message, reason="CLUSTER_ALREADY_HAS_OPERATION")


def _linked(path: str) -> str:
    """Return projects/P/locations/L... as links of a cluster have it: zonal ones say `zones`."""
    parts = path.split("/")
    if len(parts[3].split("-")) > 2:
        parts[2] = "zones"
    return "/".join(parts)


def _link(path: str) -> str:
    """Return an object's link: a zonal one names the project by number, a regional one by name."""
    linked = _linked(path)
    if "/zones/" in linked:
        linked = f"projects/{PROJECT_NUMBER}/{linked.partition('/')[2].partition('/')[2]}"
    return f"https://container.googleapis.com/v1/{linked}"


def _to_world(body: Mapping[str, Any], cluster: CloudCluster) -> NodePool:
    config = body["config"]
    accelerators = config.get("accelerators", [])
    gpu = {
        ACCELERATORS.get(a["acceleratorType"], a["acceleratorType"]): int(a.get("acceleratorCount", 1))
        for a in accelerators
    }
    labels = {**config.get("labels", {}), "cloud.google.com/gke-nodepool": body["name"]}
    taints = [
        {"key": t["key"], "value": t.get("value", ""), "effect": _camel(t["effect"])} for t in config.get("taints", [])
    ]
    for accelerator in accelerators:
        labels["cloud.google.com/gke-accelerator"] = accelerator["acceleratorType"]
        # GKE taints GPU pools by itself: cloud.google.com/kubernetes-engine/docs/how-to/gpus
        if not any(t["key"] == "nvidia.com/gpu" for t in taints):
            taints.append({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"})
    driver = {a.get("gpuDriverInstallationConfig", {}).get("gpuDriverVersion") for a in accelerators}
    scaling = body.get("autoscaling", {})
    return NodePool(
        name=body["name"],
        instance_type=config["machineType"],
        min_nodes=int(scaling.get("totalMinNodeCount", scaling.get("minNodeCount", 0))),
        max_nodes=int(scaling.get("totalMaxNodeCount", scaling.get("maxNodeCount", body.get("initialNodeCount", 0)))),
        labels=labels,
        taints=tuple(taints),
        gpu=gpu,
        # A pool that says nothing follows the cluster's node pool defaults; an empty message says false, because zero
        # values do not travel.
        streaming=bool(config.get("gcfsConfig", {"enabled": cluster.streaming}).get("enabled", False)),
        driver_installed="INSTALLATION_DISABLED" not in driver,
        image_type=config.get("imageType", "COS_CONTAINERD"),
        service_account=config.get("serviceAccount", ""),
        disk_image=next(
            (
                disk["diskImage"]
                for disk in config.get("secondaryBootDisks", ())
                if disk.get("mode") == "CONTAINER_IMAGE_CACHE"
            ),
            "",
        ),
    )


def _from_world(pool: NodePool) -> dict[str, Any]:
    types = {sku: kind for kind, sku in ACCELERATORS.items()}
    accelerators = [
        {"acceleratorType": types.get(sku, sku), "acceleratorCount": str(count)} for sku, count in pool.gpu.items()
    ]
    return {
        "name": pool.name,
        "config": {
            "machineType": pool.instance_type,
            "imageType": pool.image_type or "COS_CONTAINERD",
            "labels": dict(pool.labels),
            **({"accelerators": accelerators} if accelerators else {}),
            **({"serviceAccount": pool.service_account} if pool.service_account else {}),
        },
        "autoscaling": {"enabled": True, "totalMinNodeCount": pool.min_nodes, "totalMaxNodeCount": pool.max_nodes},
    }


def _camel(effect: str) -> str:
    return "".join(word.capitalize() for word in effect.split("_"))
