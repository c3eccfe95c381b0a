"""A client session of a simulated API server."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from llm_provisioning_simulator.kube.server import KubeServer


@pytest.fixture
async def http(kube_server: KubeServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=kube_server.url) as session:
        yield session
