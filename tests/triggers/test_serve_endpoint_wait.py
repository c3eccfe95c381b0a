"""The wait of a trial in a triggerer: its trace in a real store, and its state after a kill."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kube_fake_api import FakeApi, fake_api
from operator_harness import event_of

from airflow_llm_provisioning.core.timing import analysis
from airflow_llm_provisioning.core.trace import decode_trace
from airflow_llm_provisioning.gateways import recorder
from airflow_llm_provisioning.gateways.recording import lines as recording_lines
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.triggers import trace_sink
from airflow_llm_provisioning.triggers.serve_endpoint import ServeEndpointWait

# Does what a triggerer does with a stored trigger, and nothing else.
TRIGGERER = """
import asyncio, json, sys
from airflow_llm_provisioning.gateways.recording import lines
from airflow_llm_provisioning.triggers.serve_endpoint import ServeEndpointWait
lines.FLUSH_S = 0.1
async def run():
    async for event in ServeEndpointWait(**json.loads(sys.argv[1])).run():
        print(json.dumps(event.payload))
asyncio.run(run())
"""


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """An API server with a RayService, its RayCluster and its head."""
    async with fake_api() as server:
        server.absent = {"nodeclaims"}
        await server.put("rayservices", "llm", "ml")
        await server.put("rayclusters", "llm-abc", "ml", metadata=owned(server, "rayservices", "llm"))
        await server.put("pods", "llm-abc-head", "ml", metadata=owned(server, "rayclusters", "llm-abc"))
        yield server


@pytest.fixture
def store(results_db: Path, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> ResultsStore:
    """The store behind the default connection, and a connection `sim` to the API server."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "made-up"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(config)}}
    monkeypatch.setenv("AIRFLOW_CONN_SIM", json.dumps(connection))
    monkeypatch.setattr(recording_lines, "FLUSH_S", 0.1)
    monkeypatch.setattr(recorder, "LATE_CLUSTER_S", 0.0)
    return ResultsStore.open(f"sqlite:///{results_db}")


def owned(api: FakeApi, resource: str, name: str) -> dict[str, Any]:
    """Return metadata of an object that this object owns."""
    return {"ownerReferences": [{"uid": api.objects[resource, "ml", name]["metadata"]["uid"]}]}


async def make_ready(api: FakeApi) -> None:
    """Publish the ready endpoint of the serve Service."""
    await api.put("services", "llm-serve-svc", "ml", metadata=owned(api, "rayservices", "llm"))
    labels = {"kubernetes.io/service-name": "llm-serve-svc"}
    metadata = {"labels": labels, **owned(api, "services", "llm-serve-svc")}
    endpoints = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]
    await api.put("endpointslices", "llm-serve-svc-x1", "ml", metadata=metadata, endpoints=endpoints)


def arguments(api: FakeApi, trial_id: str = "t-1") -> dict[str, Any]:
    """Return the arguments of a wait on the API server's RayService, as they are stored."""
    applied_at = (datetime.now(UTC) - timedelta(seconds=30)).isoformat()
    rayservice = {
        "cluster": {"conn_id": "sim"},
        "namespace": "ml",
        "name": "llm",
        "uid": api.objects["rayservices", "ml", "llm"]["metadata"]["uid"],
        "applied_at": applied_at,
        "replied_at": applied_at,
    }
    return {
        "rayservice": rayservice,
        "timeout_s": 300,
        "completion": None,
        "trial": {"trial_id": trial_id},
        "results_conn_id": "llm_provisioning_results",
    }


def traced(store: ResultsStore, trial_id: str = "t-1") -> list[Any]:
    """Return the lines in the store."""
    chunks = store.trace(trial_id)
    return list(decode_trace(chunks).lines) if chunks else []


def versions(lines: list[Any]) -> list[tuple[str, str, str]]:
    """Return (resource, name, version) of every object's line."""
    return [
        (one["resource"], one["object"]["metadata"]["name"], one["object"]["metadata"]["resourceVersion"])
        for one in lines
        if one["resource"] != "trace" and "metadata" in one["object"]
    ]


def marks(lines: list[Any]) -> list[str]:
    """Return the names of the marks, in order."""
    return [one["object"]["mark"] for one in lines if one.get("type") == "MARK"]


async def until(store: ResultsStore, holds: Callable[[list[Any]], bool], trial_id: str = "t-1") -> list[Any]:
    """Wait until a condition of a stored trace is true, and return the trace."""
    for _ in range(1200):
        if holds(lines := await asyncio.to_thread(traced, store, trial_id)):
            return lines
        await asyncio.sleep(0.05)
    raise TimeoutError(f"the trace of {trial_id} did not come so far")


def has(resource: str, name: str) -> Callable[[list[Any]], bool]:
    """Return whether a trace contains this object."""
    return lambda lines: (resource, name) in [version[:2] for version in versions(lines)]


async def test_the_trace_is_in_the_store_while_the_trial_runs(api: FakeApi, store: ResultsStore) -> None:
    """The header comes first, then the marks of the submission, then the received lines, long before the end; END comes
    last.
    """
    waiting = asyncio.create_task(event_of(ServeEndpointWait(**arguments(api))))
    begun = await until(store, has("pods", "llm-abc-head"))
    assert begun[0]["type"] == "HEADER"
    assert marks(begun)[:2] == ["apply_started", "apply_replied"]
    assert not any(one.get("type") == "END" for one in begun)
    await make_ready(api)
    assert (await waiting)["outcome"] == "ready"
    ended = traced(store)
    assert ended[: len(begun)] == begun
    assert ended[-1]["type"] == "END"


