"""Simulated clusters for the tests of nodes, scheduling and kubelets."""

from collections.abc import AsyncIterator

import pytest
from infra_builders import Build, SmallCluster, a_world

from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import World


@pytest.fixture
async def small_cluster() -> AsyncIterator[Build]:
    """Return what builds and starts a SmallCluster; all of them are stopped afterwards."""
    built: list[SmallCluster] = []

    async def build(
        cloud: str = "eks",
        autoscaler: str = "luna",
        *,
        speed: float = 400.0,
        world: World | None = None,
        **numbers: float,
    ) -> SmallCluster:
        profile = load_profile(cloud, autoscaler).with_values(run_to_run_noise=0.0, **numbers)
        cluster = SmallCluster(cloud, autoscaler, speed=speed, profile=profile, world=world or a_world(cloud))
        built.append(cluster)
        await cluster.start()
        return cluster

    yield build
    for cluster in built:
        await cluster.stop()
