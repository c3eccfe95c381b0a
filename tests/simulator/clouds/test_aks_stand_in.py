"""The Azure stand-in answers as Azure's own SDK expects, refuses what Azure refuses, and keeps only what calls left."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.containerregistry import ContainerRegistryManagementClient
from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.containerservice.models import AgentPool, ManagedClusterAgentPoolProfileProperties

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.aks import DURATIONS_S, AksStandIn
from llm_provisioning_simulator.clouds.aks.models import problems
from llm_provisioning_simulator.world import CloudCluster, Image, NodePool, World

pytestmark = pytest.mark.aks

HOST = "llmprovisioning.azurecr.io"
MADE_UP = "made-up"
DIGEST = "sha256:" + "a" * 64


class _Token(SansIOHTTPPolicy):  # type: ignore[misc]  # the SDK's classes are untyped here
    def on_request(self, request: Any) -> None:
        request.http_request.headers["Authorization"] = "Bearer made-up"


@dataclass
class Running:
    sim: AksStandIn
    world: World
    clock: SimClock
    url: str

    def client(self, kind: Any) -> Any:
        return kind(
            object(),
            self.sim.subscription_id,
            base_url=self.url,
            credential_scopes=["x"],
            authentication_policy=_Token(),
            polling_interval=0,
            retry_total=0,
        )

    @property
    def group(self) -> str:
        return f"/subscriptions/{self.sim.subscription_id}/resourceGroups/{self.sim.resource_group}/providers"

    @property
    def pool_path(self) -> str:
        return f"{self.group}/Microsoft.ContainerService/managedClusters/c1/agentPools/gpu"

    async def call(self, method: str, path: str, *, token: str | None = MADE_UP, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        options.setdefault("params", {"api-version": "2026-08-01"})
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, headers=headers, **options) as answer,
        ):
            return answer.status, await answer.json(content_type=None)

    async def registry_token(self, scope: str) -> str:
        form = {"grant_type": "access_token", "service": HOST, "access_token": "entra"}
        _, answer = await self.call("POST", "/oauth2/exchange", data=form, headers={"Host": HOST})
        form = {
            "grant_type": "refresh_token",
            "service": HOST,
            "scope": scope,
            "refresh_token": answer["refresh_token"],
        }
        _, answer = await self.call("POST", "/oauth2/token", data=form, headers={"Host": HOST})
        return str(answer["access_token"])


@asynccontextmanager
async def stand_in(speed: float = 600.0) -> AsyncIterator[Running]:
    world, clock = World(), SimClock.start(speed)
    world.clusters["c1"] = CloudCluster("c1", "aks", "eastus", "1.33.2", "native")
    world.clusters["other"] = CloudCluster("other", "gke", "us-central1", "1.33.2", "native")
    world.push(Image(f"{HOST}/a:1", DIGEST, (10**9,), {}, {}, "eastus", clock.now()))
    sim = AksStandIn(world, clock)
    urls = await sim.start()
    try:
        yield Running(sim, world, clock, urls["arm"])
    finally:
        await sim.stop()


async def until(holds: Callable[[], bool]) -> None:
    """Wait, up to 30 s, for what the stand-in does by itself."""
    for _ in range(6000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


def a_pool(**changes: Any) -> dict[str, Any]:
    return {"properties": {"vmSize": "Standard_D4s_v5", "count": 0, "minCount": 0, "maxCount": 2, **changes}}


async def test_azures_own_poller_follows_a_pool_to_its_end() -> None:
    """Azure-AsyncOperation and the final GET are as azure-core's poller wants them."""
    async with stand_in() as running:

        def create() -> Any:
            with running.client(ContainerServiceClient) as client:
                pool = AgentPool(
                    properties=ManagedClusterAgentPoolProfileProperties(
                        vm_size="Standard_D4s_v5", count=0, min_count=0, max_count=2, enable_auto_scaling=True
                    )
                )
                operation = client.agent_pools.begin_create_or_update(running.sim.resource_group, "c1", "gpu", pool)
                return operation.result(timeout=30)

        running.sim.durations_s |= {"create_pool": 30.0}
        created = await asyncio.to_thread(create)
        assert created.properties.provisioning_state == "Succeeded"
        assert running.world.clusters["c1"].pools["gpu"].max_nodes == 2


