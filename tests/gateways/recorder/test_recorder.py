"""The recorder over real HTTP: how a recording ends, and what is read then."""

from datetime import timedelta

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, Fault
from recorder_builders import CHAT, Recording, completion, deploy, fast_clock, make_ready, serve

from airflow_llm_provisioning.exceptions import ForbiddenError


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
    api.version = {"simulated": {"clock": fast_clock(60)}}
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
    api.version = {"simulated": {"clock": fast_clock(60)}}
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
    api.version = {"simulated": {"clock": fast_clock(10)}}
    recording = Recording(api, limit_s=600)
    await recording.until(lambda r: len(r.of("serve-rest")) == 2)
    await make_ready(api)
    await recording.task
    first, second = recording.of("serve-rest")[:2]
    assert first["object"] == {"applications": {"llm": {"status": "DEPLOYING"}}}
    assert first["service"] == "llm-abc-head-svc"
    assert "unchanged_until" not in first
    assert first["received_at"] < second["unchanged_until"] < second["received_at"]


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
