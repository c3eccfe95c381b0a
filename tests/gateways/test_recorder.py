"""The recorder over real HTTP: recordings of real deployments played back, and what can go wrong meanwhile."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, Fault, fake_api

from airflow_llm_provisioning.core.trace import header_line
from airflow_llm_provisioning.exceptions import ForbiddenError, StoreError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
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
    """Chunks come often and a lost store is given up soon, so that tests are short."""
    monkeypatch.setattr(recording_lines, "FLUSH_S", 0.05)
    monkeypatch.setattr(recording_lines, "LAST_FLUSH_S", 0.4)
    monkeypatch.setattr(recording_lines, "LAST_PAUSE_S", 0.1)


class Recording:
    """One recording in the background and what its sink got."""

    def __init__(
        self,
        api: FakeApi,
        *,
        subject: dict[str, str] | None = None,
        completion: dict[str, Any] | None = None,
        limit_s: float = 20,
        refuse: Callable[[], bool] = lambda: False,
    ) -> None:
        self.lines: list[Any] = []
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
            )

    async def _sink(self, chunk: list[Any]) -> None:
        if self._refuse():
            raise OSError("the store is away")
        self.chunks += 1
        self.lines += chunk
        self._more.set()

    async def until(self, holds: Callable[["Recording"], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds(self):
                self._more.clear()
                await self._more.wait()

    def of(self, resource: str, kind: str | None = None) -> list[Any]:
        return [one for one in self.lines if one["resource"] == resource and kind in (None, one.get("type"))]

    def marks(self, name: str) -> list[Any]:
        return [one["object"] for one in self.of("trace", "MARK") if one["object"]["mark"] == name]


async def deploy(api: FakeApi) -> None:
    """Create a RayService with its RayCluster and head, as the operator would."""
    await api.put("rayservices", "llm", "ml")
    api.objects["rayservices", "ml", "llm"]["metadata"]["uid"] = "uid-rs"
    await api.put("rayclusters", "llm-abc", "ml", metadata={"ownerReferences": [{"uid": "uid-rs"}]})


async def make_ready(api: FakeApi, ready: bool = True) -> None:
    """Create the serve Service and its EndpointSlice, as KubeRay and the cluster would."""
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
    """Let the serve Service answer these in turn, the last one for ever; return when it was asked."""
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
    """The endpoint's receipt and the first valid answer are the outcome; flawed answers are marked, not believed."""
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
        "no text in it",
    ]
    assert recording.lines[0]["type"] == "HEADER"
    assert recording.lines[-1]["object"] == {"outcome": "ready", "reason": None}


async def test_the_ready_endpoint_is_acted_on_at_once(api: FakeApi) -> None:
    """Between the watch event and the first question to the model lie less than 250 ms."""
    await deploy(api)
    asked = serve(api, completion())
    recording = Recording(api, completion=CHAT)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await make_ready(api)
    outcome = await recording.task
    assert outcome.endpoint_ready_at is not None
    assert asked[0] - outcome.endpoint_ready_at < timedelta(milliseconds=250)


async def test_without_a_completion_a_ready_endpoint_is_enough(api: FakeApi) -> None:
    """Used alone on any RayService, the origin's finish line ends the wait."""
    await deploy(api)
    await make_ready(api)
    outcome = await Recording(api).task
    assert (outcome.outcome, outcome.first_completion_at) == ("ready", None)


async def test_another_services_endpoint_is_not_ours(api: FakeApi) -> None:
    """Ready endpoints of other Services, and of another RayService whose name begins the same, end nothing."""
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


async def test_time_over_says_where_the_deployment_stood(api: FakeApi) -> None:
    """A time-out names the last known state."""
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
    """Ready but mute is timed out, with the flaw and the instant of readiness."""
    await deploy(api)
    await make_ready(api)
    serve(api, web.Response(body=b"<html>", content_type="text/html"))
    outcome = await Recording(api, completion=CHAT, limit_s=0.7).task
    assert outcome.outcome == "timed_out"
    assert outcome.endpoint_ready_at is not None
    assert "an HTML page" in (outcome.reason or "")


async def test_a_failed_application_ends_it_with_its_words(api: FakeApi) -> None:
    """A DEPLOY_FAILED that stays ends the recording, after Ray's own account was collected."""
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


async def test_deletion_by_somebody_else_ends_it(api: FakeApi) -> None:
    """A RayService deleted under the wait ends the recording, also when the deletion itself was missed."""
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
    """Another uid under the same name is somebody else's."""
    await api.put("rayservices", "llm", "ml")
    outcome = await Recording(api).task
    assert outcome.outcome == "failed"


async def test_events_are_kept_by_uid_and_wait_for_their_objects(api: FakeApi) -> None:
    """An event that overtakes its pod is kept, one of an earlier RayService of the same name is not."""
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
    """Dropped watches, 410, 500 and resets all through a deployment: each version of each object is kept once."""
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


async def test_a_store_that_is_away_loses_no_line(api: FakeApi) -> None:
    """Chunks the sink refuses come again, in order, once."""
    await deploy(api)
    refusals = iter([True, True, True])
    recording = Recording(api, refuse=lambda: next(refusals, False))
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await make_ready(api)
    await recording.task
    assert [one["type"] for one in recording.of("trace") if one["type"] != "MARK"] == ["HEADER", "END"]
    assert len(recording.of("rayservices")) == 1


async def test_a_store_that_stays_away_is_said(api: FakeApi) -> None:
    """The last lines cannot be handed over: one sentence, not silence."""
    await deploy(api)
    await make_ready(api)
    with pytest.raises(StoreError, match="the store is away"):
        await Recording(api, refuse=lambda: True).task


async def test_a_cancelled_recording_hands_over_what_it_has(api: FakeApi) -> None:
    """A triggerer that shuts down loses no line, and the trace has no END, so a restarted recording continues it."""
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
    """What is not essential is missing from the trace, with a mark; without endpoints there is nothing to wait for."""
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
    """Polls that say the same are kept once; a change says until when the old answer was seen."""
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


async def test_the_closing_collection_reads_rays_own_account(api: FakeApi) -> None:
    """Nodes, environments, Serve's logs of every node, the output of the workers with replicas; without tokens."""
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


def played(shared_folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the watch lines of a recording from its RayService's creation to the end of its wait."""
    with gzip.open(shared_folder / "traces" / f"{name}.jsonl.gz", "rt") as file:
        recorded = [json.loads(one) for one in file]
    return [one for one in recorded if one.get("type") in ("LISTED", "ADDED", "MODIFIED", "DELETED")]


@pytest.mark.parametrize("name", ["static", "node-late", "dynamic"])
async def test_a_real_deployment_is_recorded_whole(api: FakeApi, shared_folder: Path, name: str) -> None:
    """Played from a recording, every version of every object that concerns the trial is kept, and it ends ready."""
    recorded = played(shared_folder, name)
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
    assert {version for version in missing if version[0] != "events"} == set()


def _versions(lines: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (one["resource"], one["object"]["metadata"]["name"], one["object"]["metadata"]["resourceVersion"])
        for one in lines
        if one.get("type") in ("LISTED", "ADDED", "MODIFIED", "DELETED")
    }