async def test_azures_own_poller_sees_a_failed_operation_as_an_error() -> None:
    """The error's code arrives where the SDK looks for it."""
    async with stand_in() as running:
        fault = {"kind": "operation", "status": "Failed", "code": "VMSkuNotAvailable", "message": "none left"}
        running.sim.faults["agentPools.put"] = fault
        running.sim.durations_s |= {"create_pool": 30.0}

        def create() -> Any:
            with running.client(ContainerServiceClient) as client:
                body = a_pool()
                return client.agent_pools.begin_create_or_update(running.sim.resource_group, "c1", "gpu", body).result(
                    timeout=30
                )

        with pytest.raises(HttpResponseError, match="none left"):
            await asyncio.to_thread(create)
        assert "gpu" not in running.world.clusters["c1"].pools


async def test_a_pool_is_in_the_world_only_after_its_virtual_seconds() -> None:
    """The default takes as long as the table says, no call hastens it."""
    async with stand_in(speed=1200.0) as running:
        began_at = running.clock.now()
        status, _ = await running.call("PUT", running.pool_path, json=a_pool())
        assert status == 201
        await until(lambda: "gpu" in running.world.clusters["c1"].pools)
        took = running.clock.now() - began_at
        assert took >= timedelta(seconds=DURATIONS_S["create_pool"])


async def test_every_answer_is_what_the_sdks_models_know() -> None:
    """Names and types of what is answered, not only of what is asked."""
    async with stand_in() as running:
        running.world.clusters["c1"].pools["gpu"] = NodePool("gpu", "Standard_D4s_v5", 0, 2, {}, (), {})
        cluster = f"{running.group}/Microsoft.ContainerService/managedClusters/c1"
        registry = f"{running.group}/Microsoft.ContainerRegistry/registries/llmprovisioning"
        request = {
            "type": "DockerBuildRequest",
            "imageNames": ["a:2"],
            "platform": {"os": "Linux", "architecture": "amd64"},
            "dockerFilePath": "Dockerfile",
            "sourceLocation": "absent",
        }
        asked = [
            ("GET", cluster, None, "containerservice", "ManagedCluster"),
            ("GET", f"{cluster}/agentPools/gpu", None, "containerservice", "AgentPool"),
            ("POST", f"{cluster}/listClusterUserCredential", None, "containerservice", "CredentialResults"),
            ("GET", registry, None, "containerregistry", "Registry"),
            ("POST", f"{registry}/listBuildSourceUploadUrl", None, "containerregistrytasks", "SourceUploadDefinition"),
            ("POST", f"{registry}/scheduleRun", request, "containerregistrytasks", "Run"),
            ("GET", f"{registry}/runs/ca1", None, "containerregistrytasks", "Run"),
            ("POST", f"{registry}/runs/ca1/listLogSasUrl", None, "containerregistrytasks", "RunGetLogResult"),
        ]
        for method, path, body, package, model in asked:
            status, answer = await running.call(method, path, json=body)
            assert status == 200, answer
            assert problems(package, model, answer) == []
        lists = [
            (cluster.rpartition("/")[0], "containerservice", "ManagedCluster"),
            (f"{cluster}/agentPools", "containerservice", "AgentPool"),
            (registry.rpartition("/")[0], "containerregistry", "Registry"),
            (f"{registry}/runs", "containerregistrytasks", "Run"),
        ]
        for path, package, model in lists:
            _, answer = await running.call("GET", path)
            assert answer["value"]
            assert [problems(package, model, item) for item in answer["value"]] == [[]] * len(answer["value"])


@pytest.mark.parametrize(
    "body, said",
    [
        (a_pool(artefactStreamingProfile={"enabled": True}), "artefactStreamingProfile is unknown"),
        (a_pool(artifactStreamingProfile={"on": True}), "artifactStreamingProfile.on is unknown"),
        (a_pool(artifactStreamingProfile={"enabled": "yes"}), "must be bool"),
        (a_pool(maxCount="2"), "must be int"),
        (a_pool(enableAutoScaling=True, minCount=3), "minCount must not exceed maxCount"),
        (a_pool(vmSize="Standard_NC1_v9"), "not supported"),
        (a_pool(tags={"llm-provisioning/target": "a"}), "InvalidTagNameCharacters"),
    ],
)
async def test_a_body_that_azure_would_refuse_is_refused(body: dict[str, Any], said: str) -> None:
    """Unknown names, wrong types, impossible limits and sizes, tag names with a slash."""
    async with stand_in() as running:
        status, answer = await running.call("PUT", running.pool_path, json=body)
        assert status == 400
        assert said in str(answer)
        assert running.world.clusters["c1"].pools == {}


