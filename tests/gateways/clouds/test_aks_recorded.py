"""What Azure really answered, fed into the gateway over HTTP: refusals, operations, registries, builds, conversions.

The facts that the tests need are transcribed, so that they run in any clone; those of the shared folder are replayed
where it is present.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aks_stand import RecordingLedger
from azure.core.rest import HttpRequest
from replay_server import Answer, Replay, recorded, replaying

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import LocalCredential, azure_errors
from airflow_llm_provisioning.gateways.clouds.aks.cloud import AksCloud
from airflow_llm_provisioning.gateways.clouds.aks.pools import Pools
from airflow_llm_provisioning.gateways.clouds.verbs import TransientError

pytestmark = pytest.mark.aks

GROUP = "/subscriptions/sub/resourceGroups/rg/providers"
POOL = f"{GROUP}/Microsoft.ContainerService/managedClusters/c1/agentPools/gpu"
OPERATION = "/subscriptions/sub/providers/Microsoft.ContainerService/locations/westus/operations/7a66f2d5"
SIGNED = f"{OPERATION}?api-version=2025-03-01&t=1&c=C&s=S&h=H"
REGISTRY = f"{GROUP}/Microsoft.ContainerRegistry/registries/reg"
IMAGE = "sha256:622731d3e3a16b11a1f318b1c5018d0c44996b4c096b864fe2eac5b8beab535a"
CONVERSION = "7dfcc117-d980-4c19-8817-3171e14186ca"
# cilium issue 25944; the others are of Azure's own pages.
BUSY = (
    "Operation is not allowed: Another agentpool operation (nodepool1 - Creating) is in progress, please wait for it "
    "to finish before starting a new operation. See https://aka.ms/aks-pending-operation for more details"
)


@contextmanager
def real_azure(*answers: Answer) -> Iterator[tuple[AksCloud, Replay]]:
    token = Answer("POST", "/oauth2/", {"refresh_token": "r", "access_token": "a"})
    with replaying(*answers, token) as replay:
        cloud = AksCloud(
            LocalCredential(),
            subscription_id="sub",
            resource_group="rg",
            registry="reg",
            endpoints={"arm": replay.url, "acr": replay.url},
            ledger=RecordingLedger(lambda: datetime.now(UTC)),
            clock=lambda: datetime.now(UTC),
        )
        try:
            yield cloud, replay
        finally:
            cloud.close()


# Refusals


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {
                "code": "InvalidParameter",
                "details": None,
                "message": "'ManagedSystem' pool is limited to one per cluster",
                "subcode": "",
                "target": "agentPoolProfile.mode",
            },
            "400 InvalidParameter: 'ManagedSystem' pool is limited to one per cluster",
        ),
        (
            {
                "code": "NotFound",
                "details": [{"code": "Unspecified", "message": "rpc error: desc = Machine not found"}],
                "message": "The entity was not found.",
                "subcode": "GetMachine_NotFound_HCPServerError",
            },
            "NotFound: The entity was not found. (rpc error: desc = Machine not found)",
        ),
        (
            {
                "error": {
                    "code": "ResourceNotFound",
                    "message": "The Resource 'x' under resource group 'y' was not found.",
                }
            },
            "ResourceNotFound: The Resource 'x' under resource group 'y' was not found.",
        ),
        ("404 page not found\n", "404 page not found"),
    ],
)
def test_a_refusal_is_told_in_azures_words(body: Any, said: str) -> None:
    """AKS's own have no envelope and may say the reason in their details; those of Resource Manager have one."""
    with real_azure(Answer("GET", ".*", body, 400)) as (cloud, _):
        with pytest.raises(CloudError) as refused:
            Pools(cloud._account).get("c1", "gpu")
        assert said in str(refused.value)
        assert not isinstance(refused.value, TransientError)


