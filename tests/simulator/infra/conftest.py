"""Simulated clusters for the tests of nodes, scheduling and kubelets.

They run in virtual time, so that no load of the machine can delay or reorder anything.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from infra_builders import Build, SmallCluster, a_world

from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.virtual_time import VirtualTimeLoop
from llm_provisioning_simulator.world import World


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give a test with a small cluster, which has no sockets, a loop that never waits."""
    in_virtual_time = "small_cluster" in getattr(item, "fixturenames", ())
    return {"loop": VirtualTimeLoop if in_virtual_time else asyncio.new_event_loop}


@pytest.fixture
async def small_cluster() -> AsyncIterator[Build]:
    """Return what builds and starts a SmallCluster; all of them are stopped afterwards."""
    built: list[SmallCluster] = []

    async def build(
        cloud: str = "eks",
        autoscaler: str = "luna",
        *,
        world: World | None = None,
        **numbers: float,
    ) -> SmallCluster:
        profile = load_profile(cloud, autoscaler).with_values(run_to_run_noise=0.0, **numbers)
        cluster = SmallCluster(cloud, autoscaler, profile=profile, world=world or a_world(cloud))
        built.append(cluster)
        await cluster.start()
        return cluster

    yield build
    for cluster in built:
        await cluster.stop()