async def test_what_resource_manager_checks_of_every_call_is_checked() -> None:
    """Token, version, subscription, group; and a call that is not simulated is not answered by chance."""
    async with stand_in() as running:
        path = f"{running.group}/Microsoft.ContainerService/managedClusters/c1"
        assert (await running.call("GET", path, token=None))[0] == 401
        assert (await running.call("GET", path, params={}))[0] == 400
        assert (await running.call("GET", path.replace(running.sim.subscription_id, "none")))[0] == 404
        assert (await running.call("GET", path.replace(running.sim.resource_group, "none")))[0] == 404
        assert (await running.call("GET", path.replace("c1", "other")))[0] == 404, "a cluster of another cloud"
        assert (await running.call("PATCH", path))[0] == 501
        assert (await running.call("GET", path))[0] == 200


async def test_who_may_pull_follows_from_what_is_attached() -> None:
    """AcrPull of the cluster's own kubelet identity, and of no other; other questions are not answered."""
    async with stand_in() as running:
        _, cluster = await running.call("GET", f"{running.group}/Microsoft.ContainerService/managedClusters/c1")
        identity = cluster["properties"]["identityProfile"]["kubeletidentity"]["objectId"]
        scope = f"{running.group}/Microsoft.ContainerRegistry/registries/llmprovisioning"
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"

        async def roles(text: str) -> tuple[int, list[str]]:
            params = {"api-version": "2022-04-01", "$filter": text}
            status, answer = await running.call("GET", path, params=params)
            found = [item["properties"] for item in answer.get("value", [])]
            return status, [item["roleDefinitionId"].rpartition("/")[2] for item in found if item["scope"] == scope]

        assert await roles(f"assignedTo('{identity}')") == (200, ["7f951dda-4ed3-4680-a7ca-43fe172d538d"])
        assert await roles(f"assignedTo('{'0' * 8}{identity[8:]}')") == (200, [])
        assert await roles("atScope()") == (400, [])
        running.world.aks_attached.clear()
        assert await roles(f"assignedTo('{identity}')") == (200, [])


@pytest.mark.parametrize(
    "scope, status",
    [
        ("repository:a:metadata_read", 200),
        ("repository:a:pull", 401),
        ("repository:b:metadata_read", 401),
        ("registry:catalog:*", 401),
    ],
)
async def test_a_registry_token_opens_only_what_it_was_asked_for(scope: str, status: int) -> None:
    """A client that asks for the wrong scope must notice here, not in a customer's registry."""
    async with stand_in() as running:
        token = await running.registry_token(scope)
        answered, _ = await running.call("GET", "/acr/v1/a/_tags/1", token=token, headers={"Host": HOST})
        assert answered == status


async def test_a_registry_token_ends() -> None:
    """After 75 virtual minutes it opens nothing."""
    async with stand_in() as running:
        token = await running.registry_token("repository:a:metadata_read")
        host, scope, ends_at = running.sim.data_plane._access_tokens[token]
        running.sim.data_plane._access_tokens[token] = (host, scope, ends_at - timedelta(seconds=4501))
        answered, _ = await running.call("GET", "/acr/v1/a/_tags/1", token=token, headers={"Host": HOST})
        assert answered == 401


async def test_a_write_with_an_old_etag_is_refused() -> None:
    """If-Match is honoured: the number of nodes and every write change the tag."""
    async with stand_in() as running:
        running.world.clusters["c1"].pools["gpu"] = NodePool("gpu", "Standard_D4s_v5", 0, 2, {}, (), {})
        _, pool = await running.call("GET", running.pool_path)
        match = {"If-Match": pool["properties"]["eTag"]}
        assert (await running.call("PUT", running.pool_path, json=a_pool(), headers={"If-Match": "old"}))[0] == 412
        assert (await running.call("PUT", running.pool_path, json=a_pool(), headers=match))[0] == 200


async def test_storage_refuses_a_registrys_token() -> None:
    """Blobs are answered with a redirection to another host; a client must leave its token behind."""
    async with stand_in() as running:
        token = await running.registry_token("repository:a:pull")
        options: dict[str, Any] = {"token": token, "headers": {"Host": HOST}}
        _, manifest = await running.call("GET", f"/v2/a/manifests/{DIGEST}", **options)
        path = f"/v2/a/blobs/{manifest['config']['digest']}"
        async with aiohttp.ClientSession() as session:
            headers = {"Host": HOST, "Authorization": f"Bearer {token}"}
            async with session.get(running.url + path, headers=headers, allow_redirects=False) as answer:
                assert answer.status == 307
                location = answer.headers["Location"]
            async with session.get(location, headers=headers) as answer:
                assert answer.status == 403
            async with session.get(location, headers={"Host": HOST}) as answer:
                assert answer.status == 200