@pytest.mark.parametrize(
    ("status", "code", "message", "passes"),
    [
        (409, "OperationNotAllowed", BUSY, True),
        (409, "Conflict", "Cannot proceed: the cluster is in transitioning state Upgrading.", True),
        (409, "Another", "Another operation is in progress", True),
        (409, "OperationNotAllowed", "Quota exceeded, another operation is in progress elsewhere", False),
        (409, "Conflict", "The name is taken.", False),
        (400, "InvalidParameter", "Updates are in progress of being designed", False),
    ],
)
def test_a_busy_cluster_is_told_from_a_refusal(status: int, code: str, message: str, passes: bool) -> None:
    """By the code or by the words, with and without an envelope; an exhausted quota never passes by waiting."""
    error = {"code": code, "message": message}
    for body in (error, {"error": error}):
        with real_azure(Answer("GET", ".*", body, status)) as (cloud, _):
            with pytest.raises(CloudError) as refused:
                Pools(cloud._account).get("c1", "gpu")
            assert isinstance(refused.value, TransientError) is passes


def test_recorded_refusals_are_told_in_azures_words(shared_folder: Path) -> None:
    """Every recorded refusal of AKS: code and message, not the SDK's own words."""
    for line in recorded(shared_folder, "aks/errors.jsonl"):
        status, body = line["response"]["status"], line["response"]["body"]
        parsed = json.loads(body)
        error = parsed.get("error", parsed)
        with real_azure(Answer("GET", ".*", body, status)) as (cloud, _):
            response = cloud._account.containers.send_request(HttpRequest("GET", "{endpoint}/x"))
            with pytest.raises(CloudError) as refused, azure_errors("Trying"):
                response.raise_for_status()
            assert f"{status} {error['code']}: {' '.join(error['message'].split())}" in str(refused.value)
            assert isinstance(refused.value, TransientError) is (status >= 500)


@pytest.mark.parametrize("body", ["<html>signed in elsewhere</html>", '{"tag": ', "[]", "null", '{"tag": {}}'])
def test_an_answer_that_is_not_what_it_should_be_is_a_sentence(body: str) -> None:
    """Of Resource Manager and of a registry: no decoding error leaves the gateway."""
    answer = Answer("GET", ".*", body)
    with real_azure(answer) as (cloud, _):
        with contextlib.suppress(CloudError):
            Pools(cloud._account).list("c1")
        with contextlib.suppress(CloudError):
            cloud.list_owned()
        with contextlib.suppress(CloudError):
            cloud.start("build_image", {"recipe": {"base": "b:1"}, "repository": "r", "target": "t"})
        [evidence] = cloud.verify(["image_converted"], {"image": "reg.azurecr.io/a:1"})
        assert evidence.holds is None or evidence.holds is False


# Pools and their operations


def written(cloud: AksCloud, properties: Mapping[str, Any]) -> tuple[Pools, str | None]:
    pools = Pools(cloud._account)
    pool = pools.get("c1", "gpu")
    assert pool is not None
    pool.properties.max_count = properties["maxCount"]
    return pools, pools.put("c1", "gpu", pool)


def pool_answers(operation: Mapping[str, Any], signed: str = SIGNED) -> tuple[Answer, ...]:
    body = {"name": "gpu", "properties": {"provisioningState": "Failed", "count": 0, "maxCount": 3}}
    address = {"Azure-AsyncOperation": f"https://management.azure.com{signed}"}
    return (
        Answer("GET", f"{POOL}\\?", body),
        Answer("PUT", f"{POOL}\\?", body, headers=address),
        Answer("GET", f"{OPERATION}\\?api-version=2025-03-01&t=1&c=C&s=S&h=H", operation),
        Answer("GET", OPERATION, {"code": "NotFound", "message": "The entity was not found."}, 404),
    )


FAILED = {"name": "7a66", "status": "Failed", "error": {"code": "ReconcileVMSSAgentPoolFailed", "message": "no core"}}


def test_the_signed_address_of_an_operation_is_asked_and_kept_out_of_the_progress() -> None:
    """AKS signs it since 2025; the signature is a secret, so only this process knows it and only the name is stored."""
    with real_azure(*pool_answers(FAILED)) as (cloud, replay):
        pools, operation_id = written(cloud, {"maxCount": 4})
        assert operation_id == "7a66f2d5"
        told = pools.failure("c1", "gpu", "Failed", operation_id, "westus")
        assert told == "Writing agent pool 'gpu' of cluster 'c1' ended Failed: ReconcileVMSSAgentPoolFailed: no core."
        assert replay.asked[-1][1] == SIGNED
        another_process = Pools(cloud._account)
        assert "AKS gives no reason" in another_process.failure("c1", "gpu", "Failed", operation_id, "westus")
        assert any(path == f"{OPERATION}?api-version=2025-03-01" for _, path, _ in replay.asked)


