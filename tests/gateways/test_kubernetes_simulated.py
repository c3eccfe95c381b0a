"""The cluster gateway and the simulator's API server: the same claims, with an independent implementation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from ray_services import a_ray_service

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.exceptions import (
    ClusterError,
    ClusterUnreachableError,
    ConflictError,
    ForbiddenError,
    LockHeldError,
)
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.errors import ExpiredError
from airflow_llm_provisioning.gateways.kubernetes.follow import follow
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.server import KubeServer
from llm_provisioning_simulator.kube.store import ObjectStore


@pytest.fixture
async def server() -> AsyncIterator[KubeServer]:
    clock = SimClock.start(20.0)
    server = KubeServer(ObjectStore(clock, without_groups={"karpenter.sh"}, seed=1), name="sim", clock=clock)
    await server.start()
    yield server
    await server.stop()


def reach(server: KubeServer) -> Cluster:
    return Cluster.from_access(lambda: ClusterAccess(server.url or ""), name="sim")


@pytest.fixture
async def cluster(server: KubeServer) -> AsyncIterator[Cluster]:
    async with reach(server) as opened:
        yield opened


def rayservice(name: str = "llm", **labels: str) -> dict[str, Any]:
    return a_ray_service(name=name, image="acme/llm:1", pip=PHI3_2025.runtime_pip, labels=labels)


async def test_a_rayservice_is_created_changed_and_deleted(cluster: Cluster) -> None:
    """Create, read, list by label, change, and delete exactly that one."""
    made = await cluster.create(rayservice(trial="t1"))
    uid = made["metadata"]["uid"]
    items, version = await cluster.list("rayservices", "default", labels="trial=t1")
    assert [item["metadata"]["uid"] for item in items] == [uid]
    assert items[0]["kind"] == "RayService"
    assert version is not None
    assert (await cluster.list("rayservices", "default", labels="trial=t2"))[0] == []
    await cluster.patch_merge("rayservices", "llm", {"metadata": {"annotations": {"a": "b"}}}, "default")
    found = await cluster.get("rayservices", "llm", "default")
    assert found is not None
    assert found["metadata"]["annotations"] == {"a": "b"}
    with pytest.raises(ConflictError):
        await cluster.delete("rayservices", "llm", "default", uid="00000000-0000-0000-0000-000000000000")
    assert await cluster.delete("rayservices", "llm", "default", uid=uid)
    assert await cluster.wait_gone("rayservices", "llm", "default", uid=uid, timeout_s=10)
    assert await cluster.delete("rayservices", "llm", "default", uid=uid) is False


async def test_server_side_apply_repeats_and_conflicts(cluster: Cluster) -> None:
    """Applied twice it is one object; a field of another manager conflicts unless forced."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
    first = await cluster.apply({**manifest, "data": {"k": "1"}}, field_manager="one")
    again = await cluster.apply({**manifest, "data": {"k": "1"}}, field_manager="one")
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    with pytest.raises(ConflictError, match="patch configmaps default/c"):
        await cluster.apply({**manifest, "data": {"k": "2"}}, field_manager="two")
    forced = await cluster.apply({**manifest, "data": {"k": "2"}}, field_manager="two", force=True)
    assert forced["data"] == {"k": "2"}


async def test_a_second_create_conflicts(cluster: Cluster) -> None:
    """AlreadyExists is a conflict with the object's name."""
    await cluster.create(rayservice())
    with pytest.raises(ConflictError, match="create rayservices default/llm"):
        await cluster.create(rayservice())


async def test_a_refusal_by_admission_is_reported(cluster: Cluster) -> None:
    """The refusal of an invalid manifest contains the API server's message."""
    with pytest.raises(ClusterError, match="create rayservices default/Not_A_Name"):
        await cluster.create({**rayservice(), "metadata": {"name": "Not_A_Name", "namespace": "default"}})


async def test_a_lost_reply_leaves_one_object_that_its_label_identifies(server: KubeServer, cluster: Cluster) -> None:
    """The create reached the server, its reply was lost: the object exists once and is identified by its label."""
    server.faults.switch("lost_reply", {"rayservices": 1})
    with pytest.raises(ClusterUnreachableError):
        await cluster.create(rayservice(trial="t1"))
    items, _ = await cluster.list("rayservices", "default", labels="trial=t1")
    assert len(items) == 1


async def test_transient_faults_are_retried(server: KubeServer, cluster: Cluster) -> None:
    """429 and 500 delay a read and a delete."""
    await cluster.create(rayservice())
    server.faults.switch("too_many_requests_429", 1)
    server.faults.switch("server_error_500", 2)
    assert await cluster.get("rayservices", "llm", "default") is not None
    server.faults.switch("server_error_500", 1)
    assert await cluster.delete("rayservices", "llm", "default")


