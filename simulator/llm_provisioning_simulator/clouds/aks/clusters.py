"""The Microsoft.ContainerService part of the Azure stand-in: clusters, their kubeconfig, agent pools, operations.

What calls leave is in the World: a pool exists for the simulated nodes once its operation has Succeeded, with the
streaming setting that really arrived. Shapes: API 2026-08-01, as azure-mgmt-containerservice 41.8.0 models them.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import yaml
from aiohttp import web

from llm_provisioning_simulator.clouds.aks import models as aks_models
from llm_provisioning_simulator.clouds.aks.http import (
    ARM_GROUP,
    AzureError,
    Call,
    Handler,
    Part,
    Running,
    Shared,
    group_path,
)
from llm_provisioning_simulator.clouds.aks.roles import kubelet_identity
from llm_provisioning_simulator.world import CloudCluster, NodePool

# GPU sizes that can be asked for: SKU and count (Azure VM sizes, NVadsA10 v5, NC A100 v4, NCasT4 v3, NCads H100 v5).
GPU_SIZES: Final[Mapping[str, Mapping[str, int]]] = {
    "Standard_NV36ads_A10_v5": {"A10": 1},
    "Standard_NV72ads_A10_v5": {"A10": 2},
    "Standard_NC4as_T4_v3": {"T4": 1},
    "Standard_NC8as_T4_v3": {"T4": 1},
    "Standard_NC16as_T4_v3": {"T4": 1},
    "Standard_NC24ads_A100_v4": {"A100": 1},
    "Standard_NC40ads_H100_v5": {"H100": 1},
}
_POOL_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,11}")
_TAG_NAME: Final = re.compile(r"[^<>%&\\?/]{1,512}")  # Azure Resource Manager, "Use tags", limitations
_CLUSTERS: Final = f"{ARM_GROUP}/Microsoft.ContainerService/managedClusters"
# provisioningState of a pool that AKS changes, or that its owner changes elsewhere (azure-cli, aks recordings).
_BUSY: Final = (
    "Creating",
    "Updating",
    "Deleting",
    "Scaling",
    "Upgrading",
    "UpgradingNodeImageVersion",
    "Starting",
    "Stopping",
)
# AKS signs the address of an operation since 2025 and refuses another one; what it answers then is assumed.
OPERATION_API: Final = "2025-03-01"
_SIGNATURE: Final = {"t": "1", "c": "stand-in", "s": "stand-in", "h": "stand-in"}


class ManagedClusters(Part):
    """Clusters of the World whose cloud is aks. `entra`: kubeconfigs then ask for kubelogin, as Entra clusters do.

    `states`: (cluster, pool) -> provisioningState while something else than a call of ours changes the pool.
    """

    def __init__(self, shared: Shared, nodes_of: Callable[[str, str], int] | None = None) -> None:
        super().__init__(shared)
        self.entra = False
        self.states: dict[tuple[str, str], str] = {}
        self._nodes_of = nodes_of
        self._pools: dict[tuple[str, str], dict[str, Any]] = {}
        self._versions: dict[tuple[str, str], int] = {}

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        """Return (method, path, call name, handler)."""
        one, pools = f"{_CLUSTERS}/{{cluster}}", f"{_CLUSTERS}/{{cluster}}/agentPools"
        location = "/subscriptions/{subscription}/providers/Microsoft.ContainerService/locations/{location}"
        return [
            ("GET", _CLUSTERS, "clusters.list", self._list),
            ("GET", one, "clusters.get", self._get),
            ("POST", f"{one}/listClusterUserCredential", "clusters.credentials", self._credentials),
            ("GET", pools, "agentPools.list", self._list_pools),
            ("GET", f"{pools}/{{pool}}", "agentPools.get", self._get_pool),
            ("PUT", f"{pools}/{{pool}}", "agentPools.put", self._put_pool),
            ("DELETE", f"{pools}/{{pool}}", "agentPools.delete", self._delete_pool),
            ("GET", f"{location}/operations/{{operation}}", "operations.get", self._operation),
        ]

    async def _list(self, call: Call) -> web.Response:
        clusters = [cluster for cluster in self._world.clusters.values() if cluster.cloud == "aks"]
        return web.json_response({"value": [self._cluster_body(call, cluster) for cluster in clusters]})

    async def _get(self, call: Call) -> web.Response:
        return web.json_response(self._cluster_body(call, self._cluster(call)))

    async def _credentials(self, call: Call) -> web.Response:
        cluster = self._cluster(call)
        user: dict[str, Any] = {"token": f"stand-in-{cluster.name}"}
        if self.entra:
            user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "kubelogin"}}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster.name, "cluster": {"server": cluster.server or "http://127.0.0.1:1"}}],
            "users": [{"name": "clusterUser", "user": user}],
            "contexts": [{"name": cluster.name, "context": {"cluster": cluster.name, "user": "clusterUser"}}],
            "current-context": cluster.name,
        }
        value = base64.b64encode(yaml.safe_dump(config).encode()).decode()
        return web.json_response({"kubeconfigs": [{"name": "clusterUser", "value": value}]})

    async def _list_pools(self, call: Call) -> web.Response:
        cluster = self._cluster(call)
        names = dict.fromkeys(
            [*cluster.pools, *(pool for owner, pool in self._pools if owner == cluster.name)],
        )
        return web.json_response({"value": [self._pool_body(call, cluster, name) for name in names]})

    async def _get_pool(self, call: Call) -> web.Response:
        return web.json_response(self._pool_body(call, self._cluster(call), call.path["pool"]))

    async def _put_pool(self, call: Call) -> web.Response:
        cluster, name, body = self._cluster(call), call.path["pool"], call.json()
        properties = dict(_checked_pool(name, body))
        before = self._properties(cluster, name)
        if before is not None and self._state(cluster, name, before) in _BUSY:
            raise _in_progress(name, self._state(cluster, name, before))
        wanted = call.headers.get("If-Match", "*").strip('"')
        if wanted not in ("*", self._etag(cluster, name)):
            message = f"The agent pool {name} was changed since it was read."
            raise AzureError(412, "EtagMismatch", message, envelope=False)
        self._versions[cluster.name, name] = self._versions.get((cluster.name, name), 0) + 1
        state = "Creating" if before is None else "Updating"
        properties = {
            **properties,
            "provisioningState": state,
            "type": properties.get("type", "VirtualMachineScaleSets"),
        }
        properties.pop("status", None)
        self._pools[cluster.name, name] = properties
        seconds = self._durations_s["create_pool" if before is None else "update_pool"]
        running = self._operations.begin("aks-", seconds, lambda end: self._written(cluster, name, end), call.fault)
        return web.json_response(
            self._pool_body(call, cluster, name),
            status=201 if before is None else 200,
            headers=self._async_headers(call, cluster, running),
        )

    async def _delete_pool(self, call: Call) -> web.Response:
        cluster, name = self._cluster(call), call.path["pool"]
        before = self._properties(cluster, name)
        if before is None:
            return web.Response(status=204)
        if self._state(cluster, name, before) in _BUSY:
            raise _in_progress(name, self._state(cluster, name, before))
        self._pools[cluster.name, name] = {**before, "provisioningState": "Deleting"}

        def gone(end: Running) -> None:
            if end.status == "Succeeded":
                self._pools.pop((cluster.name, name), None)
                cluster.pools.pop(name, None)
            else:
                self._pools[cluster.name, name] = {**before, "provisioningState": "Failed"}

        running = self._operations.begin("aks-", self._durations_s["delete_pool"], gone, call.fault)
        return web.Response(status=202, headers=self._async_headers(call, cluster, running))

    async def _operation(self, call: Call) -> web.Response:
        running = self._operations.get(call.path["operation"])
        signed = call.query.get("api-version") == OPERATION_API and _SIGNATURE.items() <= call.query.items()
        if running is None or not signed:
            raise AzureError(404, "NotFound", "The entity was not found.", envelope=False)
        return web.json_response(running.as_azure())

    def _written(self, cluster: CloudCluster, name: str, end: Running) -> None:
        properties = self._pools[cluster.name, name]
        properties["provisioningState"] = end.status
        if end.status != "Succeeded":
            properties["status"] = {"provisioningError": {"code": end.code, "message": end.message}}
            return
        size = str(properties["vmSize"])
        profile = properties.get("artifactStreamingProfile") or {}
        cluster.pools[name] = NodePool(
            name=name,
            instance_type=size,
            min_nodes=int(properties.get("minCount") or 0),
            max_nodes=int(properties.get("maxCount") or properties.get("count") or 0),
            labels={**(properties.get("nodeLabels") or {}), "kubernetes.azure.com/agentpool": name},
            taints=tuple(_taint(text) for text in properties.get("nodeTaints") or ()),
            gpu=dict(GPU_SIZES.get(size, {})),
            streaming=bool(profile.get("enabled")),
            driver_installed=(properties.get("gpuProfile") or {}).get("driver") != "None",
            image_type=str(properties.get("osSKU") or "Ubuntu"),
        )

    def _cluster(self, call: Call) -> CloudCluster:
        cluster = self._world.clusters.get(call.path["cluster"])
        if cluster is None or cluster.cloud != "aks":
            raise AzureError(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.ContainerService/managedClusters/{call.path['cluster']}' under resource "
                f"group '{call.path['group']}' was not found.",
            )
        return cluster

    def _cluster_body(self, call: Call, cluster: CloudCluster) -> dict[str, Any]:
        return {
            "id": f"{group_path(call)}/Microsoft.ContainerService/managedClusters/{cluster.name}",
            "name": cluster.name,
            "type": "Microsoft.ContainerService/ManagedClusters",
            "location": cluster.region,
            "properties": {
                "provisioningState": "Succeeded",
                "kubernetesVersion": cluster.kubernetes_version,
                "identityProfile": {"kubeletidentity": {"objectId": kubelet_identity(cluster.name)}},
                "nodeProvisioningProfile": {"mode": "Auto" if cluster.autoscaler == "karpenter" else "Manual"},
            },
        }

    def _properties(self, cluster: CloudCluster, name: str) -> dict[str, Any] | None:
        if (cluster.name, name) in self._pools:
            return self._pools[cluster.name, name]
        pool = cluster.pools.get(name)
        if pool is None:
            return None
        return {
            "count": pool.min_nodes,
            "minCount": pool.min_nodes,
            "maxCount": pool.max_nodes,
            "enableAutoScaling": True,
            "vmSize": pool.instance_type,
            "osType": "Linux",
            "osSKU": pool.image_type or "Ubuntu",
            "mode": "User",
            "type": "VirtualMachineScaleSets",
            "nodeLabels": dict(pool.labels),
            "nodeTaints": [f"{t['key']}={t.get('value', '')}:{t['effect']}" for t in pool.taints],
            "artifactStreamingProfile": {"enabled": pool.streaming},
            "provisioningState": "Succeeded",
        }

    def _state(self, cluster: CloudCluster, name: str, properties: Mapping[str, Any]) -> str:
        return self.states.get((cluster.name, name), str(properties["provisioningState"]))

    def _etag(self, cluster: CloudCluster, name: str) -> str:
        """Return the pool's version: it changes with every write, and with its number of nodes."""
        nodes = 0 if self._nodes_of is None else self._nodes_of(cluster.name, name)
        return f"{name}-{self._versions.get((cluster.name, name), 0)}-{nodes}"

    def _pool_body(self, call: Call, cluster: CloudCluster, name: str) -> dict[str, Any]:
        properties = self._properties(cluster, name)
        if properties is None:
            message = f"The agent pool '{name}' of '{cluster.name}' could not be found."
            raise AzureError(404, "NotFound", message, envelope=False)
        state = self._state(cluster, name, properties)
        properties = {**properties, "provisioningState": state, "eTag": self._etag(cluster, name)}
        if self._nodes_of is not None:
            properties = {**properties, "count": self._nodes_of(cluster.name, name)}
        return {
            "id": f"{group_path(call)}/Microsoft.ContainerService/managedClusters/{cluster.name}/agentPools/{name}",
            "name": name,
            "type": "Microsoft.ContainerService/managedClusters/agentPools",
            "properties": properties,
        }

    def _async_headers(self, call: Call, cluster: CloudCluster, running: Running) -> dict[str, str]:
        path = (
            f"/subscriptions/{call.path['subscription']}/providers/Microsoft.ContainerService/locations/"
            f"{cluster.region}/operations/{running.identity}?{urlencode({'api-version': OPERATION_API, **_SIGNATURE})}"
        )
        return {"Azure-AsyncOperation": self._base_url() + path}