@pytest.mark.parametrize("status", ["InProgress", "CreatingAgentPool: 1/2 nodes completed", "Succeeded"])
def test_an_error_of_an_operation_that_has_not_failed_is_not_its_reason(status: str) -> None:
    """AKS reports troubles that pass, also beside Succeeded; free text stands where a status is expected."""
    with real_azure(*pool_answers({**FAILED, "status": status})) as (cloud, _):
        pools, operation_id = written(cloud, {"maxCount": 4})
        assert "no core" not in pools.failure("c1", "gpu", "Failed", operation_id, "westus")


def test_recorded_operations_are_read_without_a_reason(shared_folder: Path) -> None:
    """Every recorded body of an operation is read; none of them had failed."""
    lines = recorded(shared_folder, "aks/agentpools-create.jsonl")
    bodies = [x["response"]["body"] for x in lines if "/operations/" in (x.get("request") or {}).get("uri", "")]
    assert len(bodies) > 3
    for body in bodies:
        with real_azure(*pool_answers(json.loads(body))) as (cloud, _):
            pools, operation_id = written(cloud, {"maxCount": 4})
            assert "AKS gives no reason" in pools.failure("c1", "gpu", "Failed", operation_id, "westus")


# Conversions


def converting(operation: Mapping[str, Any]) -> tuple[Answer, ...]:
    return (
        Answer("GET", "/acr/v1/microsoft/_operations/", operation),
        Answer("POST", "/acr/v1/microsoft/_operations/.*:cancel", {**operation, "status": "Canceled"}),
    )


def operation_body(status: str, details: Any, **more: Any) -> dict[str, Any]:
    """Return an operation's body as ACR gives it (azure-cli, recorded 2025-04-28): no id, the text in `details`."""
    resource = f"microsoft@{IMAGE}"
    return {
        "name": "ArtifactStreamingConversion",
        "resource": resource,
        "status": status,
        "startTime": "2025-04-28T03:54:17Z",
        "progress": "0%",
        "details": details,
        **more,
    }


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (operation_body("Failed", "the layer is no gzip"), None, "the layer is no gzip"),
        (operation_body("Failed", "UNSUPPORTED_PLATFORM: arm"), "UNSUPPORTED_PLATFORM", "arm"),
        (operation_body("Failed", [{"message": "a"}, "b"]), None, "a; b"),
        (operation_body("Failed", "d", error={"code": "X", "message": "m"}), "X", "m"),
        (operation_body("Running", "Conversion ongoing for resource x"), None, None),
        (operation_body("Failed", None), None, None),
    ],
)
def test_the_reason_of_a_failed_conversion_is_in_its_details(
    body: Mapping[str, Any], code: str | None, message: str | None
) -> None:
    """A text while it goes on is no error."""
    with real_azure(*converting(body)) as (cloud, _):
        found = cloud._account.data_plane("reg.azurecr.io").conversion("microsoft", CONVERSION)
    assert found is not None
    assert (found.operation_id, found.error_code, found.message) == (CONVERSION, code, message)


def test_recorded_conversion_is_followed_to_its_cancel(shared_folder: Path) -> None:
    """The recorded bodies of begin, look and cancel, byte for byte."""
    lines = recorded(shared_folder, "aks/acr-artifact-streaming.jsonl")
    answers = []
    for line in lines:
        if "_streaming" in str(line.get("request")) or "_operations" in str(line.get("request")):
            request, response = line["request"], line["response"]
            path = request["uri"].partition(".azurecr.io")[2]
            answers.append(Answer(request["method"], path, response["body"], response["status"], times=1))
    with real_azure(*answers) as (cloud, replay):
        registry = cloud._account.data_plane("reg.azurecr.io")
        assert registry.conversion_of("microsoft", IMAGE) is None
        begun = registry.convert("microsoft", IMAGE)
        assert (begun.operation_id, begun.status) == (CONVERSION, "NotStarted")
        going = registry.conversion_of("microsoft", IMAGE)
        assert going is not None
        assert (going.status, going.message) == ("Running", None)
        registry.cancel_conversion("microsoft", CONVERSION)
        ended = registry.conversion("microsoft", CONVERSION)
        assert ended is not None
        assert (ended.status, ended.going_on, ended.operation_id) == ("Canceled", False, CONVERSION)
        assert "Conversion started" in str(ended.message)
        assert replay.count("POST", ".*:cancel") == 1


