"""One valid answer through a Service comes from one replica: the first answer of an uninterrupted series is the first
completion.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, fake_api

from airflow_llm_provisioning.exceptions import ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording import completion_probe
from airflow_llm_provisioning.gateways.recording.completion_probe import CompletionProbe
from airflow_llm_provisioning.gateways.recording.scope import Scope

PATH = "/api/v1/namespaces/ml/services/llm-serve-svc:8000/proxy/v1/chat/completions"


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        yield server


@pytest.fixture
async def cluster(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setattr(completion_probe, "PAUSE_REAL_S", 0.0)
    monkeypatch.setattr(completion_probe, "PAUSE_CLUSTER_S", 0.0)
    async with Cluster.from_access(api.access(), name="test") as opened:
        yield opened


def serve(api: FakeApi, *good: bool) -> list[bool]:
    """Let the model answer validly or with an error, in turn, then always validly; return the requests."""
    given: list[bool] = []

    async def answer(request: web.Request) -> web.Response:
        given.append(good[len(given)] if len(given) < len(good) else True)
        if not given[-1]:
            return web.Response(status=500)
        return web.json_response({"model": "phi", "choices": [{"message": {"content": "Hello"}}]})

    api.handlers[PATH] = answer
    return given


def probe(cluster: Cluster, **completion: Any) -> CompletionProbe:
    asked = {"path": "/v1/chat/completions", "body": {"model": "phi"}, "expect_model": "phi", **completion}
    return CompletionProbe(cluster, "ml", Scope({"namespace": "ml", "name": "llm", "uid": "u"}), asked)


async def test_an_error_restarts_the_series(api: FakeApi, cluster: Cluster) -> None:
    """The first completion is that of the complete series, and its time is the time of its first answer."""
    given = serve(api, True, False, True, True, False)
    lines: list[Any] = []
    at = await probe(cluster).first_valid(lines.append)
    assert given == [True, False, True, True, False, True, True, True]
    marks = [line["object"] for line in lines]
    assert [mark["mark"] for mark in marks] == ["completion_refused", "first_completion"]
    assert marks[-1]["confirmed_by"] == 2
    assert lines[-1]["received_at"] == completion_probe.format_instant(at.latest_at)
    assert marks[-1]["asked_at"] <= lines[-1]["received_at"]


async def test_more_replicas_must_answer_more_often(api: FakeApi, cluster: Cluster) -> None:
    """More replicas need more answers, so that a bad one is found."""
    given = serve(api, *([True] * 15), False)
    await probe(cluster, replicas=2).first_valid(lambda _line: None)
    assert len(given) == 32


async def test_an_endless_answer_is_abandoned(api: FakeApi, cluster: Cluster) -> None:
    """An endless answer is read up to the limit of a completion, and no further."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10_000):
            await response.write(b" " * 65_536)
        return response

    api.handlers[PATH] = endless
    with pytest.raises(ClusterUnreachableError, match="more than 1000 bytes"):
        await cluster.proxy(
            "llm-serve-svc", 8000, "/v1/chat/completions", namespace="ml", method="POST", at_most_bytes=1000
        )


def serve_counting(api: FakeApi, *, of: float = 1.0) -> list[int]:
    """Let the model write as many tokens as it may, or a share of them; return what was asked for."""
    asked: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append(body.get("max_tokens", 8))
        written = max(1, int(asked[-1] * of))
        usage = {"completion_tokens": written}
        return web.json_response({"model": "phi", "choices": [{"message": {"content": "one"}}], "usage": usage})

    api.handlers[PATH] = answer
    return asked


async def measured(cluster: Cluster) -> list[Any]:
    lines: list[Any] = []
    asked = probe(cluster, body={"model": "phi", "messages": [{"role": "user", "content": "Say one word."}]})
    await asked.first_valid(lines.append)
    await asked.measure_speed(lines.append)
    return [line["object"] for line in lines]


async def test_answers_of_two_lengths_are_timed_after_the_first_completion(api: FakeApi, cluster: Cluster) -> None:
    """Two short and two long ones, in turn; their tokens and seconds are in the recording."""
    asked = serve_counting(api)
    first, speed = await measured(cluster)
    assert first["mark"] == "first_completion"
    assert speed["mark"] in ("serving_speed", "speed_unknown")
    assert [item["tokens"] for item in speed["answers"]] == [16, 80, 16, 80]
    assert asked[-4:] == [16, 80, 16, 80]
    assert all(item["seconds"] > 0 for item in speed["answers"])


async def test_a_model_that_stops_by_itself_has_no_known_speed(api: FakeApi, cluster: Cluster) -> None:
    """The recording says why."""
    serve_counting(api, of=0.5)
    speed = (await measured(cluster))[-1]
    assert (speed["mark"], speed["why"], speed["answers"]) == ("speed_unknown", "the model wrote 8 of 16 tokens", [])


async def test_a_server_that_counts_no_tokens_is_asked_no_more(api: FakeApi, cluster: Cluster) -> None:
    """No request beyond the series, and no mark."""
    given = serve(api)
    (only,) = await measured(cluster)
    assert only["mark"] == "first_completion"
    assert len(given) == 3
