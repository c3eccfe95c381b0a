"""What a cluster's client takes from the machine's environment: proxies, and no credentials."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, fake_api

from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes import Cluster


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def test_a_netrc_changes_nothing(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry for the API server's host is ignored: the connection's token is sent, and no request is refused."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login jane password hers\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with Cluster.from_access(api.access(token="ours")) as cluster:
        await cluster.list("pods", "default")
    assert set(api.tokens) == {"Bearer ours"}


async def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is used for the API server, and not used for excluded hosts."""
    asked: list[str] = []

    async def forward(request: web.Request) -> web.Response:
        asked.append(str(request.url))
        return web.json_response({"gitVersion": "v1.34.0"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{runner.addresses[0][1]}")
        async with Cluster.from_access(lambda: ClusterAccess("http://api.example.invalid")) as cluster:
            assert cluster.version()["gitVersion"] == "v1.34.0"
        assert asked == ["http://api.example.invalid/version"]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with fake_api() as direct, Cluster.from_access(direct.access()):
            assert direct.requests == ["GET /version"]
        assert len(asked) == 1
    finally:
        await runner.cleanup()
