"""The Microsoft.Authorization part of the Azure stand-in: which role a cluster's kubelet identity has on a registry.

Known are AcrPull, which attaching a registry leaves, and the role that reads the repositories. Shape: Azure RBAC REST,
role assignments 2022-04-01.
"""

import re
from typing import Final
from uuid import NAMESPACE_DNS, uuid5

from aiohttp import web

from llm_provisioning_simulator.clouds.aks.http import ARM_GROUP, AzureError, Call, Handler, group_path
from llm_provisioning_simulator.world import World

ACR_PULL: Final = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
REPOSITORY_READER: Final = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
_REGISTRY: Final = f"{ARM_GROUP}/Microsoft.ContainerRegistry/registries/{{registry}}"
_ASSIGNED_TO: Final = re.compile(r"assignedTo\('([0-9a-f-]{36})'\)")


def kubelet_identity(cluster: str) -> str:
    """Return the object id of the identity that a cluster's nodes pull as."""
    return str(uuid5(NAMESPACE_DNS, f"kubelet.{cluster}.azmk8s.io"))


class RoleAssignments:
    """Who has which role on the registries, as the World's attachments say."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        """Return (method, path, call name, handler)."""
        path = f"{_REGISTRY}/providers/Microsoft.Authorization/roleAssignments"
        return [("GET", path, "roleAssignments.list", self._list)]

    async def _list(self, call: Call) -> web.Response:
        asked = _ASSIGNED_TO.fullmatch(call.query.get("$filter", ""))
        if asked is None:
            raise AzureError(400, "UnsupportedQuery", "The filter must be assignedTo('<object id>').")
        registry = call.path["registry"]
        scope = f"{group_path(call)}/Microsoft.ContainerRegistry/registries/{registry}"
        given = [(ACR_PULL, pair) for pair in sorted(self._world.aks_attached)]
        given += [(REPOSITORY_READER, pair) for pair in sorted(self._world.aks_repository_readers)]
        found = [
            {
                "name": str(uuid5(NAMESPACE_DNS, cluster + host + role)),
                "type": "Microsoft.Authorization/roleAssignments",
                "properties": {
                    "roleDefinitionId": f"/subscriptions/{call.path['subscription']}/providers"
                    f"/Microsoft.Authorization/roleDefinitions/{role}",
                    "principalId": kubelet_identity(cluster),
                    "principalType": "ServicePrincipal",
                    "scope": scope,
                },
            }
            for role, (cluster, host) in given
            if host.partition(".")[0] == registry and kubelet_identity(cluster) == asked[1]
        ]
        return web.json_response({"value": found})
