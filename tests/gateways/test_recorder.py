"""The recorder over real HTTP: replayed recordings of real deployments, and faults during the recording."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, Fault, fake_api

from airflow_llm_provisioning.core.trace import decode_line, header_line, mark_line
from airflow_llm_provisioning.core.trace.objects import EVENT_RESOURCES
from airflow_llm_provisioning.exceptions import ForbiddenError, StoreError
from airflow_llm_provisioning.gateways import recorder
from airflow_llm_provisioning.gateways.kubernetes import Cluster, follow
from airflow_llm_provisioning.gateways.recorder import Outcome, record
from airflow_llm_provisioning.gateways.recording import lines as recording_lines

SUBJECT = {"namespace": "ml", "name": "llm", "uid": "uid-rs"}
CHAT = {"path": "/v1/chat/completions", "body": {"model": "phi"}, "expect_model": "phi"}


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        server.absent = {"nodeclaims"}
        yield server


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make chunks frequent and the retries of a lost store short, so that tests are short."""
    monkeypatch.setattr(recording_lines, "FLUSH_S", 0.05)
    monkeypatch.setattr(recording_lines, "LAST_FLUSH_S", 0.4)
    monkeypatch.setattr(recording_lines, "LAST_PAUSE_S", 0.1)
    monkeypatch.setattr(recorder, "LATE_CLUSTER_S", 0.0)
    # Versions after an interruption are recognised as late, however slow the machine is.
    monkeypatch.setattr(follow, "CATCH_UP_S", 30.0)


