"""The cluster gateway against a real HTTP server: objects, faults, credentials, proxy, clock."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, Fault, fake_api

from airflow_llm_provisioning.exceptions import (
    ClusterError,
    ClusterUnreachableError,
    ConflictError,
    ForbiddenError,
    ManifestError,
)
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes import Cluster, session
from airflow_llm_provisioning.gateways.kubernetes.errors import ExpiredError


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        yield server


@pytest.fixture
async def cluster(api: FakeApi) -> AsyncIterator[Cluster]:
    async with Cluster.from_access(api.access(), name="test") as opened:
        yield opened


def config_map(name: str = "settings", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


async def test_create_then_get_then_delete_round_trips(cluster: Cluster) -> None:
    """A created object can be read, and is gone after its deletion."""
    created = await cluster.create(config_map(a="1"))
    found = await cluster.get("configmaps", "settings", "default")
    assert found is not None
    assert found["metadata"]["uid"] == created["metadata"]["uid"]
    assert found["data"] == {"a": "1"}
    assert await cluster.delete("configmaps", "settings", "default", uid=created["metadata"]["uid"])
    assert await cluster.get("configmaps", "settings", "default") is None


async def test_deleting_what_is_gone_succeeds(cluster: Cluster) -> None:
    """A 404 on delete is a success; False distinguishes it."""
    assert await cluster.delete("configmaps", "never", "default") is False


async def test_delete_with_another_uid_is_refused(cluster: Cluster) -> None:
    """A uid precondition protects another object of the same name."""
    await cluster.create(config_map())
    with pytest.raises(ConflictError, match="default/settings"):
        await cluster.delete("configmaps", "settings", "default", uid="not-this-one")
    assert await cluster.get("configmaps", "settings", "default") is not None


async def test_delete_sends_grace_and_propagation(api: FakeApi, cluster: Cluster) -> None:
    """The options of a delete are sent in DeleteOptions."""
    await cluster.create(config_map())
    await cluster.delete("configmaps", "settings", "default", grace_s=0, propagation="Foreground")
    assert api.bodies[-1] == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
    }


async def test_create_of_an_existing_name_conflicts(cluster: Cluster) -> None:
    """409 AlreadyExists is a ConflictError that names the object and the cluster."""
    await cluster.create(config_map())
    with pytest.raises(ConflictError, match=r"create configmaps default/settings on cluster test.*already exists"):
        await cluster.create(config_map())


async def test_apply_is_server_side(api: FakeApi, cluster: Cluster) -> None:
    """Apply is one PATCH of the apply type with field manager and force."""
    await cluster.apply(config_map(a="2"), field_manager="tests", force=True)
    assert api.requests[-1].startswith("PATCH /api/v1/namespaces/default/configmaps/settings?")
    assert "fieldManager=tests" in api.requests[-1]
    assert "force=true" in api.requests[-1]


async def test_list_reads_all_pages_and_names_the_kind(api: FakeApi, cluster: Cluster) -> None:
    """More objects than one page holds are one list, each with its kind."""
    for number in range(1, 504):
        api.objects["pods", "default", f"p{number}"] = {"metadata": {"name": f"p{number}", "uid": str(number)}}
    items, version = await cluster.list("pods", "default")
    assert len(items) == 503
    assert version is not None
    assert {item["kind"] for item in items} == {"Pod"}
    assert sum("/pods" in line for line in api.requests) == 2


async def test_list_starts_over_when_its_snapshot_expires(api: FakeApi, cluster: Cluster) -> None:
    """410 on a continued page lists again, without pages."""
    for number in range(1, 504):
        api.objects["pods", "default", f"p{number}"] = {"metadata": {"name": f"p{number}", "uid": str(number)}}
    api.faults.append(Fault("continue=", status=410))
    items, _ = await cluster.list("pods", "default")
    assert len(items) == 503


async def test_an_optional_resource_may_be_absent(api: FakeApi, cluster: Cluster) -> None:
    """A cluster without Karpenter has no nodeclaims, which is no error; without pods it would be one."""
    api.absent = {"nodeclaims", "rayservices"}
    assert await cluster.list("nodeclaims") == ([], None)
    with pytest.raises(ClusterError, match="rayservices"):
        await cluster.list("rayservices", "default")


async def test_an_unknown_resource_is_named(cluster: Cluster) -> None:
    """The message names the misspelled resource and the known ones."""
    with pytest.raises(ManifestError, match=r"'podz'.*pods"):
        await cluster.get("podz", "x")


async def test_a_kind_outside_the_table_is_found_by_discovery(api: FakeApi, cluster: Cluster) -> None:
    """Unknown kinds are looked up in the cluster, once."""

    async def kinds(_: web.Request) -> web.Response:
        return web.json_response({"resources": [{"name": "widgets", "kind": "Widget", "namespaced": True}]})

    api.handlers["/apis/acme.io/v1/namespaces"] = _created
    api.handlers["/apis/acme.io/v1"] = kinds
    widget = {"apiVersion": "acme.io/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}}
    await cluster.create(widget)
    await cluster.create(widget)
    assert [line.split("?")[0] for line in api.requests[1:]] == [
        "GET /apis/acme.io/v1",
        "POST /apis/acme.io/v1/namespaces/default/widgets",
        "POST /apis/acme.io/v1/namespaces/default/widgets",
    ]
    with pytest.raises(ClusterError, match=r"Gadget of acme\.io/v1"):
        await cluster.create({**widget, "kind": "Gadget"})


async def _created(request: web.Request) -> web.Response:
    return web.json_response(await request.json(), status=201)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_passing_faults_of_a_read_are_waited_out(api: FakeApi, cluster: Cluster, status: int) -> None:
    """429, 500 and 503 on a read are retried until it succeeds."""
    await cluster.create(config_map())
    api.faults.append(Fault("GET /api/v1/namespaces/default/configmaps", status=status, times=2))
    assert await cluster.get("configmaps", "settings", "default") is not None


async def test_retry_after_is_obeyed(api: FakeApi, cluster: Cluster) -> None:
    """A 429 gives the time of the retry, and no earlier request is sent."""
    api.faults.append(Fault("GET /api/v1/nodes", status=429, headers={"Retry-After": "1"}))
    began = asyncio.get_running_loop().time()
    await cluster.list("nodes")
    assert asyncio.get_running_loop().time() - began >= 1.0


async def test_a_reset_connection_is_tried_again_for_a_read(api: FakeApi, cluster: Cluster) -> None:
    """A connection that is reset during a request does not fail a repeatable call."""
    api.faults.append(Fault("GET /api/v1/nodes", cut=True, times=2))
    assert (await cluster.list("nodes"))[0] == []


async def test_a_create_whose_reply_is_lost_is_not_repeated(api: FakeApi, cluster: Cluster) -> None:
    """After a lost reply the object exists once, the error says so, and a get finds the caller's label."""
    api.faults.append(Fault("POST", lost=True))
    with pytest.raises(ClusterUnreachableError, match="create configmaps default/settings"):
        await cluster.create(config_map(mark="mine"))
    assert sum(line.startswith("POST") for line in api.requests) == 1
    found = await cluster.get("configmaps", "settings", "default")
    assert found is not None
    assert found["data"] == {"mark": "mine"}