def _checked_pool(name: str, body: Any) -> Mapping[str, Any]:
    found = aks_models.problems("containerservice", "AgentPool", body)
    properties: Mapping[str, Any] = (body or {}).get("properties") or {}
    if not _POOL_NAME.fullmatch(name):
        found.append(f"agent pool name '{name}' must have 1 to 12 lower-case letters and digits, a letter first")
    size = str(properties.get("vmSize") or "")
    if not size or (size.startswith("Standard_N") and size not in GPU_SIZES):
        found.append(f"the VM size '{size}' is not supported in this subscription and location")
    if properties.get("enableAutoScaling") and not (
        0 <= int(properties.get("minCount") or 0) <= int(properties.get("maxCount") or 0)
    ):
        found.append("minCount must not exceed maxCount")
    if found:
        message = f"The value of a parameter is invalid: {'; '.join(found)}."
        raise AzureError(400, "InvalidParameter", message, envelope=False)
    bad_tags = [key for key in properties.get("tags") or {} if not _TAG_NAME.fullmatch(key)]
    if bad_tags:
        raise AzureError(
            400,
            "InvalidTagNameCharacters",
            rf"The following tag names {bad_tags} have characters that are not allowed: <,>,%,&,\,?,/",
        )
    return properties


def _in_progress(name: str, state: str) -> AzureError:
    message = (
        f"Operation is not allowed: Another agentpool operation ({name} - {state}) is in progress, please wait for it "
        "to finish before starting a new operation. See https://aka.ms/aks-pending-operation for more details"
    )
    return AzureError(409, "OperationNotAllowed", message, envelope=False)


def _taint(text: str) -> Mapping[str, str]:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect}
