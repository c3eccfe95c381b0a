"""Fixtures for the stand-ins: a simulated cluster's API over HTTP, ended with the test."""

from collections.abc import AsyncIterator

import pytest

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.server import KubeServer
from llm_provisioning_simulator.kube.store import ObjectStore


@pytest.fixture
async def kube_server() -> AsyncIterator[KubeServer]:
    """Yield a started server (`.url`, `.store`, `.faults`) of an empty cluster in real time; its pods are idle."""
    clock = SimClock.start(1.0)
    server = KubeServer(ObjectStore(clock, seed=1), name="test", clock=clock)
    await server.start()
    yield server
    await server.stop()
