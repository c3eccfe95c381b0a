"""The completion endpoint answers as vLLM's, and the misbehaving servers misbehave."""

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.openai import MISBEHAVIOURS, SOME_REPLICAS, WELL_BEHAVED, OpenAiServer
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.profiles import load_profile

MODEL = "microsoft/Phi-3-mini-4k-instruct"


def a_server() -> OpenAiServer:
    return OpenAiServer(MODEL, SimClock.start(1000.0), Costs(load_profile("eks", "luna"), random.Random(1)))


def asked(**changes: Any) -> bytes:
    document = {"model": MODEL, "messages": [{"role": "user", "content": "The capital of France?"}], **changes}
    return json.dumps(document).encode()


async def whole(body: bytes | AsyncIterator[bytes]) -> bytes:
    return body if isinstance(body, bytes) else b"".join([part async for part in body])


async def test_a_completion_names_the_model_and_says_something() -> None:
    """The claim a waiting client may trust."""
    status, _, body = await a_server().request("POST", "/v1/chat/completions", asked())
    document = json.loads(await whole(body))
    assert (status, document["model"]) == (200, MODEL)
    assert "Paris" in document["choices"][0]["message"]["content"]


async def test_a_stream_ends_with_done() -> None:
    """Server-sent events, one a token, closed as OpenAI's are."""
    status, headers, body = await a_server().request("POST", "/v1/chat/completions", asked(stream=True, max_tokens=3))
    events = (await whole(body)).decode().strip().split("\n\n")
    assert status == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    assert len(events) == 4
    assert events[-1] == "data: [DONE]"


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/v1/chat/completions", asked(model="other"), 404),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/completions", asked(), 400),
        ("GET", "/v1/completions", b"", 405),
        ("GET", "/v1/models", b"", 200),
        ("GET", "/nowhere", b"", 404),
    ],
)
async def test_other_requests_are_refused_as_vllm_refuses(method: str, path: str, body: bytes, expected: int) -> None:
    """Wrong model, broken body, missing prompt, wrong method, unknown path."""
    status, _, _ = await a_server().request(method, path, body)
    assert status == expected


@pytest.mark.parametrize("name", sorted(MISBEHAVIOURS))
async def test_a_misbehaving_server_never_gives_a_whole_answer(name: str) -> None:
    """Each is wrong in at least one way that a strict client can see: status, time, JSON, model, text or its end."""
    good = False
    try:
        async with asyncio.timeout(0.3):
            status, headers, body = await a_server().request("POST", "/v1/chat/completions", asked(), name)
            content = await whole(body)
            good = status == 200 and _is_told_rightly(headers) and _is_whole(content)
    except (TimeoutError, ConnectionResetError):
        pass
    assert not good


@pytest.mark.parametrize("name", sorted(SOME_REPLICAS))
async def test_some_replicas_fail_now_and_then(name: str) -> None:
    """A load balancer in front of good replicas and a bad one: the bad one's share of the requests fails."""
    server, among = a_server(), SOME_REPLICAS[name]
    statuses = [(await server.request("POST", "/v1/chat/completions", asked(), name))[0] for _ in range(2 * among)]
    assert sorted(statuses) == [200] * (2 * among - 2) + [500] * 2


async def test_an_unknown_misbehaviour_says_which_there_are() -> None:
    """A typing error must not look like a healthy server."""
    status, _, body = await a_server().request("POST", "/v1/chat/completions", asked(), "nonsense")
    assert status == 500
    assert b"wrong_model" in await whole(body)


@pytest.mark.parametrize("name", sorted(WELL_BEHAVED))
async def test_a_right_server_gives_a_whole_answer(name: str) -> None:
    """Unusual, and nothing is wrong with it."""
    status, headers, body = await a_server().request("POST", "/v1/chat/completions", asked(), name)
    content = await whole(body)
    document = json.loads(gzip.decompress(content) if headers.get("Content-Encoding") == "gzip" else content)
    message = document["choices"][0]["message"]
    assert (status, document["model"]) == (200, MODEL)
    assert message["content"] or message["reasoning_content"]


def _is_told_rightly(headers: dict[str, str]) -> bool:
    return "Content-Encoding" not in headers and "plain" not in headers.get("Content-Type", "")


def _is_whole(content: bytes) -> bool:
    try:
        document = json.loads(content)
        choice = document["choices"][0]
        said = any(map(str.isalnum, choice["message"]["content"] or ""))
        return document["model"] == MODEL and said and choice["finish_reason"] != "abort"
    except (ValueError, KeyError, IndexError, TypeError):
        return content.startswith(b"data:") and content.endswith(b"[DONE]\n\n") and b'"choices"' in content
