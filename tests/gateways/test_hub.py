"""Resolving a model at the hub, over HTTP with the simulated hub."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_llm_provisioning.core.builtin_profiles import PHI3 as PINNED
from airflow_llm_provisioning.exceptions import HubError
from airflow_llm_provisioning.gateways.hub import resolve_model
from llm_provisioning_simulator.hub import PHI3, HubModel, HubServer


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HubServer]:
    """Serve the simulated hub and point HF_ENDPOINT to it."""
    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", await server.start())
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    await server.stop()


async def resolve(*arguments: Any) -> Any:
    return await asyncio.to_thread(resolve_model, *arguments)


async def test_the_default_branch_becomes_a_commit_with_its_weights(hub: HubServer) -> None:
    """The hub's data of Phi-3 equal the profile's pinned values, and their source is the hub."""
    assert await resolve(PINNED.model_id) == replace(PINNED, source="hub")


async def test_only_one_copy_of_the_weights_counts(hub: HubServer) -> None:
    """A second format, a consolidated copy and files in folders are not downloaded by the engine."""
    files = {
        "a-1.safetensors": 10,
        "a-2.safetensors": 30,
        "consolidated.safetensors": 40,
        "pytorch.bin": 40,
        "x/y.safetensors": 9,
    }
    hub.models["acme/m"] = HubModel("acme/m", "c0ffee", files)
    model = await resolve("acme/m")
    assert (model.weight_bytes, model.largest_file_bytes) == (40, 30)


@pytest.mark.parametrize(
    ("model_id", "revision", "words"),
    [
        ("nobody/nothing", None, "does not show nobody/nothing"),
        (PHI3.model_id, "no-such-branch", "no such revision"),
        ("not a name!", None, "not a model name"),
        ("acme/notes", None, "no weight files"),
    ],
)
async def test_what_the_hub_does_not_know_is_one_sentence(
    hub: HubServer, model_id: str, revision: str | None, words: str
) -> None:
    """The message names model, revision and hub, and what to do."""
    hub.models["acme/notes"] = HubModel("acme/notes", "c0ffee", {"README.md": 3})
    with pytest.raises(HubError, match=words):
        await resolve(model_id, revision)


async def test_an_unreachable_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    """No server listens: the message names the endpoint, so that a caller can use pinned values."""
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(HubError, match=rf"127.0.0.1:{unused_tcp_port} could not be queried"):
        await resolve(PINNED.model_id)