async def test_a_create_refused_by_429_is_repeated(api: FakeApi, cluster: Cluster) -> None:
    """A 429 was not executed, so even a create may be retried; after a 500 this is unknown, so it may not."""
    api.faults.append(Fault("POST", status=429))
    await cluster.create(config_map())
    api.faults.append(Fault("POST", status=500))
    with pytest.raises(ClusterUnreachableError, match="500"):
        await cluster.create(config_map("other"))


async def test_retries_end(api: FakeApi) -> None:
    """A server that keeps failing is given up after the retry time, with its last message."""
    async with Cluster(Cluster.from_access(api.access())._transport._connect, retry_s=0.5) as cluster:
        api.faults.append(Fault("GET /api/v1/nodes", status=503, message="etcd is on fire", times=100))
        with pytest.raises(ClusterUnreachableError, match="etcd is on fire"):
            await cluster.list("nodes")


async def test_forbidden_names_verb_resource_and_user(api: FakeApi, cluster: Cluster) -> None:
    """RBAC's refusal names the user and the permission, and is not retried."""
    words = 'nodes is forbidden: User "system:serviceaccount:ml:trial" cannot list resource "nodes" in API group ""'
    api.faults.append(Fault("GET /api/v1/nodes", status=403, message=words))
    with pytest.raises(ForbiddenError, match="'system:serviceaccount:ml:trial' may not list nodes"):
        await cluster.list("nodes")
    assert sum("/nodes" in line for line in api.requests) == 1


async def test_an_unreachable_server_is_one_sentence(unused_tcp_port: int) -> None:
    """No server listens: the message says what was attempted and where."""
    access = ClusterAccess(f"http://127.0.0.1:{unused_tcp_port}")
    cluster = Cluster(Cluster.from_access(lambda: access)._transport._connect, name="eks-1", retry_s=0.1)
    with pytest.raises(ClusterUnreachableError, match=r"get /version on cluster eks-1: no answer"):
        async with cluster:
            pass


