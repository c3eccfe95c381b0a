"""The cluster decides before the clock does, and an instant that nothing watched has the cluster's stamps as bounds."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, Fault
from recorder_builders import CHAT, Recording, completion, deploy, make_ready, serve

from airflow_llm_provisioning.core.timing import analysis
from airflow_llm_provisioning.gateways import recorder


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


async def ready_since(api: FakeApi, seconds: float) -> None:
    """Make the deployment ready, and let its stamps say that it became so that long ago."""
    await make_ready(api)
    stamp = ago(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")
    for resource, name in (("services", "llm-serve-svc"), ("endpointslices", "llm-serve-svc-x1")):
        api.objects[resource, "ml", name]["metadata"]["creationTimestamp"] = stamp
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": stamp}
    await api.put("rayservices", "llm", "ml", status={"conditions": [condition]})


@pytest.mark.parametrize("asks", [False, True], ids=["endpoint", "completion"])
async def test_what_was_ready_before_the_limit_is_ready_after_it(api: FakeApi, asks: bool) -> None:
    """The recording begins a quarter of an hour after the limit: the deployment was ready in time and still answers."""
    await deploy(api)
    await ready_since(api, 3000)
    serve(api, completion())
    recording = Recording(api, completion=CHAT if asks else None, limit_s=-900)
    outcome = await recording.task
    assert (outcome.outcome, outcome.reason) == ("ready", None)
    assert outcome.endpoint_ready_at is not None
    assert abs(outcome.endpoint_ready_at - ago(3000)) < timedelta(seconds=30)
    if asks:
        assert outcome.completion is not None
        assert outcome.endpoint is not None
        assert outcome.completion.earliest_at == outcome.endpoint.earliest_at


async def test_what_became_ready_after_the_limit_is_late(api: FakeApi) -> None:
    """By the cluster's stamps: the sentence says when, and does not say that there is no endpoint."""
    await deploy(api)
    await ready_since(api, 300)
    outcome = await Recording(api, limit_s=-900).task
    assert outcome.outcome == "timed_out"
    assert outcome.endpoint_ready_at is not None
    late_s = int((outcome.reason or "").split(" s after the time limit")[0].rpartition(" ")[2])
    assert 595 <= late_s <= 605


async def test_at_the_limit_the_cluster_is_read_once_more(api: FakeApi) -> None:
    """The watches are refused while the endpoint becomes ready; the last look sees what they could not."""
    await deploy(api)
    recording = Recording(api, limit_s=2)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    api.faults.append(Fault(r"^GET .*endpointslices\?.*watch=", status=503, times=1000))
    await api.drop_watches()
    await ready_since(api, 0)
    assert (await recording.task).outcome == "ready"


async def test_nothing_is_ready_at_the_limit(api: FakeApi) -> None:
    """Neither then nor at the last look: it is timed out, however late the recording begins."""
    await deploy(api)
    for limit_s in (-900, 0.2):
        outcome = await Recording(api, limit_s=limit_s).task
        assert (outcome.outcome, outcome.endpoint_ready_at) == ("timed_out", None)
        assert "had no ready endpoint at the time limit" in (outcome.reason or "")


async def test_an_endpoint_that_never_answers_is_still_timed_out(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that begins after the limit asks for a short time only."""
    monkeypatch.setattr(recorder, "ANSWER_CLUSTER_S", 0.3)
    monkeypatch.setattr(recorder, "ANSWER_REAL_S", 0.3)
    await deploy(api)
    await ready_since(api, 3000)
    serve(api, web.Response(status=503))
    outcome = await Recording(api, completion=CHAT, limit_s=-900).task
    assert outcome.outcome == "timed_out"
    assert "no valid completion" in (outcome.reason or "")


async def test_the_bounds_of_a_recorder_that_was_away(api: FakeApi) -> None:
    """Killed before the deployment was ready, resumed long after: the outcome has the hole and the stamps as bounds,
    and a later process that finds the END line returns the same.
    """
    await deploy(api)
    first = Recording(api)
    await first.until(lambda r: bool(r.of("rayclusters")))
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    before: list[Any] = [_earlier(item, 600) for item in first.lines]
    await ready_since(api, 300)
    serve(api, completion())
    second = Recording(api, completion=CHAT, stored=before)
    outcome = await second.task
    assert outcome.endpoint is not None
    assert outcome.completion is not None
    assert outcome.endpoint.earliest_at is not None
    assert timedelta() <= outcome.endpoint.latest_at - outcome.endpoint.earliest_at < timedelta(seconds=1)
    assert abs(outcome.endpoint.latest_at - ago(300)) < timedelta(seconds=20)
    assert outcome.completion.earliest_at == outcome.endpoint.earliest_at
    again = await Recording(api, completion=CHAT, stored=[*before, *second.lines]).task
    assert (again.endpoint, again.completion) == (outcome.endpoint, outcome.completion)


async def test_a_trace_with_an_endpoint_is_not_called_one_without(api: FakeApi) -> None:
    """The endpoint came while the last logs were read: the row must not say both a total and that there is none."""
    await deploy(api)
    recording = Recording(api, limit_s=0.2)
    await recording.task
    lines = list(recording.lines)
    await ready_since(api, 0)
    late = Recording(api, limit_s=5)
    await late.task
    seen = [item for item in late.lines if item["resource"] in ("services", "endpointslices", "rayservices")]
    found = analysis.analyse([*lines, *seen])
    assert found.outcome == "timed_out"
    assert found.total_s is not None
    assert "no ready endpoint" not in str(found.reason)


def _earlier(item: dict[str, Any], seconds: float) -> dict[str, Any]:
    at = datetime.fromisoformat(item["received_at"]) - timedelta(seconds=seconds)
    return item | {"received_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
