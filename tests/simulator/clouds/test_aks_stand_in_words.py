"""The stand-in for Azure answers in the words and headers of the real one."""

from typing import Any

import aiohttp
import pytest
from test_aks_stand_in import DIGEST, HOST, Running, a_pool, stand_in, until

from llm_provisioning_simulator.world import NodePool

pytestmark = pytest.mark.aks


async def headers_of(running: Running, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
    """Return status, headers and body of a call to Resource Manager."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, running.url + path, headers={"Authorization": "Bearer x"}, **options) as answer,
    ):
        return answer.status, answer.headers, await answer.json(content_type=None)


async def test_the_address_of_an_operation_is_signed_and_asks_for_no_pause() -> None:
    """As recorded in 2025: api-version 2025-03-01 with t, c, s, h, no Retry-After; another address is not found."""
    async with stand_in() as running:
        running.sim.faults["agentPools.put"] = {
            "kind": "operation_words",
            "progress": "CreatingAgentPool: 1/2 nodes completed",
            "trouble": {"code": "Retry", "message": "a node was lost"},
        }
        params = {"api-version": "2026-08-01"}
        _, headers, _ = await headers_of(running, "PUT", running.pool_path, params=params, json=a_pool())
        assert "Retry-After" not in headers
        address = headers["Azure-AsyncOperation"].removeprefix(running.url)
        assert set(dict(pair.split("=") for pair in address.partition("?")[2].split("&"))) == {
            "api-version", "t", "c", "s", "h",
        }  # fmt: skip
        status, _, body = await headers_of(running, "GET", address)
        assert (status, body["status"]) == (200, "CreatingAgentPool: 1/2 nodes completed")
        assert body["error"]["code"] == "Retry"
        unsigned = f"{address.partition('?')[0]}?api-version=2025-03-01"
        assert (await headers_of(running, "GET", unsigned))[0] == 404
        await until(lambda: "gpu" in running.world.clusters["c1"].pools)
        _, _, body = await headers_of(running, "GET", address)
        assert (body["status"], body["error"]["message"]) == ("Succeeded", "a node was lost")


async def test_aks_refuses_without_an_envelope_and_resource_manager_with_one() -> None:
    """AKS's error is the body itself; a busy pool is worded as Azure words it (cilium issue 25944)."""
    async with stand_in() as running:
        absent = running.pool_path.replace("/gpu", "/gone")
        status, body = await running.call("GET", absent)
        assert (status, body["code"], body["subcode"], body["details"]) == (404, "NotFound", "", None)
        status, body = await running.call("GET", running.pool_path.replace("/c1/", "/c9/"))
        assert (status, body["error"]["code"]) == (404, "ResourceNotFound")
        running.world.clusters["c1"].pools["gpu"] = NodePool("gpu", "Standard_D4s_v5", 0, 2, {}, (), {})
        running.sim.clusters.states["c1", "gpu"] = "UpgradingNodeImageVersion"
        _, body = await running.call("GET", running.pool_path)
        assert body["properties"]["provisioningState"] == "UpgradingNodeImageVersion"
        status, body = await running.call("PUT", running.pool_path, json=a_pool())
        assert (status, body["code"]) == (409, "OperationNotAllowed")
        assert "Another agentpool operation (gpu - UpgradingNodeImageVersion) is in progress" in body["message"]


async def test_a_conversion_is_told_as_a_registry_tells_it() -> None:
    """Begin, look, cancel and an unknown one, field by field as recorded (azure-cli, 2025-04-28)."""
    async with stand_in() as running:
        token = await running.registry_token("repository:a:pull,push")
        host = {"Host": HOST}
        path = f"/acr/v1/a/_streaming/{DIGEST}"
        status, body = await running.call("GET", path, token=token, headers=host)
        unknown = {"code": "OPERATION_UNKNOWN", "message": "The specified operation does not exist"}
        assert (status, body) == (404, {"errors": [unknown]})
        wanted = {"conversionFormat": "overlaybd", "conversionVersion": "v1"}
        status, begun = await running.call("POST", path, token=token, headers=host, json=wanted)
        assert (status, begun) == (202, {"id": begun["id"], "status": "NotStarted"})
        own = f"/acr/v1/a/_operations/{begun['id']}"
        status, going = await running.call("GET", own, token=token, headers=host)
        assert (status, set(going)) == (200, {"name", "resource", "status", "startTime", "progress", "details"})
        assert (going["name"], going["resource"]) == ("ArtifactStreamingConversion", f"a@{DIGEST}")
        status, ended = await running.call("POST", f"{own}:cancel", token=token, headers=host)
        assert (status, ended["status"]) == (200, "Canceled")
        assert ended["name"] == "Cancel: ArtifactStreamingConversion"
        status, body = await running.call("GET", own.replace(begun["id"], "x"), token=token, headers=host)
        assert (status, body["errors"][0]["code"]) == (404, "OPERATION_UNKNOWN")


async def test_a_streaming_artifacts_descriptor_is_that_of_a_real_one() -> None:
    """Type, size and annotations as `az acr manifest list-referrers` printed them (a support blog, 2023-12-24)."""
    async with stand_in() as running:
        await running.sim.data_plane._list_artifact((HOST, "a", DIGEST))
        token = await running.registry_token("repository:a:pull")
        path = f"/v2/a/referrers/{DIGEST}"
        _, index = await running.call("GET", path, token=token, headers={"Host": HOST}, params={})
        assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
        [listed] = index["manifests"]
        assert {key: listed[key] for key in ("artifactType", "mediaType", "size")} == {
            "artifactType": "application/vnd.azure.artifact.streaming.v1",
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": 17266,
        }
        assert listed["annotations"]["streaming.format"] == "overlaybd"


async def test_a_run_is_told_as_acr_tells_it() -> None:
    """A scheduled run has no type, creation and platform yet; later it is a QuickRun (azure-cli, 2026-03-24)."""
    async with stand_in() as running:
        registry = f"{running.group}/Microsoft.ContainerRegistry/registries/llmprovisioning"
        request = {"type": "DockerBuildRequest", "imageNames": ["a:2"], "platform": {"os": "Linux"}}
        _, begun = await running.call("POST", f"{registry}/scheduleRun", json=request)
        assert set(begun["properties"]) == {
            "runId", "status", "lastUpdatedTime", "provisioningState", "isArchiveEnabled",
        }  # fmt: skip
        _, run = await running.call("GET", f"{registry}/runs/{begun['properties']['runId']}")
        assert (run["properties"]["runType"], "createTime" in run["properties"]) == ("QuickRun", True)
        assert run["properties"]["platform"] == {"os": "linux", "architecture": "amd64"}