async def test_a_server_that_is_no_api_server_is_reported(api: FakeApi) -> None:
    """A login page instead of /version is named, not parsed."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>Sign in</html>", content_type="text/html")

    api.handlers["/version"] = page
    with pytest.raises(ClusterError, match=r"not JSON.*Sign in"):
        async with Cluster.from_access(api.access(), name="portal"):
            pass


async def test_a_token_is_renewed_before_it_ends(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a long wait every request carries a valid token. The clock is the test's."""
    minted: list[str] = []
    began = datetime.now(UTC)

    class Clock(datetime):
        at = began

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return cls.at

    def mint() -> ClusterAccess:
        minted.append(f"t{len(minted)}")
        return ClusterAccess(api.url, token=minted[-1], expires_at=Clock.at + timedelta(minutes=15))

    monkeypatch.setattr(session, "datetime", Clock)
    async with Cluster.from_access(mint) as cluster:
        await cluster.list("nodes")
        Clock.at = began + timedelta(minutes=13, seconds=45)
        await cluster.list("nodes")
        await cluster.list("pods", "default")
    assert api.tokens == ["Bearer t0", "Bearer t0", "Bearer t1", "Bearer t1"]


async def test_a_401_renews_the_token_at_once(api: FakeApi) -> None:
    """A token that was revoked early is renewed, and the request succeeds."""
    tokens = iter(["old", "new"])
    async with Cluster.from_access(lambda: ClusterAccess(api.url, token=next(tokens))) as cluster:
        api.accepted_token = "new"
        assert (await cluster.list("nodes"))[0] == []
    assert api.tokens[-2:] == ["Bearer old", "Bearer new"]


async def test_a_401_of_a_proxied_service_mints_no_token(api: FakeApi) -> None:
    """A service that requires its own password does not cause a new token at every poll."""
    minted: list[str] = []

    def mint() -> ClusterAccess:
        minted.append("t")
        return ClusterAccess(api.url, token="t")

    async def service(_: web.Request) -> web.Response:
        return web.Response(status=401, text="Unauthorized: missing authentication token")

    api.handlers["/api/v1/namespaces/ml/services/head:dashboard/proxy"] = service
    async with Cluster.from_access(mint) as cluster:
        assert (await cluster.proxy("head", "dashboard", "/", namespace="ml"))[0] == 401
    assert minted == ["t"]


async def test_permanently_refused_credentials_are_reported(api: FakeApi) -> None:
    """A token that is refused twice ends in a sentence about credentials."""
    api.accepted_token = "another"
    with pytest.raises(ClusterError, match="does not accept the credentials"):
        async with Cluster.from_access(api.access("mine")):
            pass


async def test_watch_yields_changes_and_410(api: FakeApi, cluster: Cluster) -> None:
    """A watch yields the changes after a version; for an expired version it raises ExpiredError."""
    first = await api.put("pods", "a")
    version = first["metadata"]["resourceVersion"]
    await api.put("pods", "a", status={"phase": "Running"})
    await api.remove("pods", "a")
    events = [event async for event in cluster.watch("pods", "default", resource_version=version, timeout_s=1)]
    assert [event.type for event in events] == ["MODIFIED", "DELETED"]
    await api.compact()
    with pytest.raises(ExpiredError):
        await anext(aiter(cluster.watch("pods", "default", resource_version=version)))


async def test_proxy_passes_status_and_body_through(api: FakeApi, cluster: Cluster) -> None:
    """A 503 of the proxy is an answer, not an error; body and query reach the service."""
    seen: list[Any] = []

    async def service(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, await request.json()))
        return web.Response(status=503, body=b"no endpoints")

    api.handlers["/api/v1/namespaces/ml/services/head:dashboard/proxy"] = service
    answer = await cluster.proxy("head", "dashboard", "/api/x?y=1", namespace="ml", method="POST", body={"a": 1})
    assert (answer[0], answer[2]) == (503, b"no endpoints")
    assert seen == [("POST", "/api/v1/namespaces/ml/services/head:dashboard/proxy/api/x?y=1", {"a": 1})]


async def test_a_proxy_call_that_stalls_ends(api: FakeApi, cluster: Cluster) -> None:
    """A service that never answers costs the time limit, not the trial."""

    async def stall(_: web.Request) -> web.Response:
        await asyncio.sleep(2)
        return web.Response()

    api.handlers["/api/v1/namespaces/ml/services/s:8000/proxy"] = stall
    with pytest.raises(ClusterUnreachableError, match="no answer"):
        await cluster.proxy("s", 8000, "/", namespace="ml", timeout_s=0.2)


