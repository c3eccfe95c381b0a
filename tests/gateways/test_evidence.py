"""Evidence costs GPU time: it is read where a trace is kept, within a limit, and what was not read is said."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, fake_api
from recorder_builders import SUBJECT, deploy, make_ready

from airflow_llm_provisioning.core.trace import decode_line, header_line
from airflow_llm_provisioning.gateways import recorder
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recorder import Outcome, record

PROXY = "/api/v1/namespaces/ml/services/llm-abc-head-svc:dashboard/proxy"


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApi]:
    """A ready deployment whose dashboard does not answer."""
    monkeypatch.setattr(recorder, "LATE_CLUSTER_S", 0.0)

    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with fake_api() as server:
        server.absent = {"nodeclaims"}
        server.handlers[f"{PROXY}/api/version"] = silent
        await deploy(server)
        yield server


async def recorded(api: FakeApi, **options: Any) -> tuple[Outcome, list[Any], float]:
    """Return the outcome, the lines, and how many seconds the recording went on after its endpoint was ready."""
    lines: list[Any] = []

    async def keep(chunk: Any) -> None:
        lines.extend(map(decode_line, chunk))

    limit_s = options.pop("limit_s", 20)
    async with Cluster.from_access(api.access(), name="test") as cluster:
        began = time.monotonic()
        outcome = await record(
            cluster,
            SUBJECT,
            sink=keep,
            deadline_at=cluster.clock() + timedelta(seconds=limit_s),
            completion=None,
            header=header_line(cluster.clock(), origin="measured", **SUBJECT),
            **options,
        )
        return outcome, lines, time.monotonic() - began


def missing(lines: list[Any]) -> dict[str, str]:
    marks = [item["object"] for item in lines if item.get("type") == "MARK"]
    return {mark["what"]: mark["why"] for mark in marks if mark["mark"] == "not_collected"}


def reads(api: FakeApi) -> list[str]:
    return [request for request in api.requests if "/api/version" in request or "/log?" in request]


async def test_the_limit_holds_and_what_is_missing_is_said(api: FakeApi) -> None:
    """A dashboard that does not answer holds the GPUs for the limit, not for its own time limit."""
    await make_ready(api)
    outcome, lines, took_s = await recorded(api, evidence_s=0.5)
    assert outcome.outcome == "ready"
    assert took_s < 5
    assert missing(lines) == {"ray": "it was not read to its end within 0.5 s (evidence_s)"}


async def test_nothing_is_read_where_no_trace_is_kept(api: FakeApi) -> None:
    """A single operator returns when the endpoint is ready."""
    await make_ready(api)
    outcome, lines, took_s = await recorded(api, keeps_trace=False)
    assert outcome.outcome == "ready"
    assert took_s < 4
    assert (reads(api), missing(lines)) == ([], {})


async def test_a_failure_is_explained_also_without_a_trace(api: FakeApi) -> None:
    """The logs may hold the cause: they are read, within the limit."""
    outcome, _, _ = await recorded(api, keeps_trace=False, evidence_s=0.5, limit_s=0.3)
    assert outcome.outcome == "timed_out"
    assert reads(api) != []
