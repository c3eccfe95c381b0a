"""The recorder over real HTTP: real deployments, played by the fake API server, are recorded whole."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from kube_fake_api import FakeApi
from recorder_builders import Recording

from airflow_llm_provisioning.core.trace.objects import EVENT_RESOURCES


def played(recordings_folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the watch lines of a recording from its RayService's creation to the end of its wait."""
    with gzip.open(recordings_folder / f"{name}.jsonl.gz", "rt") as file:
        recorded = [json.loads(one) for one in file]
    return [one for one in recorded if one.get("type") in ("LISTED", "ADDED", "MODIFIED", "DELETED")]


@pytest.mark.parametrize("name", ["static", "node-late", "dynamic"])
async def test_a_real_deployment_is_recorded_whole(api: FakeApi, recordings_folder: Path, name: str) -> None:
    """From a replayed recording, every version of every object of the trial is stored, and it ends ready. Events come
    by two APIs and are stored once.
    """
    recorded = played(recordings_folder, name)
    begins = next(n for n, one in enumerate(recorded) if one["resource"] == "rayservices" and one["type"] == "ADDED")
    ready = next(
        n
        for n, one in enumerate(recorded)
        if one["resource"] == "endpointslices"
        and one["object"]["metadata"]["labels"]["kubernetes.io/service-name"] == "llm-model-serve-serve-svc"
        and any(endpoint["conditions"]["ready"] for endpoint in one["object"]["endpoints"])
    )
    for one in recorded[: begins + 1]:
        await api.replay(one["type"], one["resource"], one["object"])
    uid = recorded[begins]["object"]["metadata"]["uid"]
    recording = Recording(api, subject={"namespace": "serving", "name": "llm-model-serve", "uid": uid})
    await recording.until(lambda r: bool(r.of("rayservices")))
    for one in recorded[begins + 1 : ready + 1]:
        await api.replay(one["type"], one["resource"], one["object"])
    outcome = await recording.task
    assert outcome.outcome == "ready"
    missing = _versions(recorded[begins : ready + 1]) - _versions(recording.lines)
    assert missing == set()
    events = [one for one in recording.lines if one["resource"] in EVENT_RESOURCES]
    assert len(events) == len(_versions(events))


def _versions(lines: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Return the versions; an event has one, by whichever API it came."""
    return {
        (
            "events" if one["resource"] in EVENT_RESOURCES else one["resource"],
            one["object"]["metadata"]["name"],
            one["object"]["metadata"]["resourceVersion"],
        )
        for one in lines
        if one.get("type") in ("LISTED", "ADDED", "MODIFIED", "DELETED")
    }
