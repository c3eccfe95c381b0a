"""A whole simulated trial, recorded over HTTP: nothing is lost without faults, and the result is correct with every
fault.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from ray_services import a_ray_service

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView, decode_line, header_line
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recorder import Outcome, record
from airflow_llm_provisioning.gateways.recording.scope import EVENTS
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.images import seed_public_images
from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import CloudCluster, World

SPEED = 150.0
NODES = NodeProfile("gpu", "eks", "luna", "1.34")
CHAT = {
    "path": "/v1/chat/completions",
    "body": {"model": PHI3_2025.served_name, "messages": [{"role": "user", "content": "Say one word."}]},
    "expect_model": PHI3_2025.served_name,
}


@pytest.fixture
async def simulated() -> AsyncIterator[SimulatedCluster]:
    """Start an EKS cluster with Luna."""
    world = World()
    seed_public_images(world)
    described = CloudCluster("demo", "eks", "us-west-2", "1.34.9", "luna")
    world.clusters["demo"] = described
    clock = SimClock.start(SPEED)
    cluster = SimulatedCluster(described, world, clock, profile=load_profile("eks", "luna"), seed=7)
    await cluster.start()
    yield cluster
    await cluster.stop()


async def deploy(cluster: Cluster) -> dict[str, str]:
    """Set up the nodes, create a RayService like the origin's and return {namespace, name, uid}."""
    luna = AUTOSCALERS["luna"]
    for manifest in luna.setup(NODES).manifests:
        await cluster.apply(manifest, force=True)
    manifest = a_ray_service(
        pip=PHI3_2025.runtime_pip, head=luna.placement(NODES, "head"), workers=luna.placement(NODES, "worker")
    )
    made = await cluster.create(manifest)
    return {"namespace": "default", "name": "llm-model-serve", "uid": made["metadata"]["uid"]}


async def recorded(cluster: Cluster, subject: dict[str, str], lines: list[Any]) -> Outcome:
    async def sink(chunk: Sequence[bytes]) -> None:
        lines.extend(map(decode_line, chunk))

    return await record(
        cluster,
        subject,
        sink=sink,
        deadline_at=cluster.clock() + timedelta(hours=2),
        completion=CHAT,
        header=header_line(cluster.clock(), origin=cluster.origin(), **subject),
    )


def versions(lines: list[Any], *resources: str) -> list[tuple[str, str, str]]:
    """Return the versions of resources in a trace. An event that came by the newer API first is one of `events`: both
    show the same stored object, and the trace holds each version once.
    """
    lines = [{**one, "resource": "events"} if one["resource"] in EVENTS else one for one in lines]
    return [
        (one["resource"], one["object"]["metadata"]["name"], one["object"]["metadata"]["resourceVersion"])
        for one in lines
        if one["resource"] in resources
    ]


def expected_of(written: list[tuple[str, str, str]], kept: list[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Return what a recorder must have received: each object's versions from its first list on."""
    first: dict[tuple[str, str], int] = {}
    for resource, name, version in kept:
        first[resource, name] = min(int(version), first.get((resource, name), int(version)))
    return {one for one in written if int(one[2]) >= first.get(one[:2], 0)}


async def test_nothing_of_a_trial_is_lost(simulated: SimulatedCluster) -> None:
    """Every version of every object and every event of them is in the trace once, and the view is complete."""
    written: list[tuple[str, str, str]] = []

    async def listen() -> None:
        async for _, resource, item in simulated.store.subscribe("pods", "rayclusters", "rayservices", "events"):
            if item.get("involvedObject", item["metadata"]).get("name", "").startswith("llm-model-serve"):
                written.append((resource, item["metadata"]["name"], item["metadata"]["resourceVersion"]))

    listening = asyncio.create_task(listen())
    lines: list[Any] = []
    async with Cluster.from_access(lambda: ClusterAccess(simulated.server.url or "")) as cluster:
        await asyncio.sleep(0)
        outcome = await recorded(cluster, await deploy(cluster), lines)
    listening.cancel()
    assert outcome.outcome == "ready"
    assert outcome.first_completion_at is not None
    kept = versions(lines, "pods", "rayclusters", "rayservices", "events")
    assert len(kept) == len(set(kept))
    ready_version = max(int(version) for _, _, version in versions(lines, "endpointslices"))
    assert {one for one in expected_of(written, kept) if int(one[2]) <= ready_version} - set(kept) == set()
    view = TraceView(lines)
    assert view.origin == "simulated"
    assert view.head is not None
    assert view.worker is not None
    assert view.end["outcome"] == "ready"
    assert [log.filename for log in view.logs if "replica" in log.filename]


async def test_every_fault_at_once_delays_and_breaks_nothing(simulated: SimulatedCluster) -> None:
    """With interrupted watches, 410, 429 and 500 during a trial, it ends ready and answered, and each version is stored
    once.
    """
    lines: list[Any] = []

    async def trouble() -> None:
        for round_ in range(100):
            await asyncio.sleep(0.6)
            simulated.faults.switch("watch_dropped", 2)
            simulated.faults.switch("too_many_requests_429" if round_ % 2 else "server_error_500", 1)
            simulated.faults.switch("gone_410", 1 if round_ % 4 == 0 else 0)

    async with Cluster.from_access(lambda: ClusterAccess(simulated.server.url or "")) as cluster:
        subject = await deploy(cluster)
        troubling = asyncio.create_task(trouble())
        outcome = await recorded(cluster, subject, lines)
        troubling.cancel()
    assert outcome.outcome == "ready"
    assert outcome.first_completion_at is not None
    kept = versions(lines, "pods", "rayclusters", "rayservices", "events", "events.events.k8s.io", "endpointslices")
    assert len(kept) == len(set(kept))
    marks = [one["object"]["mark"] for one in lines if one["resource"] == "trace" and one["type"] == "MARK"]
    assert "watch_interrupted" in marks