# Builds


def registry_body(mode: str | None) -> dict[str, Any]:
    """Return what is needed of the recorded registry (azure-cli, test_acr_abac_build, 2026-03-24)."""
    properties = {"loginServer": "reg.azurecr.io", **({} if mode is None else {"roleAssignmentMode": mode})}
    return {"id": REGISTRY, "name": "reg", "location": "westus", "sku": {"name": "Standard"}, "properties": properties}


def run_body(status: str, **more: Any) -> dict[str, Any]:
    times = {} if status == "Queued" else {"createTime": "2026-03-24T00:29:09.7921247+00:00"}
    properties = {"runId": "cf1", "status": status, "provisioningState": "Succeeded", "isArchiveEnabled": False}
    return {"type": "Microsoft.ContainerRegistry/registries/runs", "properties": {**properties, **times, **more}}


def a_build(mode: str | None, scheduled: Any = None, ended: Any = None) -> tuple[Operation, Replay]:
    """Run a build against a registry of that mode until it ends."""
    failed = run_body("Failed", runType="QuickRun", runErrorMessage="failed during run, err: exit status 1")
    absent = {"errors": [{"code": "TAG_UNKNOWN", "message": "the specified tag does not exist"}]}
    with replaying() as upload:
        upload.answers.append(Answer("PUT", "/blob", "", 201))
        answers = (
            Answer("GET", f"{REGISTRY}\\?", registry_body(mode)),
            Answer("GET", "/acr/v1/.*/_tags/", absent, 404),
            Answer("GET", f"{REGISTRY}/runs\\?", {"value": []}),
            Answer("GET", f"{REGISTRY}/runs/cf1\\?", ended or failed),
            Answer("POST", f"{REGISTRY}/scheduleRun", scheduled or run_body("Queued")),
            Answer(
                "POST",
                f"{REGISTRY}/listBuildSourceUploadUrl",
                {"uploadUrl": f"{upload.url}/blob/s.tar.gz?sig=x", "relativePath": "source/s.tar.gz"},
            ),
        )
        with real_azure(*answers) as (cloud, replay):
            operation = cloud.start("build_image", {"recipe": {"base": "b:1"}, "repository": "r", "target": "t"})
            for _ in range(10):
                operation = cloud.poll(operation)
            return operation, replay


def scheduled_run(replay: Replay) -> dict[str, Any]:
    (body,) = [body for method, path, body in replay.asked if method == "POST" and "scheduleRun" in path]
    return dict(json.loads(body))


def test_a_build_in_an_abac_registry_acts_as_its_caller() -> None:
    """The run names the caller's identity, and one that fails without a reason says which role may be missing."""
    ended, replay = a_build("AbacRepositoryPermissions")
    assert scheduled_run(replay)["credentials"] == {"sourceRegistry": {"identity": "[caller]"}}
    assert "failed during run, err: exit status 1" in str(ended.error)
    assert "Container Registry Repository Contributor" in str(ended.error)


@pytest.mark.parametrize("mode", ["LegacyRegistryPermissions", None])
def test_a_build_elsewhere_names_no_identity(mode: str | None) -> None:
    """As before: nothing is sent that an older registry may not know, and no advice about a mode that is off."""
    ended, replay = a_build(mode)
    assert "credentials" not in scheduled_run(replay)
    assert "ABAC" not in str(ended.error)


def test_recorded_abac_build_is_understood(shared_folder: Path) -> None:
    """The recorded answers of scheduleRun and of the failed run, and the recorded registry's mode."""
    lines = recorded(shared_folder, "aks/acr-build.jsonl")
    bodies = [json.loads(line["response"]["body"]) for line in lines]
    registry = next(body for body in bodies if body["type"].endswith("/registries"))
    failed = next(body for body in bodies if body["properties"].get("status") == "Failed")
    ended, replay = a_build(registry["properties"]["roleAssignmentMode"], bodies[0], failed)
    sent = json.loads(lines[0]["request"]["body"])
    assert scheduled_run(replay)["credentials"] == sent["credentials"]
    assert "exit status 1" in str(ended.error)
