"""The Microsoft.Storage part of the Azure stand-in: where the accounts are whose containers hold models.

Shape: storage REST, accounts of API 2023-05-01, the fields that are read.
"""

from aiohttp import web

from llm_provisioning_simulator.clouds.aks.http import Call, Handler
from llm_provisioning_simulator.world import World


class StorageAccounts:
    """The storage accounts of the World's buckets."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        """Return (method, path, call name, handler)."""
        path = "/subscriptions/{subscription}/providers/Microsoft.Storage/storageAccounts"
        return [("GET", path, "storageAccounts.list", self._list)]

    async def _list(self, call: Call) -> web.Response:
        found = {bucket.account: bucket.region for bucket in self._world.buckets.values() if bucket.account}
        kind, of = "Microsoft.Storage/storageAccounts", f"/subscriptions/{call.path['subscription']}/resourceGroups/w"
        accounts = [
            {
                "id": f"{of}/providers/{kind}/{name}",
                "name": name,
                "type": kind,
                "kind": "StorageV2",
                "location": region,
                "properties": {"primaryLocation": region, "provisioningState": "Succeeded"},
            }
            for name, region in sorted(found.items())
        ]
        return web.json_response({"value": accounts})
