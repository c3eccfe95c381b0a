"""The recorder over real HTTP: killed, cancelled, and with a store that is away."""

import asyncio
from datetime import UTC, datetime

import pytest
from kube_fake_api import FakeApi
from recorder_builders import (
    CHAT,
    Recording,
    completion,
    deploy,
    make_ready,
    owned_metadata,
    serve,
)

from airflow_llm_provisioning.core.trace import header_line
from airflow_llm_provisioning.exceptions import StoreError


async def test_a_killed_recording_continues_from_the_store(api: FakeApi) -> None:
    """The next process receives the stored lines: it misses nothing in between, stores nothing twice, and marks the
    resumption.
    """
    await deploy(api)
    await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"))
    await api.put("pods", "llm-abc-gone", "ml", metadata=owned_metadata(api, "pods"))
    first = Recording(api)
    await first.until(lambda r: len(r.of("pods")) == 2)
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    for phase in ("Pending", "Running"):
        await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"), status={"phase": phase})
    await api.remove("pods", "llm-abc-gone", "ml")
    second = Recording(api, stored=first.lines)
    await second.until(lambda r: len(r.of("pods")) == 3)
    await make_ready(api)
    assert (await second.task).outcome == "ready"
    told = [(one["type"], one["object"].get("status", {}).get("phase")) for one in second.of("pods")]
    assert told == [("LISTED", "Pending"), ("LISTED", "Running"), ("DELETED", None)]
    whole = [*first.lines, *second.lines]
    versions = [
        (one["resource"], one["object"]["metadata"]["uid"], one["object"]["metadata"]["resourceVersion"])
        for one in whole
        if one["resource"] != "trace" and "metadata" in one["object"]
    ]
    assert len(versions) == len(set(versions))
    assert second.marks("recording_resumed")[0]["last_received_at"] == first.lines[-1]["received_at"]
    assert not second.marks("apply_started")
    assert not second.marks("watch_interrupted")


async def test_a_killed_recording_without_history_names_the_gap(api: FakeApi) -> None:
    """If the API server has no history of the time in between, the trace continues with the current objects and names
    the gap.
    """
    await deploy(api)
    await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"))
    first = Recording(api)
    await first.until(lambda r: bool(r.of("pods")))
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    await api.remove("pods", "llm-abc-head", "ml")
    await api.compact()
    second = Recording(api, stored=first.lines)
    await second.until(lambda r: bool(r.marks("vanished")))
    await make_ready(api)
    await second.task
    assert "pods" in [mark["resource"] for mark in second.marks("watch_interrupted")]
    assert [mark["name"] for mark in second.marks("vanished")] == ["llm-abc-head"]


async def test_a_recording_that_had_ended_is_not_begun_again(api: FakeApi) -> None:
    """If the process was killed after its last chunk and before its event, the next one reads the outcome from the
    store.
    """
    await deploy(api)
    await make_ready(api)
    serve(api, completion())
    first = Recording(api, completion=CHAT)
    outcome = await first.task
    requests = len(api.requests)
    again = await Recording(api, completion=CHAT, stored=first.lines).task
    assert again.outcome == outcome.outcome == "ready"
    assert again.first_completion_at == outcome.first_completion_at
    assert again.endpoint_ready_at is not None
    assert [request for request in api.requests[requests:] if request != "GET /version"] == []


async def test_the_trace_of_another_rayservice_is_not_continued(api: FakeApi) -> None:
    """A stored header with another uid means that this recording starts again."""
    await deploy(api)
    await make_ready(api)
    foreign = [header_line(datetime.now(UTC), origin="measured", namespace="ml", name="llm", uid="another")]
    recording = Recording(api, stored=foreign)
    assert (await recording.task).outcome == "ready"
    assert recording.marks("apply_started")
    assert not recording.marks("recording_resumed")


async def test_an_outage_of_the_store_loses_no_line(api: FakeApi) -> None:
    """Chunks that the sink refuses are passed again, in order, once."""
    await deploy(api)
    refusals = iter([True, True, True])
    recording = Recording(api, refuse=lambda: next(refusals, False))
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await make_ready(api)
    await recording.task
    assert [one["type"] for one in recording.of("trace") if one["type"] != "MARK"] == ["HEADER", "END"]
    assert len(recording.of("rayservices")) == 1


async def test_a_permanent_failure_of_the_store_is_reported(api: FakeApi) -> None:
    """If the last lines cannot be stored, one sentence reports it."""
    await deploy(api)
    await make_ready(api)
    with pytest.raises(StoreError, match="the store is away"):
        await Recording(api, refuse=lambda: True).task


async def test_a_cancelled_recording_stores_its_lines(api: FakeApi) -> None:
    """A triggerer that shuts down loses no line; without an END line a restarted recording continues the trace."""
    await deploy(api)
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await api.put("nodes", "n1", None)
    await asyncio.sleep(0.2)
    recording.task.cancel()
    await asyncio.gather(recording.task, return_exceptions=True)
    assert recording.task.cancelled()
    assert recording.of("nodes")
    assert not recording.of("trace", "END")