class Recording:
    """One recording in the background and the lines of its sink."""

    def __init__(
        self,
        api: FakeApi,
        *,
        subject: dict[str, str] | None = None,
        completion: dict[str, Any] | None = None,
        limit_s: float = 20,
        refuse: Callable[[], bool] = lambda: False,
        stored: Sequence[Any] = (),
    ) -> None:
        self.lines: list[Any] = []
        self._stored = stored
        self.chunks = 0
        self._refuse = refuse
        self._more = asyncio.Event()
        self.task = asyncio.create_task(self._run(api, subject or SUBJECT, completion, limit_s))

    async def _run(
        self, api: FakeApi, subject: dict[str, str], completion: dict[str, Any] | None, limit_s: float
    ) -> Outcome:
        async with Cluster.from_access(api.access(), name="test") as cluster:
            return await record(
                cluster,
                subject,
                sink=self._sink,
                deadline_at=cluster.clock() + timedelta(seconds=limit_s),
                completion=completion,
                header=header_line(cluster.clock(), origin="measured", **subject),
                marks=[mark_line(cluster.clock() - timedelta(seconds=1), "apply_started")],
                stored=self._stored,
            )

    async def _sink(self, chunk: Sequence[bytes]) -> None:
        if self._refuse():
            raise OSError("the store is away")
        self.chunks += 1
        self.lines += map(decode_line, chunk)
        self._more.set()

    async def until(self, holds: Callable[["Recording"], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds(self):
                self._more.clear()
                await self._more.wait()

    def of(self, resource: str, kind: str | None = None) -> list[Any]:
        return [one for one in self.lines if one["resource"] == resource and kind in (None, one.get("type"))]

    def marks(self, name: str) -> list[Any]:
        return [one["object"] for one in self.of("trace", "MARK") if one["object"]["mark"] == name]


async def deploy(api: FakeApi) -> None:
    """Create a RayService with its RayCluster and head, like the operator."""
    await api.put("rayservices", "llm", "ml")
    api.objects["rayservices", "ml", "llm"]["metadata"]["uid"] = "uid-rs"
    await api.put("rayclusters", "llm-abc", "ml", metadata={"ownerReferences": [{"uid": "uid-rs"}]})


async def make_ready(api: FakeApi, ready: bool = True) -> None:
    """Create the serve Service and its EndpointSlice, like KubeRay and the cluster."""
    service = await api.put("services", "llm-serve-svc", "ml", metadata={"ownerReferences": [{"uid": "uid-rs"}]})
    await api.put(
        "endpointslices",
        "llm-serve-svc-x1",
        "ml",
        metadata={
            "labels": {"kubernetes.io/service-name": "llm-serve-svc"},
            "ownerReferences": [{"uid": service["metadata"]["uid"]}],
        },
        endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
    )


def serve(api: FakeApi, *answers: web.Response | Callable[[], Any]) -> list[datetime]:
    """Let the serve Service give these answers in turn, and repeat the last one; return the times of the requests."""
    asked: list[datetime] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(datetime.now(UTC))
        given = answers[min(len(asked), len(answers)) - 1]
        made = given() if callable(given) else given
        return web.Response(status=made.status, body=made.body, content_type=made.content_type)

    api.handlers["/api/v1/namespaces/ml/services/llm-serve-svc:8000/proxy/v1/chat/completions"] = answer
    return asked


def completion(model: str = "phi", text: str = "Hello") -> web.Response:
    return web.json_response({"model": model, "choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


async def test_ready_endpoint_and_first_valid_completion_end_the_recording(api: FakeApi) -> None:
    """The endpoint's receipt and the first valid answer are the outcome; invalid answers are marked."""
    await deploy(api)
    serve(api, web.Response(status=503), completion(model="other"), completion(text=" "), completion())
    recording = Recording(api, completion=CHAT)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await make_ready(api, ready=False)
    await recording.until(lambda r: bool(r.of("endpointslices")))
    await make_ready(api)
    outcome = await recording.task
    assert outcome.outcome == "ready"
    assert outcome.reason is None
    assert outcome.endpoint_ready_at is not None
    assert outcome.first_completion_at is not None
    assert outcome.endpoint_ready_at < outcome.first_completion_at
    assert [mark["why"] for mark in recording.marks("completion_refused")] == [
        "status 503",
        "written by 'other' instead of 'phi'",
        "no generated text",
    ]
    assert recording.lines[0]["type"] == "HEADER"
    assert recording.lines[-1]["object"] == {"outcome": "ready", "reason": None}


async def test_the_ready_endpoint_is_acted_on_at_once(api: FakeApi) -> None:
    """Less than 250 ms are between the watch event and the first request to the model."""
    await deploy(api)
    asked = serve(api, completion())
    recording = Recording(api, completion=CHAT)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await make_ready(api)
    outcome = await recording.task
    assert outcome.endpoint_ready_at is not None
    assert asked[0] - outcome.endpoint_ready_at < timedelta(milliseconds=250)


async def test_without_a_completion_a_ready_endpoint_is_enough(api: FakeApi) -> None:
    """Without an experiment, a ready endpoint ends the wait."""
    await deploy(api)
    await make_ready(api)
    outcome = await Recording(api).task
    assert (outcome.outcome, outcome.first_completion_at) == ("ready", None)


async def test_another_services_endpoint_does_not_count(api: FakeApi) -> None:
    """Ready endpoints of other Services, and of another RayService with the same name prefix, do not count."""
    await deploy(api)
    for name in ("llm-head-svc", "llm-b-serve-svc"):
        await api.put(
            "endpointslices",
            f"{name}-1",
            "ml",
            metadata={"labels": {"kubernetes.io/service-name": name}, "ownerReferences": [{"uid": "someone"}]},
            endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        )
    outcome = await Recording(api, limit_s=0.5).task
    assert outcome.outcome == "timed_out"
    assert outcome.endpoint_ready_at is None


async def test_a_time_out_contains_the_last_state(api: FakeApi) -> None:
    """A time-out contains the last known state."""
    await deploy(api)
    condition = {"type": "Ready", "status": "False", "reason": "Initializing", "message": "RayService is initializing"}
    await api.put("rayservices", "llm", "ml", status={"conditions": [condition]})
    recording = Recording(api, limit_s=0.5)
    outcome = await recording.task
    assert outcome.outcome == "timed_out"
    assert outcome.reason is not None
    assert "ml/llm had no ready endpoint" in outcome.reason
    assert "Initializing" in outcome.reason
    assert recording.lines[-1]["object"]["outcome"] == "timed_out"


async def test_an_endpoint_that_never_answers_validly_is_no_success(api: FakeApi) -> None:
    """A ready endpoint without a valid answer is timed out, with the fault and the instant of readiness."""
    await deploy(api)
    await make_ready(api)
    serve(api, web.Response(body=b"<html>", content_type="text/html"))
    outcome = await Recording(api, completion=CHAT, limit_s=0.7).task
    assert outcome.outcome == "timed_out"
    assert outcome.endpoint_ready_at is not None
    assert "an HTML page" in (outcome.reason or "")


async def test_a_failed_application_ends_it_with_its_message(api: FakeApi) -> None:
    """A lasting DEPLOY_FAILED ends the recording, after the collection of Ray's state."""
    api.version = {"simulated": {"clock": _fast_clock(60)}}
    await deploy(api)
    await api.put("rayservices", "llm", "ml", status={"pendingServiceStatus": {"rayClusterName": "llm-abc"}})

    async def dashboard(request: web.Request) -> web.Response:
        if request.path.endswith("/api/serve/applications/"):
            failed = {"status": "DEPLOY_FAILED", "message": "Traceback\n\x1b[36mModuleNotFoundError: no vllm\x1b[0m"}
            return web.json_response({"applications": {"llm": failed}})
        return web.json_response({"data": {"result": {}}})

    api.handlers["/api/v1/namespaces/ml/services/llm-abc-head-svc:dashboard/proxy"] = dashboard
    recording = Recording(api, limit_s=600)
    outcome = await recording.task
    assert outcome.outcome == "failed"
    assert "ModuleNotFoundError: no vllm" in (outcome.reason or "")
    assert recording.of("ray-nodes")


async def test_the_engines_own_error_is_read_where_serve_lists_no_replica(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    """After three failures no replica is left and Serve's message only points elsewhere. The output of the worker
    processes of every node is read, those of idle processes last, and the reason names the cause.
    """
    caplog.set_level("INFO")
    api.version = {"simulated": {"clock": _fast_clock(60)}}
    await deploy(api)
    await api.put("rayservices", "llm", "ml", status={"pendingServiceStatus": {"rayClusterName": "llm-abc"}})
    message = "Error:\nRuntimeError: Engine core initialization failed. See root cause above."
    failed = {"LLM": {"status": "DEPLOY_FAILED", "message": message, "replicas": []}}

    async def dashboard(request: web.Request) -> web.Response:
        path, query = request.path.rpartition("/proxy")[2], request.query
        if path == "/api/serve/applications/":
            told = {"status": "DEPLOY_FAILED", "message": "Failed to update the deployments.", "deployments": failed}
            return web.json_response({"applications": {"llm": told}})
        if path == "/api/v0/nodes":
            nodes = [
                {"node_id": "head", "node_ip": "1", "state": "ALIVE", "is_head_node": True},
                {"node_id": "gpu", "node_ip": "2", "state": "ALIVE"},
            ]
            return web.json_response({"data": {"result": {"result": nodes}}})
        if path == "/api/v0/logs":
            workers = ["worker-a-ffffffff-1.out", "worker-b-01000000-2.out"]
            names = workers if query["glob"] == "worker-*" else []
            return web.json_response({"data": {"result": {"any": names}}})
        if path == "/api/v0/logs/file" and query["node_id"] == "gpu" and "-b-" in query["filename"]:
            return web.Response(text="(EngineCore_DP0 pid=9) ERROR 11-29 15:00:09 [core.py:7] OSError: a gated repo.")
        return web.Response(text="")

    api.handlers["/api/v1/namespaces/ml/services/llm-abc-head-svc:dashboard/proxy"] = dashboard
    recording = Recording(api, limit_s=600)
    outcome = await recording.task
    assert [(one["node_ip"], one["filename"][:8]) for one in recording.of("ray-log-file")] == [
        ("2", "worker-b"), ("2", "worker-a"), ("1", "worker-b"), ("1", "worker-a"),
    ]  # fmt: skip
    assert "Engine core initialization failed" in str(outcome.reason)
    assert "The engine's own last error (worker-b-01000000-2.out): OSError: a gated repo." in str(outcome.reason)
    assert recording.lines[-1]["object"]["reason"] == outcome.reason
    assert any(" blocked: Serve application 'llm'" in record.getMessage() for record in caplog.records)


async def test_deletion_by_another_actor_ends_it(api: FakeApi) -> None:
    """A RayService that is deleted during the wait ends the recording, also if the deletion itself was missed."""
    await deploy(api)
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    api.faults.append(Fault("rayservices.*watch=true", cut=True))
    await api.drop_watches()
    await api.remove("rayservices", "llm", "ml")
    await api.compact()
    outcome = await recording.task
    assert outcome.outcome == "failed"
    assert "ml/llm" in (outcome.reason or "")


async def test_a_rayservice_that_was_replaced_is_not_recorded(api: FakeApi) -> None:
    """An object with another uid and the same name is not recorded."""
    await api.put("rayservices", "llm", "ml")
    outcome = await Recording(api).task
    assert outcome.outcome == "failed"


async def test_events_are_kept_by_uid_and_wait_for_their_objects(api: FakeApi) -> None:
    """An event that arrives before its pod is stored; one of an earlier RayService of the same name is not."""
    await deploy(api)
    owner = api.objects["rayclusters", "ml", "llm-abc"]["metadata"]["uid"]
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await api.put("events", "old", "ml", involvedObject={"kind": "RayService", "name": "llm", "uid": "older"})
    await api.put("events", "early", "ml", involvedObject={"kind": "Pod", "name": "llm-abc-head", "uid": "uid-pod"})
    await api.put("events", "node", "default", involvedObject={"kind": "Node", "name": "n1", "uid": "n1"})
    await recording.until(lambda r: bool(r.of("events")))
    await api.replay(
        "ADDED",
        "pods",
        {
            "metadata": {
                "name": "llm-abc-head",
                "namespace": "ml",
                "uid": "uid-pod",
                "resourceVersion": "900",
                "ownerReferences": [{"uid": owner}],
            }
        },
    )
    await recording.until(lambda r: len(r.of("events")) == 2)
    await make_ready(api)
    await recording.task
    assert sorted(one["object"]["metadata"]["name"] for one in recording.of("events")) == ["early", "node"]


async def test_faults_lose_and_repeat_nothing(api: FakeApi) -> None:
    """With interrupted watches, 410, 500 and resets during a deployment, each version of each object is stored once."""
    await deploy(api)
    owner = {"ownerReferences": [{"uid": api.objects["rayclusters", "ml", "llm-abc"]["metadata"]["uid"]}]}
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    for number in range(12):
        await api.put("pods", f"llm-abc-w{number}", "ml", metadata=owner)
        if number % 3 == 0:
            api.faults.append(Fault("pods", status=500))
            await api.drop_watches()
        if number % 4 == 1:
            api.faults.append(Fault("watch=true", cut=True))
            await api.compact()
    await recording.until(lambda r: len(r.of("pods")) >= 12)
    await make_ready(api)
    await recording.task
    kept = sorted(one["object"]["metadata"]["name"] for one in recording.of("pods"))
    assert kept == sorted(f"llm-abc-w{number}" for number in range(12))
    assert recording.marks("watch_interrupted")


def owned_metadata(api: FakeApi, resource: str) -> dict[str, Any]:
    """Return the metadata of an object of this resource that belongs to the RayService."""
    cluster = api.objects["rayclusters", "ml", "llm-abc"]["metadata"]["uid"]
    return {"ownerReferences": [{"uid": cluster if resource == "pods" else "uid-rs"}]}


WATCHED = ("rayservices", "rayclusters", "pods", "services", "endpointslices", "nodes", "nodeclaims")


@pytest.mark.parametrize("resource", WATCHED)
async def test_every_resource_is_listed_and_then_watched(api: FakeApi, resource: str) -> None:
    """Existing objects are LISTED in the trace, and later changes follow in order."""
    api.absent = set()
    await deploy(api)
    name, namespace = {"rayservices": "llm", "rayclusters": "llm-abc"}.get(resource, "llm-x"), "ml"
    if resource in ("nodes", "nodeclaims"):
        namespace = ""
    metadata = {} if resource == "rayservices" else owned_metadata(api, resource)
    await api.put(resource, name, namespace or None, metadata=dict(metadata), spec={"n": 1})
    api.objects[resource, namespace, name]["metadata"]["uid"] = "uid-rs" if resource == "rayservices" else "uid-x"
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of(resource)))
    await api.put(resource, name, namespace or None, metadata=dict(metadata), spec={"n": 2})
    await recording.until(lambda r: len(r.of(resource)) > 1)
    await make_ready(api)
    await recording.task
    versions = [one for one in recording.of(resource) if one["object"]["metadata"]["name"] == name]
    assert [one["object"]["spec"]["n"] for one in versions] == [1, 2]
    assert versions[0]["type"] == "LISTED"


@pytest.mark.parametrize("events", ["events", "events.events.k8s.io"])
@pytest.mark.parametrize("namespace", ["ml", "default"])
async def test_events_of_both_apis_are_listed_and_then_watched(api: FakeApi, events: str, namespace: str) -> None:
    """Events of both APIs are recorded in the RayService's namespace and in that of node events."""
    await deploy(api)
    about = {"kind": "RayService", "name": "llm", "uid": "uid-rs"}
    if namespace == "default":
        about = {"kind": "Node", "name": "n1", "uid": "n1"}
    involved = {"involvedObject" if events == "events" else "regarding": about}
    await api.put(events, "before", namespace, **involved)
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of(events)))
    await api.put(events, "after", namespace, **involved)
    await recording.until(lambda r: len(r.of(events)) > 1)
    await make_ready(api)
    await recording.task
    assert [one["object"]["metadata"]["name"] for one in recording.of(events)] == ["before", "after"]


async def test_a_late_event_is_still_taken(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are sent in the background: one that comes after the endpoint is in the trace."""
    monkeypatch.setattr(recorder, "LATE_CLUSTER_S", 20.0)
    api.version = {"simulated": {"clock": _fast_clock(10)}}
    await deploy(api)
    recording = Recording(api, limit_s=600)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await make_ready(api)
    await recording.until(lambda r: bool(r.marks("endpoint_ready_seen")))
    await api.put("events", "late", "ml", involvedObject={"kind": "RayService", "name": "llm", "uid": "uid-rs"})
    assert (await recording.task).outcome == "ready"
    assert [one["object"]["metadata"]["name"] for one in recording.of("events")] == ["late"]


async def test_without_any_event_the_objects_are_enough(api: FakeApi) -> None:
    """All events may be lost or forbidden: the recording still ends, and the trace names the gap."""
    await deploy(api)
    api.faults.append(Fault("/events", status=403, times=999))
    await make_ready(api)
    recording = Recording(api)
    assert (await recording.task).outcome == "ready"
    assert {mark["what"] for mark in recording.marks("not_recorded")} == {"events", "events.events.k8s.io"}


async def test_a_repeated_version_is_stored_once(api: FakeApi) -> None:
    """Repeated versions, and versions after newer ones of the same object, are not stored."""
    await deploy(api)
    pod = await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"))
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("pods")))
    newer = await api.put(
        "pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"), status={"phase": "Running"}
    )
    for again in (newer, pod, newer):
        await api.replay("MODIFIED", "pods", again)
    await api.put("nodes", "n1", None)
    await recording.until(lambda r: bool(r.of("nodes")))
    await make_ready(api)
    await recording.task
    assert [one["object"]["metadata"]["resourceVersion"] for one in recording.of("pods")] == [
        pod["metadata"]["resourceVersion"],
        newer["metadata"]["resourceVersion"],
    ]


@pytest.mark.parametrize("forgets", [False, True])
async def test_an_api_server_restart_is_survived(api: FakeApi, forgets: bool) -> None:
    """The API server is away for a while and returns, with or without its history. The last writes are in the trace
    once, the outage has a beginning and an end in it, and the trial ends ready.
    """
    await deploy(api)
    await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"))
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("pods")))
    await api.stop()
    # Written through another API server of the same cluster.
    await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"), status={"phase": "Running"})
    await api.put("pods", "llm-abc-w", "ml", metadata=owned_metadata(api, "pods"))
    await asyncio.sleep(0.6)
    if forgets:
        await api.compact()
    await api.start()
    await recording.until(lambda r: len(r.of("pods")) >= 3)
    await make_ready(api)
    assert (await recording.task).outcome == "ready"
    names = [one["object"]["metadata"]["name"] for one in recording.of("pods")]
    assert sorted(names) == ["llm-abc-head", "llm-abc-head", "llm-abc-w"]
    assert {one["type"] for one in recording.of("pods")} == {"LISTED"}
    for mark in ("watch_interrupted", "watch_resumed"):
        told = [one["resource"] for one in recording.marks(mark)]
        assert "pods" in told
    assert all(one["silent_s"] > 0.25 for one in recording.marks("watch_resumed") if one["resource"] == "pods")


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


async def test_old_foreign_nodes_are_recorded_once(api: FakeApi) -> None:
    """In a shared cluster hundreds of nodes report all the time. A node that is older than the RayService is followed
    only after it hosts a pod of the trial; a new one from its first version.
    """
    await deploy(api)
    for name in ("theirs", "host"):
        await api.put("nodes", name, None, n=1)
        api.objects["nodes", "", name]["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    recording = Recording(api)
    await recording.until(lambda r: len(r.of("nodes")) == 2)
    await api.put("pods", "llm-abc-w", "ml", metadata=owned_metadata(api, "pods"), spec={"nodeName": "host"})
    await recording.until(lambda r: bool(r.of("pods")))
    for name in ("theirs", "host", "new"):
        await api.put("nodes", name, None, n=2)
    await recording.until(lambda r: len(r.of("nodes")) >= 4)
    await make_ready(api)
    await recording.task
    assert [(one["object"]["metadata"]["name"], one["object"]["n"]) for one in recording.of("nodes")] == [
        ("host", 1),
        ("theirs", 1),
        ("host", 2),
        ("new", 2),
    ]


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


async def test_forbidden_nodes_are_missed_with_a_mark_and_forbidden_endpoints_fail(api: FakeApi) -> None:
    """Missing non-essential resources are marked in the trace; without endpoints there is nothing to wait for."""
    await deploy(api)
    await make_ready(api)
    api.faults.append(Fault("GET /api/v1/nodes", status=403, times=99))
    recording = Recording(api)
    assert (await recording.task).outcome == "ready"
    assert [mark["what"] for mark in recording.marks("not_recorded")] == ["nodes"]
    api.faults.append(Fault("endpointslices", status=403, times=99))
    with pytest.raises(ForbiddenError, match="endpointslices"):
        await Recording(api).task


async def test_serve_answers_are_kept_when_they_change(api: FakeApi) -> None:
    """Equal polls are stored once; a change contains the time of the last equal poll."""
    await deploy(api)
    polls = 0

    async def dashboard(request: web.Request) -> web.Response:
        nonlocal polls
        polls += 1
        apps = {"llm": {"status": "DEPLOYING" if polls < 4 else "RUNNING"}}
        return web.json_response({"applications": apps, "controller_health_metrics": {"timestamp": polls}})

    api.handlers["/api/v1/namespaces/ml/services/llm-abc-head-svc:dashboard/proxy/api/serve"] = dashboard
    api.version = {"simulated": {"clock": _fast_clock(10)}}
    recording = Recording(api, limit_s=600)
    await recording.until(lambda r: len(r.of("serve-rest")) == 2)
    await make_ready(api)
    await recording.task
    first, second = recording.of("serve-rest")[:2]
    assert first["object"] == {"applications": {"llm": {"status": "DEPLOYING"}}}
    assert first["service"] == "llm-abc-head-svc"
    assert "unchanged_until" not in first
    assert first["received_at"] < second["unchanged_until"] < second["received_at"]


def _fast_clock(speed: float) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"speed": speed, "wall_epoch": now.timestamp(), "virtual_epoch": now.isoformat()}


async def test_the_closing_collection_reads_rays_state(api: FakeApi) -> None:
    """Nodes, environments, Serve's logs of every node and the output of the workers with replicas are collected,
    without tokens.
    """
    await deploy(api)
    await make_ready(api)

    async def dashboard(request: web.Request) -> web.Response:
        path, query = request.path.rpartition("/proxy")[2], request.query
        if path == "/api/serve/applications/":
            replica = {"node_id": "b", "state": "RUNNING"}
            return web.json_response({"applications": {"llm": {"deployments": {"LLM": {"replicas": [replica]}}}}})
        if path == "/api/v0/nodes":
            nodes = [
                {"node_id": "a", "node_ip": "1", "state": "ALIVE"},
                {"node_id": "b", "node_ip": "2", "state": "ALIVE"},
            ]
            return web.json_response({"data": {"result": {"result": nodes}}})
        if path == "/api/v0/logs":
            names = {"serve/*": ["serve/controller_1.log", "serve/proxy_1.log"], "worker-*": ["worker-x.out"]}
            return web.json_response({"data": {"result": {"any": names[query["glob"]]}}})
        if path == "/api/v0/logs/file":
            return web.Response(text=f"log of {query['filename']} with hf_abcdefghijklmnopqrstuvwxyz")
        return web.json_response({})

    async def pod_log(request: web.Request) -> web.Response:
        return web.Response(text="2026-11-22T07:28:30.017042900Z GCS is ready.\n")

    api.handlers["/api/v1/namespaces/ml/services/llm-abc-head-svc:dashboard/proxy"] = dashboard
    await api.put(
        "pods", "llm-abc-w", "ml", status={"initContainerStatuses": [{"name": "wait-gcs-ready", "state": {}}]}
    )
    api.handlers["/api/v1/namespaces/ml/pods/llm-abc-w/log"] = pod_log
    recording = Recording(api)
    await recording.task
    assert [(one["node_ip"], one["filename"]) for one in recording.of("ray-log-file")] == [
        ("1", "serve/controller_1.log"),
        ("2", "serve/controller_1.log"),
        ("2", "worker-x.out"),
    ]
    assert recording.of("ray-log-file")[0]["object"] == "log of serve/controller_1.log with <redacted>"
    assert "GCS is ready" in recording.of("pod-log")[0]["object"]


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
