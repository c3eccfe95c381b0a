"""One query to a registry, over HTTP: yes, no, or an error with the reason."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.exceptions import ProvisioningError
from airflow_llm_provisioning.gateways.registry import image_exists

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
async def registry() -> AsyncIterator[dict[str, Any]]:
    """Serve the distribution protocol's manifests: `open/*` without a token, `token/*` with a token, else 401."""
    seen: dict[str, Any] = {"asked": [], "scheme": "Bearer"}

    async def manifest(request: web.Request) -> web.Response:
        name, reference = request.match_info["name"], request.match_info["reference"]
        seen["asked"].append((request.method, name, reference, request.headers.get("Accept", "")))
        if name.startswith("token/") and request.headers.get("Authorization") != "Bearer minted":
            challenge = (
                f'{seen["scheme"]} realm="{seen["url"]}/token",service="reg",scope="repository:{name}:pull,push"'
            )
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        if name.startswith("busy/"):
            return web.Response(status=429)
        return web.Response(status=200 if reference in ("1", DIGEST) else 404)

    async def token(request: web.Request) -> web.Response:
        seen["query"] = dict(request.query)
        return web.json_response({"token": seen.get("token", "minted")})

    app = web.Application()
    app.router.add_route("HEAD", "/v2/{name:.+}/manifests/{reference}", manifest)
    app.router.add_get("/token", token)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    seen["url"], seen["host"] = f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"
    yield seen
    await runner.cleanup()


@pytest.mark.parametrize(
    ("name", "there"), [("open/a/b:1", True), ("open/a/b:2", False), ("open/a", False), (f"open/a:2@{DIGEST}", True)]
)
async def test_an_open_registry_answers_yes_or_no(registry: dict[str, Any], name: str, there: bool) -> None:
    """Queries by tag, by the default tag and by digest work; nothing is downloaded, and image indexes are accepted."""
    assert await image_exists(f"{registry['host']}/{name}") is there
    method, _, _, accept = registry["asked"][-1]
    assert method == "HEAD"
    assert "application/vnd.oci.image.index.v1+json" in accept


async def test_a_challenge_is_answered_with_the_token_it_asks_for(registry: dict[str, Any]) -> None:
    """An anonymous token is requested for exactly the scope of the challenge, including its commas."""
    assert await image_exists(f"{registry['host']}/token/a:1")
    assert registry["query"] == {"service": "reg", "scope": "repository:token/a:pull,push"}
    assert not await image_exists(f"{registry['host']}/token/a:2")


async def test_what_is_not_known_is_not_no(registry: dict[str, Any]) -> None:
    """A refusal in spite of a token, a password request and an overloaded server give an error with registry and
    answer.
    """
    registry["token"] = "wrong"
    for name in ("token/a:1", "busy/a:1"):
        with pytest.raises(ProvisioningError, match=r"answered (401|429) for .*/a to a question without credentials"):
            await image_exists(f"{registry['host']}/{name}")
    registry["scheme"] = "Basic"
    with pytest.raises(ProvisioningError, match="answered 401"):
        await image_exists(f"{registry['host']}/token/a:1")


async def test_an_unreachable_registry_is_named() -> None:
    """No server listens there."""
    with pytest.raises(ProvisioningError, match=r"Registry 127\.0\.0\.1:9 could not be asked"):
        await image_exists("127.0.0.1:9/a:1")


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("ray", ("registry-1.docker.io", "library/ray", "latest")),
        ("rayproject/ray-ml:2.33", ("registry-1.docker.io", "rayproject/ray-ml", "2.33")),
        ("docker.io/rayproject/ray:1", ("registry-1.docker.io", "rayproject/ray", "1")),
        ("index.docker.io/ray", ("registry-1.docker.io", "library/ray", "latest")),
        ("ghcr.io/a/b/c:1", ("ghcr.io", "a/b/c", "1")),
        ("localhost/a:1", ("localhost", "a", "1")),
        ("localhost:5000/a", ("localhost:5000", "a", "latest")),
        (f"a/b@{DIGEST}", ("registry-1.docker.io", "a/b", DIGEST)),
        (f"reg.io:5000/a/b:1@{DIGEST}", ("reg.io:5000", "a/b", DIGEST)),
    ],
)
def test_references_are_spelled_out(reference: str, parts: tuple[str, str, str]) -> None:
    """As Docker reads them; the digest wins over the tag."""
    assert ImageReference.parse(reference).at_registry() == parts
