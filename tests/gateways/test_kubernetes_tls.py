"""A cluster with TLS: its own certificate authority is trusted, another is not."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from proof.self_signed import self_signed

from airflow_llm_provisioning.exceptions import ClusterUnreachableError
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.credentials import from_access


def written(folder: Path, name: str) -> Path:
    """Write key and certificate of a server on 127.0.0.1 into one file."""
    file = folder / f"{name}.pem"
    file.write_bytes(self_signed(name))
    return file


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """Serve /version over TLS."""
    file = written(tmp_path, "api")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"gitVersion": "v1.34.0"})

    app = web.Application()
    app.router.add_get("/version", version)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}", file
    await runner.cleanup()


async def test_the_clusters_own_authority_is_trusted(server: tuple[str, Path]) -> None:
    """A certificate given as text verifies the server."""
    url, file = server
    async with Cluster.from_access(lambda: ClusterAccess(url, ca_pem=file.read_text())) as cluster:
        assert cluster.version() == {"gitVersion": "v1.34.0"}


async def test_another_authority_is_not(server: tuple[str, Path], tmp_path: Path) -> None:
    """A server with a certificate of another authority gets no token: the connection fails, in one sentence."""
    url, _ = server
    other = written(tmp_path, "other").read_text()
    connect = from_access(lambda: ClusterAccess(url, ca_pem=other, token="secret"))
    with pytest.raises(ClusterUnreachableError, match="certificate verify failed"):
        async with Cluster(connect, retry_s=0.1):
            pass