async def test_forbidden_names_its_verb(server: KubeServer, cluster: Cluster) -> None:
    """A refusal by RBAC names the permission; can_i reports it beforehand."""
    server.faults.switch("forbidden", ["list:nodes"])
    assert await cluster.can_i("list", "nodes") is False
    assert await cluster.can_i("get", "nodes") is True
    with pytest.raises(ForbiddenError, match="may not list nodes"):
        await cluster.list("nodes")


async def test_karpenters_absence_is_no_error(cluster: Cluster) -> None:
    """A cluster without Karpenter has no nodeclaims to list and none to follow."""
    assert await cluster.list("nodeclaims") == ([], None)
    assert [seen async for seen in follow(cluster, "nodeclaims")] == []


async def test_time_and_origin_are_the_simulators(server: KubeServer, cluster: Cluster) -> None:
    """The clock is the simulator's to a fraction of a second, and the cluster's origin is simulated."""
    assert cluster.origin() == "simulated"
    before = server.store.clock.now()
    read = cluster.clock()
    # A step of the loop has one instant in the simulator: let the next reading be a fresh one.
    await asyncio.sleep(0)
    slack = timedelta(seconds=2)
    assert before - slack <= read <= server.store.clock.now() + slack
    assert cluster.real_seconds(20) == 1.0


async def test_of_many_contenders_exactly_one_wins(server: KubeServer) -> None:
    """Of eight trials one gets the lock, and one again after it has expired."""
    async with AsyncExitStack() as stack:
        clusters = [await stack.enter_async_context(reach(server)) for _ in range(8)]
        for _ in range(2):
            outcomes = await asyncio.gather(
                *(c.acquire_lock(f"t{n}", namespace="default", duration_s=1e6) for n, c in enumerate(clusters)),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, LockHeldError) for outcome in outcomes) == 7
            holder = next(n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException))
            lease = server.store.peek("leases", "llm-provisioning-trial", "default")
            assert lease is not None
            renewed_at = lease["spec"]["renewTime"]
            # It expires by being old: how long eight requests take does not matter.
            _renew_lease(server, "2020-01-01T00:00:00.000000Z")
        _renew_lease(server, renewed_at)
        assert await clusters[holder].release_lock(f"t{holder}", namespace="default")
        assert await clusters[0].get("leases", "llm-provisioning-trial", "default") is None


def _renew_lease(server: KubeServer, at: str) -> None:
    """Write when the lock was last renewed."""

    def change(lease: dict[str, Any]) -> None:
        lease["spec"]["renewTime"] = at

    server.store.mutate("leases", "llm-provisioning-trial", "default", change, manager="test")


async def test_a_watch_continues_after_interruptions_and_410(server: KubeServer, cluster: Cluster) -> None:
    """However its watches are interrupted, a follower yields each object's creation once."""
    names: list[str] = []
    more = asyncio.Event()

    async def collect() -> None:
        async for seen in follow(cluster, "configmaps", "default"):
            names.append(seen.object["metadata"]["name"])
            more.set()

    task = asyncio.create_task(collect())
    for number in range(9):
        if number == 3:
            server.faults.switch("watch_dropped", 2)
        if number == 6:
            server.faults.switch("gone_410", 1)
            server.faults.switch("watch_dropped", 1)
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}", "namespace": "default"}}
        await cluster.create(manifest)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(60):
        while len(names) < 9:
            more.clear()
            await more.wait()
    await asyncio.sleep(0.3)
    task.cancel()
    assert sorted(names) == [f"c{number}" for number in range(9)]


async def test_an_old_version_is_expired(server: KubeServer, cluster: Cluster) -> None:
    """410 from the server, at the start of a watch, is ExpiredError."""
    _, version = await cluster.list("pods", "default")
    assert version is not None
    server.faults.switch("gone_410", 1)
    with pytest.raises(ExpiredError):
        await anext(aiter(cluster.watch("pods", "default", resource_version=version)))


async def test_a_service_without_pods_answers_503_through_the_proxy(cluster: Cluster) -> None:
    """Status and body of the API server's proxy reach the caller."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}}
    await cluster.create({**service, "spec": {"ports": [{"name": "serve", "port": 8000}], "selector": {"a": "b"}}})
    status, _, body = await cluster.proxy("s", 8000, "/", namespace="default")
    assert status == 503
    assert b"no endpoints available" in body