async def test_an_artifact_is_in_the_world_only_when_its_referrer_is_listed() -> None:
    """Simulated nodes stream from that moment on, and not from Succeeded."""
    async with stand_in() as running:
        running.sim.durations_s["referrer_lag"] = 1e9
        token = await running.registry_token("repository:a:pull,push")
        body = {"conversionFormat": "overlaybd", "conversionVersion": "v1"}
        path, host = f"/acr/v1/a/_streaming/{DIGEST}", {"Host": HOST}
        status, begun = await running.call("POST", path, token=token, json=body, headers=host)
        assert status == 202
        answer: dict[str, Any] = {}
        while answer.get("status") != "Succeeded":
            _, answer = await running.call("GET", f"/acr/v1/a/_operations/{begun['id']}", token=token, headers=host)
        assert running.world.aks_converted == {}
        assert running.sim.data_plane.artifacts == {}


@pytest.mark.parametrize(
    "query, headers, status",
    [
        ("?sig=stand-in", {"x-ms-blob-type": "BlockBlob"}, 201),
        ("", {"x-ms-blob-type": "BlockBlob"}, 403),
        ("?sig=stand-in", {}, 400),
        ("?sig=stand-in", {"x-ms-blob-type": "BlockBlob", "Authorization": "Bearer x"}, 400),
    ],
)
async def test_a_builds_source_is_uploaded_with_the_signature_and_without_a_token(
    query: str, headers: dict[str, str], status: int
) -> None:
    """Storage wants its header, and refuses a token beside a signature."""
    async with stand_in() as running, aiohttp.ClientSession() as session:
        url = f"{running.url}/blob/tasks/source/x.tar.gz{query}"
        async with session.put(url, data=b"x", headers=headers) as answer:
            assert answer.status == status
        assert bool(running.sim.tasks.uploads) == (status == 201)


async def test_a_build_whose_source_was_never_uploaded_fails() -> None:
    """An image comes from the Dockerfile that arrived or not at all."""
    async with stand_in() as running:
        request = {
            "type": "DockerBuildRequest",
            "imageNames": ["a:2"],
            "platform": {"os": "Linux", "architecture": "amd64"},
            "sourceLocation": "absent",
        }
        path = f"{running.group}/Microsoft.ContainerRegistry/registries/llmprovisioning"
        await running.call("POST", f"{path}/scheduleRun", json=request)
        run = running.sim.tasks.runs["ca1"]
        await until(lambda: run.finished_at is not None)
        assert (run.status, run.digest) == ("Failed", None)
        assert "failed to download" in str(run.error)
        assert f"{HOST}/a:2" not in running.world.images


async def test_faults_are_switched_over_http_and_count_themselves_down() -> None:
    """A demonstration can break Azure from outside."""
    async with stand_in() as running:
        fault = {"kind": "http", "status": 429, "code": "TooManyRequests", "retry_after_s": 7, "times": 2}
        await running.call("POST", "/_simulator/faults", json={"clusters.get": fault})
        path = f"{running.group}/Microsoft.ContainerService/managedClusters/c1"
        assert [(await running.call("GET", path))[0] for _ in range(3)] == [429, 429, 200]
        await running.call("POST", "/_simulator/faults", json={"clusters.get": {**fault, "times": 0}})
        assert (await running.call("GET", path))[0] == 429
        await running.call("POST", "/_simulator/faults", json={"clusters.get": None})
        assert (await running.call("GET", path))[0] == 200


async def test_looking_leaves_nothing_in_the_world() -> None:
    """Only calls that create something earn anything."""
    async with stand_in() as running:

        def look() -> None:
            with running.client(ContainerServiceClient) as client:
                list(client.managed_clusters.list_by_resource_group(running.sim.resource_group))
                list(client.agent_pools.list(running.sim.resource_group, "c1"))
            with running.client(ContainerRegistryManagementClient) as client:
                list(client.registries.list_by_resource_group(running.sim.resource_group))
            with running.client(ContainerRegistryTasksMgmtClient) as client:
                list(client.runs.list(running.sim.resource_group, "llmprovisioning"))

        await asyncio.to_thread(look)
        assert list(running.world.images) == [f"{HOST}/a:1"]
        assert running.world.aks_converted == {}
        assert running.world.clusters["c1"].pools == {}
        assert running.world.aks_premium_registries == {HOST}