async def test_what_belongs_to_a_rayservice_is_found_through_its_raycluster(api: FakeApi, cluster: Cluster) -> None:
    """Pods are found by the RayCluster's name, nodes by the pods; a deleted node is omitted."""
    await api.put("rayclusters", "llm-abc12", metadata={"labels": {"ray.io/originated-from-cr-name": "llm"}})
    await api.put("pods", "llm-abc12-head", spec={"nodeName": "n1"})
    await api.put("pods", "llm-abc12-worker", spec={"nodeName": "n2"})
    await api.put("pods", "llm-abc12-pending", spec={})
    await api.put("nodes", "n2", None)
    nodes = await cluster.nodes("llm", "default")
    assert [node["metadata"]["name"] for node in nodes] == ["n2"]
    asked = " ".join(api.requests)
    assert "labelSelector=ray.io/originated-from-cr-name%3Dllm" in asked
    assert "labelSelector=ray.io/cluster+in+(llm-abc12)" in asked


async def test_the_clock_is_the_simulators(api: FakeApi) -> None:
    """Cluster time follows the declared epoch and speed, and the origin is simulated."""
    declared = {"speed": 60.0, "wall_epoch": datetime.now(UTC).timestamp(), "virtual_epoch": "2030-01-01T00:00:00Z"}
    api.version = {"gitVersion": "v1.34.0", "simulated": {"clock": declared}}
    async with Cluster.from_access(api.access()) as cluster:
        assert cluster.origin() == "simulated"
        assert timedelta(0) <= cluster.clock() - datetime(2030, 1, 1, tzinfo=UTC) < timedelta(minutes=10)
        assert cluster.real_seconds(120) == 2.0


async def test_a_real_cluster_has_utc(cluster: Cluster) -> None:
    """Without a declaration cluster time is UTC and the origin is measured."""
    assert cluster.origin() == "measured"
    assert abs(cluster.clock() - datetime.now(UTC)) < timedelta(seconds=5)


async def test_wait_gone_distinguishes_gone_replaced_and_existing(api: FakeApi, cluster: Cluster) -> None:
    """Gone is True, also if another object has the name; still existing after the time limit is False."""
    node = await api.put("nodes", "n1", None)
    uid = node["metadata"]["uid"]
    assert await cluster.wait_gone("nodes", "n1", uid=uid, timeout_s=0.1) is False
    assert await cluster.wait_gone("nodes", "n1", uid="an-older-one", timeout_s=0.1) is True
    await api.remove("nodes", "n1", None)
    assert await cluster.wait_gone("nodes", "n1", uid=uid, timeout_s=5) is True


async def test_can_i_asks_for_verb_resource_and_subresource(api: FakeApi, cluster: Cluster) -> None:
    """The review names group, resource, subresource and namespace, and its answer is returned."""
    seen: list[Any] = []

    async def review(request: web.Request) -> web.Response:
        seen.append((await request.json())["spec"]["resourceAttributes"])
        return web.json_response({"status": {"allowed": seen[-1]["verb"] == "get"}}, status=201)

    api.handlers["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"] = review
    assert await cluster.can_i("get", "services/proxy", "ml") is True
    assert await cluster.can_i("delete", "rayservices", "ml") is False
    assert seen[0] == {"verb": "get", "resource": "services", "subresource": "proxy", "namespace": "ml"}
    assert seen[1] == {"verb": "delete", "group": "ray.io", "resource": "rayservices", "namespace": "ml"}


async def test_restart_changes_the_template_of_a_deployment(api: FakeApi, cluster: Cluster) -> None:
    """A restart is a new annotation in the pod template."""
    await api.put("deployments", "luna-manager", "elotl")
    await cluster.restart_deployment("elotl", "luna-manager")
    stamp = api.bodies[-1]["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]
    assert datetime.fromisoformat(stamp).tzinfo is not None


async def test_logs_of_a_pod_that_is_not_there_are_missing(api: FakeApi, cluster: Cluster) -> None:
    """A missing log is None; a log is text with times."""

    async def log(request: web.Request) -> web.Response:
        assert request.query["timestamps"] == "true"
        return web.Response(text="2026-11-22T07:28:30Z GCS is ready.\n")

    api.handlers["/api/v1/namespaces/ml/pods/head/log"] = log
    assert await cluster.logs("head", "ml", container="wait-gcs-ready") == "2026-11-22T07:28:30Z GCS is ready.\n"
    assert await cluster.logs("other", "ml") is None
