"""The API over HTTP: codes, Status objects, subresources, logs, proxies, faults."""

import asyncio
import json
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.server import KubeServer
from llm_provisioning_simulator.kube.store import ObjectStore

CORE = "/api/v1/namespaces/default"
RAY = "/apis/ray.io/v1/namespaces/default/rayservices"
MERGE = {"Content-Type": "application/merge-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def config_map(name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, **metadata}, "data": {"k": "v"}}


def ray_service(name: str = "llm") -> dict[str, Any]:
    cluster = {"headGroupSpec": {"template": {}}}
    return {
        "kind": "RayService",
        "apiVersion": "ray.io/v1",
        "metadata": {"name": name},
        "spec": {"rayClusterConfig": cluster},
    }


async def call(http: aiohttp.ClientSession, method: str, path: str, **how: Any) -> tuple[int, Any]:
    async with http.request(method, path, **how) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("path", ["/version", "/version/"])
async def test_version_says_that_it_is_simulated(http: aiohttp.ClientSession, path: str) -> None:
    """No client can lose the label: it is in gitVersion, with the cluster's name and the clock's declaration."""
    status, body = await call(http, "GET", path)
    assert status == 200
    assert body["gitVersion"] == "v1.34.9+simulated"
    assert body["simulated"]["cluster"] == "test"
    assert body["simulated"]["clock"]["speed"] == 1.0


async def test_the_date_header_is_the_clusters_time() -> None:
    """A client that measures the server's clock by it meets the clock of all the stamps."""
    epoch = datetime(2030, 1, 1, tzinfo=UTC)
    clock = SimClock(1.0, time.time(), epoch)
    server = KubeServer(ObjectStore(clock), name="ahead", clock=clock)
    await server.start()
    async with aiohttp.ClientSession(base_url=server.url) as http:
        for path in ("/version", "/api/v1/pods?watch=1&timeoutSeconds=1"):
            async with http.get(path) as response:
                assert parsedate_to_datetime(response.headers["Date"]).year == 2030
    await server.stop()


async def test_events_are_written_in_both_views(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """An event created and patched through events.k8s.io is the core event of that name."""
    event = {
        "metadata": {"name": "e"},
        "eventTime": "2026-11-22T08:00:00.000001Z",
        "regarding": {"kind": "Pod", "name": "p"},
        "note": "hello",
        "reason": "Test",
        "type": "Normal",
        "reportingController": "c",
        "reportingInstance": "i",
    }
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    status, created = await call(http, "POST", path, json=event)
    assert (status, created["note"], created["apiVersion"]) == (201, "hello", "events.k8s.io/v1")
    await call(http, "PATCH", f"{path}/e", json={"series": {"count": 2}, "note": "again"}, headers=MERGE)
    _, body = await call(http, "GET", f"{CORE}/events/e")
    assert (body["message"], body["series"], body["involvedObject"]["name"]) == ("again", {"count": 2}, "p")
    assert body["apiVersion"] == "v1"


@pytest.mark.parametrize("path", ["/api", "/apis/", "/api/v1", "/apis/ray.io/v1/", "/apis/ray.io", "/openapi/v3"])
async def test_discovery(http: aiohttp.ClientSession, path: str) -> None:
    """Every discovery document is there, also with a trailing slash."""
    status, _ = await call(http, "GET", path)
    assert status == 200


async def test_openapi_lists_field_validation(http: aiohttp.ClientSession) -> None:
    """Kubectl looks for that parameter on the kind's patch before it applies."""
    _, body = await call(http, "GET", "/openapi/v3/apis/ray.io/v1")
    patches = [item["patch"] for item in body["paths"].values()]
    found = next(item for item in patches if item["x-kubernetes-group-version-kind"]["kind"] == "RayService")
    assert "fieldValidation" in [parameter["name"] for parameter in found["parameters"]]


async def test_refusals_are_worded_as_the_real_ones(http: aiohttp.ClientSession) -> None:
    """404, 409 and 422 with reason, message and details."""
    assert await call(http, "GET", f"{RAY}/no") == (
        404,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": 'rayservices.ray.io "no" not found',
            "reason": "NotFound",
            "details": {"name": "no", "group": "ray.io", "kind": "rayservices"},
            "code": 404,
        },
    )
    _, created = await call(http, "POST", f"{CORE}/configmaps", json=config_map())
    status, body = await call(http, "POST", f"{CORE}/configmaps", json=config_map())
    assert (status, body["reason"], body["message"]) == (409, "AlreadyExists", 'configmaps "a" already exists')
    await call(http, "PATCH", f"{CORE}/configmaps/a", json={"data": {"k": "w"}}, headers=MERGE)
    status, body = await call(http, "PUT", f"{CORE}/configmaps/a", json=created)
    assert (status, body["reason"]) == (409, "Conflict")
    assert "the object has been modified; please apply your changes" in body["message"]
    status, body = await call(http, "POST", RAY, json=ray_service("x" * 254))
    assert (status, body["reason"], body["details"]["causes"][0]["field"]) == (422, "Invalid", "metadata.name")
    status, body = await call(
        http, "POST", f"{CORE}/configmaps", data=b"protobuf", headers={"Content-Type": "text/x-protobuf"}
    )
    assert (status, body["reason"]) == (415, "UnsupportedMediaType")


async def test_create_generates_names_and_drops_status(http: aiohttp.ClientSession) -> None:
    """`generateName` gets five letters; a client's status on create is not stored."""
    item = ray_service() | {"metadata": {"generateName": "llm-"}, "status": {"serviceStatus": "Running"}}
    status, body = await call(http, "POST", RAY, json=item)
    assert status == 201
    assert len(body["metadata"]["name"]) == len("llm-") + 5
    assert "status" not in body


async def test_dry_run_stores_nothing(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """Create, apply and delete with dryRun=All answer and leave the store as it was."""
    status, _ = await call(http, "POST", f"{CORE}/configmaps?dryRun=All", json=config_map())
    assert status == 201
    path = f"{CORE}/configmaps/a?dryRun=All&fieldManager=me"
    assert (await call(http, "PATCH", path, data=json.dumps(config_map()), headers=APPLY))[0] == 201
    assert kube_server.store.list("configmaps") == []
    await call(http, "POST", f"{CORE}/configmaps", json=config_map())
    assert (await call(http, "DELETE", f"{CORE}/configmaps/a?dryRun=All"))[0] == 200
    assert len(kube_server.store.list("configmaps")) == 1


async def test_status_and_spec_are_written_apart(http: aiohttp.ClientSession) -> None:
    """A plain patch leaves the status, a patch of /status leaves the spec and the generation."""
    await call(http, "POST", RAY, json=ray_service())
    both = {"spec": {"serveConfigV2": "x"}, "status": {"serviceStatus": "Running"}}
    _, body = await call(http, "PATCH", f"{RAY}/llm/status", json=both, headers=MERGE)
    assert body["status"] == {"serviceStatus": "Running"}
    assert "serveConfigV2" not in body["spec"]
    assert body["metadata"]["generation"] == 1
    _, body = await call(http, "PATCH", f"{RAY}/llm", json=both | {"status": None}, headers=MERGE)
    assert body["status"] == {"serviceStatus": "Running"}
    assert body["spec"]["serveConfigV2"] == "x"
    assert body["metadata"]["generation"] == 2


async def test_a_condition_must_be_complete(http: aiohttp.ClientSession) -> None:
    """A condition without message, reason and lastTransitionTime is refused, as by KubeRay's CRD."""
    await call(http, "POST", RAY, json=ray_service())
    patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    status, body = await call(http, "PATCH", f"{RAY}/llm/status", json=patch, headers=MERGE)
    assert status == 422
    fields = [cause["field"] for cause in body["details"]["causes"]]
    absent = [f"status.conditions[0].{name}" for name in ("lastTransitionTime", "message", "reason")]
    assert fields == [*absent, "<nil>"]


async def test_server_side_apply_creates_updates_and_conflicts(http: aiohttp.ClientSession) -> None:
    """201, 200, 409 for another manager's field, 200 with force; 422 without a field manager."""
    path = f"{CORE}/configmaps/a"
    body = json.dumps(config_map())
    other = json.dumps(config_map() | {"data": {"k": "w"}})
    codes = [
        (await call(http, "PATCH", f"{path}?{query}", data=data, headers=APPLY))[0]
        for query, data in (
            ("fieldManager=me", body),
            ("fieldManager=me", body),
            ("fieldManager=you", other),
            ("fieldManager=you&force=true", other),
            ("", body),
        )
    ]
    assert codes == [201, 200, 409, 200, 422]


async def test_lists_have_kinds_and_select(http: aiohttp.ClientSession) -> None:
    """Lists name their kind; items of built-in kinds carry none, custom ones do; selectors choose."""
    await call(http, "POST", f"{CORE}/configmaps", json=config_map("a", labels={"x": "1"}))
    await call(http, "POST", f"{CORE}/configmaps", json=config_map("b"))
    await call(http, "POST", RAY, json=ray_service())
    _, body = await call(http, "GET", "/api/v1/configmaps?labelSelector=x%3D1&limit=500")
    assert (body["kind"], body["apiVersion"]) == ("ConfigMapList", "v1")
    assert [(item["metadata"]["name"], "kind" in item) for item in body["items"]] == [("a", False)]
    assert int(body["metadata"]["resourceVersion"]) > 0
    _, body = await call(http, "GET", "/apis/ray.io/v1/rayservices")
    assert body["items"][0]["kind"] == "RayService"


async def test_deletes_answer_as_the_real_server(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """Gone at once: a Status with the uid. Kept by a finalizer: the object. A wrong precondition: 409."""
    _, created = await call(http, "POST", f"{CORE}/configmaps", json=config_map())
    wrong = {"preconditions": {"uid": "other"}}
    assert (await call(http, "DELETE", f"{CORE}/configmaps/a", json=wrong))[0] == 409
    _, body = await call(http, "DELETE", f"{CORE}/configmaps/a")
    assert (body["kind"], body["status"], body["details"]["uid"]) == ("Status", "Success", created["metadata"]["uid"])
    await call(http, "POST", RAY, json=ray_service() | {"metadata": {"name": "llm", "finalizers": ["ray.io/x"]}})
    _, body = await call(http, "DELETE", f"{RAY}/llm?propagationPolicy=Foreground")
    assert body["kind"] == "RayService"
    assert "deletionTimestamp" in body["metadata"]
    for name in ("a", "b"):
        await call(http, "POST", f"{CORE}/configmaps", json=config_map(name, labels={"x": name}))
    await call(http, "DELETE", f"{CORE}/configmaps?labelSelector=x%3Da")
    assert [item["metadata"]["name"] for item in kube_server.store.list("configmaps")] == ["b"]


async def test_who_may_do_what(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """The `forbidden` fault answers 403 in RBAC's words, and access reviews tell it beforehand."""
    kube_server.faults.switch("forbidden", ["nodes", "create:rayservices"])
    review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "nodes"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    status, body = await call(http, "POST", path, json=review)
    assert (status, body["status"]["allowed"]) == (201, False)
    status, body = await call(http, "GET", "/api/v1/nodes")
    assert status == 403
    assert body["message"] == (
        'nodes is forbidden: User "simulated-user" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert (await call(http, "POST", RAY, json=ray_service()))[0] == 403
    assert (await call(http, "GET", RAY))[0] == 200


async def test_faults_are_switched_over_http(http: aiohttp.ClientSession) -> None:
    """429 with Retry-After and 500 count down; an unknown fault and a wrong value are refused with the reason."""
    switch = "/_simulator/faults"
    await call(http, "POST", switch, json={"name": "too_many_requests_429", "value": 1})
    async with http.get("/api/v1/nodes") as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
    await call(http, "POST", switch, json={"name": "server_error_500", "value": 1})
    codes = [(await call(http, "GET", "/api/v1/nodes"))[0] for _ in range(2)]
    assert codes == [500, 200]
    assert (await call(http, "POST", switch, json={"name": "no_such", "value": 1}))[0] == 404
    assert (await call(http, "POST", switch, json={"name": "gone_410", "value": "x"}))[0] == 400


async def test_a_lost_reply_comes_after_the_create(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """The object exists, the client sees a broken connection, and only the counted times."""
    kube_server.faults.switch("lost_reply", {"rayservices": 1})
    with pytest.raises(aiohttp.ClientError):
        await call(http, "POST", RAY, json=ray_service())
    assert [item["metadata"]["name"] for item in kube_server.store.list("rayservices")] == ["llm"]
    assert (await call(http, "POST", RAY, json=ray_service("second")))[0] == 201


async def test_a_held_reply_never_comes_though_the_create_was_carried_out(
    http: aiohttp.ClientSession, kube_server: KubeServer
) -> None:
    """The object exists while the client still waits; others are answered, and so is the next request."""
    kube_server.faults.switch("held_reply", {"create:rayservices": 1})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await call(http, "POST", RAY, json=ray_service())
    assert [item["metadata"]["name"] for item in kube_server.store.list("rayservices")] == ["llm"]
    assert (await call(http, "POST", RAY, json=ray_service("second")))[0] == 201