async def test_a_killed_triggerer_leaves_a_trace_that_the_next_continues(api: FakeApi, store: ResultsStore) -> None:
    """The process is killed during the recording and the deployment continues. The next process completes the stored
    trace: every version once, none missing, the deletion too, and the restart is marked. The analysis flags no gap.
    """
    stored = arguments(api)
    command = [sys.executable, "-W", "ignore", "-c", TRIGGERER, json.dumps(stored)]
    first = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        await until(store, has("pods", "llm-abc-head"))
        await api.put("pods", "llm-abc-w", "ml", metadata=owned(api, "rayclusters", "llm-abc"))
        await until(store, has("pods", "llm-abc-w"))
    finally:
        first.kill()
        await first.wait()
    before = traced(store)
    for phase in ("Pending", "Running"):
        metadata = owned(api, "rayclusters", "llm-abc")
        await api.put("pods", "llm-abc-head", "ml", metadata=metadata, status={"phase": phase})
    await api.remove("pods", "llm-abc-w", "ml")
    await make_ready(api)
    event = await event_of(ServeEndpointWait(**stored))
    assert event["outcome"] == "ready"
    assert event["waited_s"] >= 30
    whole = traced(store)
    assert whole[: len(before)] == before
    told = versions(whole)
    assert len(told) == len(set(told))
    pods = [(one["type"], one["object"]["metadata"]["name"]) for one in whole if one["resource"] == "pods"]
    assert pods[:2] == [("LISTED", "llm-abc-head"), ("ADDED", "llm-abc-w")]
    assert pods[2:] == [("LISTED", "llm-abc-head"), ("LISTED", "llm-abc-head"), ("DELETED", "llm-abc-w")]
    assert marks(whole).count("apply_started") == 1
    assert "recording_resumed" in marks(whole)
    found = analysis.analyse(whole)
    assert found.outcome == "ready"
    assert [flag.detail for flag in found.flags if flag.kind == "gap"] == []


async def test_waits_of_one_process_share_a_store_and_close_it(
    api: FakeApi, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many trials wait at once, the results database has one pool of connections, and none afterwards."""
    opened: list[ResultsStore] = []
    closed: list[ResultsStore] = []
    really_open, really_close = ResultsStore.open, ResultsStore.close

    def counted(url: str) -> ResultsStore:
        opened.append(really_open(url))
        return opened[-1]

    def noted(self: ResultsStore) -> None:
        closed.append(self)
        really_close(self)

    monkeypatch.setattr(ResultsStore, "open", counted)
    monkeypatch.setattr(ResultsStore, "close", noted)
    waits = [ServeEndpointWait(**arguments(api, f"t-{number}")) for number in range(4)]
    waiting = asyncio.gather(*(event_of(wait) for wait in waits))
    for number in range(4):
        await until(store, bool, f"t-{number}")
    await make_ready(api)
    assert [event["outcome"] for event in await waiting] == ["ready"] * 4
    assert len(opened) == 1
    assert closed == opened


async def test_a_wait_that_fails_gives_the_store_back(
    api: FakeApi, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is also closed if the cluster is unreachable, because a triggerer runs for weeks."""
    monkeypatch.delenv("AIRFLOW_CONN_SIM")
    event = await event_of(ServeEndpointWait(**arguments(api)))
    assert event["error_type"] == "ConnectionConfigError"
    assert trace_sink._STORES._open == {}


async def test_a_grace_period_of_the_users_own_ends_the_wait_sooner(api: FakeApi, store: ResultsStore) -> None:
    """It reaches the judge through the arguments, so it holds after a restart of the triggerer too."""
    await api.put("rayclusters", "llm-abc", "ml", metadata=owned(api, "rayservices", "llm"))
    labels = {"ray.io/cluster": "llm-abc", "ray.io/node-type": "worker"}
    refused = {"name": "ray-worker", "image": "r/i:1", "state": {"waiting": {"reason": "InvalidImageName"}}}
    await api.put(
        "pods", "llm-abc-w", "ml", metadata={"labels": labels, **owned(api, "rayclusters", "llm-abc")},
        status={"containerStatuses": [refused]},
    )  # fmt: skip
    event = await event_of(ServeEndpointWait(**arguments(api), grace_s={"image_refused": 0}))
    assert event["outcome"] == "failed"
    assert "Pod ml/llm-abc-w cannot pull r/i:1 for ray-worker: InvalidImageName" in event["reason"]


async def test_without_a_trial_nothing_is_kept(api: FakeApi, store: ResultsStore) -> None:
    """For a RayService without an experiment there is no store, and none is opened."""
    await make_ready(api)
    alone = arguments(api) | {"trial": None, "results_conn_id": None}
    assert (await event_of(ServeEndpointWait(**alone)))["outcome"] == "ready"
    assert trace_sink._STORES._open == {}


async def test_the_limit_counts_from_the_creation_where_the_task_found_its_own_object(
    api: FakeApi, store: ResultsStore
) -> None:
    """A worker that died between the create and its answer does not make the time limit begin anew."""
    asked = arguments(api)
    now = datetime.now(UTC)
    asked["rayservice"] |= {
        "applied_at": None,
        "created_at": (now - timedelta(seconds=400)).isoformat(),
        "replied_at": now.isoformat(),
    }
    event = await event_of(ServeEndpointWait(**asked))
    assert event["outcome"] == "timed_out"
    assert event["waited_s"] >= 400
