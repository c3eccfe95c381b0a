"""Azure for the simulator: Resource Manager (clusters, agent pools, features, registries, ACR Tasks) and registries.

The real SDK clients talk to it over HTTP; what their calls leave is in the World. Operations take virtual time and can
be told to go wrong. No Azure emulator knows AKS or ACR (Azurite is storage only).
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.aks.clusters import ManagedClusters
from llm_provisioning_simulator.clouds.aks.data_plane import DataPlane
from llm_provisioning_simulator.clouds.aks.http import (
    AzureError,
    Call,
    Handler,
    LongOperations,
    Shared,
    endpoint,
)
from llm_provisioning_simulator.clouds.aks.roles import RoleAssignments
from llm_provisioning_simulator.clouds.aks.storage import StorageAccounts
from llm_provisioning_simulator.clouds.aks.tasks import RegistriesAndTasks, Registry
from llm_provisioning_simulator.clouds.operations import CallFaults
from llm_provisioning_simulator.loopback import Loopback
from llm_provisioning_simulator.world import World

# Virtual seconds (or bytes per second) of everything that takes time. Assumed where no source is named, with the range
# that would also be believable.
DURATIONS_S: Final[Mapping[str, float]] = MappingProxyType(
    {
        # AKS's own stamps in azure-cli's recordings (2023 to 2026). Create and update: of the same pool without nodes,
        # 72.1 and 7.9 s; other updates took 5 to 986 s, 23 of 33 below a minute. Delete: 24.8 and 50.0 s.
        "create_pool": 72.0,
        "update_pool": 8.0,
        "delete_pool": 37.0,
        "register_feature": 300.0,  # "a few minutes" (Azure CLI's page on preview features); assumed, 60 to 900
        # ACR's own stamps in azure-cli's recordings: 0.26 to 0.36 s in the queue, 15.7 s until a build had failed.
        "build_queue": 0.3,
        "build_failure": 16.0,
        "build_pull_bytes_s": 60e6,  # assumed, 30 to 150 MB/s, pull and unpack of the base on two processors
        # 3.3 GB of wheels took 404 s on two processors (8 MB/s, own measurement); assumed, 5 to 20 MB/s.
        "build_install_bytes_s": 8e6,
        "build_push_bytes_s": 60e6,  # assumed, 30 to 120 MB/s, compression included
        # How long a conversion takes is not published. Assumed: it reads and writes the image once at a registry's
        # rate, 20 to 150 MB/s.
        "convert_bytes_s": 50e6,
        "referrer_lag": 5.0,  # assumed, 0 to 60, from Succeeded until the referrer is listed
    }
)


class AksStandIn:
    """One simulated subscription and resource group. `registries` by name; without any, one Premium registry.

    `nodes_of`: (cluster, pool) -> how many nodes it has, where nodes are simulated.
    """

    def __init__(
        self,
        world: World,
        clock: SimClock,
        *,
        subscription_id: str = "00000000-0000-0000-0000-000000000001",
        resource_group: str = "llm-provisioning",
        registries: Iterable[Registry] | None = None,
        durations_s: Mapping[str, float] | None = None,
        nodes_of: Callable[[str, str], int] | None = None,
    ) -> None:
        """`durations_s` replaces single entries of DURATIONS_S."""
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.faults = CallFaults()
        self.features: dict[str, str] = {}
        self.calls: list[str] = []
        """Names of the calls answered, in order."""
        self.durations_s = {**DURATIONS_S, **(durations_s or {})}
        """May be changed while it runs."""
        known = (Registry("llmprovisioning"),) if registries is None else registries
        self.registries = {registry.name: registry for registry in known}
        for registry in self.registries.values():
            if registry.abac:
                world.aks_abac_registries.add(registry.login_server)
            if registry.sku == "Premium":
                world.aks_premium_registries.add(registry.login_server)
            for cluster in world.clusters.values():
                if cluster.cloud == "aks":  # its owner has run `az aks update --attach-acr`
                    world.aks_attached.add((cluster.name, registry.login_server))
        self.operations = LongOperations(clock)
        shared = Shared(world, self.operations, self.durations_s, self._base_url)
        self.clusters = ManagedClusters(shared, nodes_of=nodes_of)
        self.tasks = RegistriesAndTasks(shared, registries=self.registries)
        self.roles = RoleAssignments(world)
        self.storage = StorageAccounts(world)
        self.data_plane = DataPlane(shared, registries=self.registries)
        self._loopback = Loopback()
        self._url = ""

    async def start(self, port: int = 0) -> dict[str, str]:
        """Listen on 127.0.0.1 and return {"arm": url, "acr": url}: one address, registries told apart by Host."""
        app = web.Application(client_max_size=64 * 1024**2)
        managed = [*self.clusters.routes(), *self.tasks.routes(), *self.roles.routes(), *self._feature_routes()]
        managed += self.storage.routes()
        for method, path, name, handler in managed:
            app.router.add_route(method, path, self._endpoint(name, self._resource_manager(handler)))
        for method, path, name, handler in [*self.tasks.blob_routes(), *self.data_plane.storage_routes()]:
            app.router.add_route(method, path, self._endpoint(name, handler))
        for method, path, name, handler in self.data_plane.routes():
            app.router.add_route(method, path, self._endpoint(name, handler, registry=True))
        self.faults.serve(app)
        app.router.add_route("*", "/{path:.*}", _unknown)
        self._url = await self._loopback.serve(web.AppRunner(app, access_log=None), port)
        return {"arm": self._url, "acr": self._url}

    async def stop(self) -> None:
        """Stop listening, and everything that goes on."""
        await self.operations.stop()
        await self._loopback.stop()

    def _base_url(self) -> str:
        return self._url

    def _endpoint(self, name: str, handler: Handler, *, registry: bool = False) -> Any:
        answer = endpoint(name, handler, self.faults, registry=registry)

        async def noted(request: web.Request) -> Any:
            self.calls.append(name)
            return await answer(request)

        return noted

    def _resource_manager(self, handler: Handler) -> Handler:
        """Return a handler that checks what Resource Manager checks of every call."""

        async def checked(call: Call) -> web.Response:
            if not call.headers.get("Authorization", "").startswith("Bearer "):
                raise AzureError(401, "AuthenticationFailed", "The 'Authorization' header is missing.")
            if "api-version" not in call.query:
                raise AzureError(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
            if call.path["subscription"] != self.subscription_id:
                missing = call.path["subscription"]
                raise AzureError(404, "SubscriptionNotFound", f"The subscription '{missing}' could not be found.")
            if call.path.get("group", self.resource_group).lower() != self.resource_group.lower():
                missing = call.path["group"]
                raise AzureError(404, "ResourceGroupNotFound", f"Resource group '{missing}' could not be found.")
            return await handler(call)

        return checked

    def _feature_routes(self) -> list[tuple[str, str, str, Handler]]:
        one = "/subscriptions/{subscription}/providers/Microsoft.Features/providers/{namespace}/features/{feature}"
        return [
            ("GET", one, "features.get", self._feature),
            ("POST", f"{one}/register", "features.register", self._register),
        ]

    async def _feature(self, call: Call) -> web.Response:
        name = f"{call.path['namespace']}/{call.path['feature']}"
        state = self.features.get(name, "NotRegistered")
        return web.json_response({"name": name, "properties": {"state": state}})

    async def _register(self, call: Call) -> web.Response:
        name = f"{call.path['namespace']}/{call.path['feature']}"
        self.features[name] = "Registering"
        seconds = self.durations_s["register_feature"]
        self.operations.begin("feat-", seconds, lambda _: self.features.update({name: "Registered"}), call.fault)
        return await self._feature(call)


async def _unknown(request: web.Request) -> web.Response:
    message = f"The stand-in does not know {request.method} {request.path}"
    return AzureError(501, "NotImplemented", message).response()
