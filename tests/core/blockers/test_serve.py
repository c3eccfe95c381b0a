"""A failed deployment names the exception of its deployment, and where that points elsewhere, the engine's own."""

import time
from typing import Any

import pytest
from blocker_lines import HOUR_S, WORKER, at, blocked, ended, judged, line, pod, ready_head, running, service

from airflow_llm_provisioning.core.blockers.tracebacks import failure_of, root_error_of
from airflow_llm_provisioning.gateways.recording.progress import Progress

# Ray 2.49 and vLLM 0.10, from public reports: ray 59265, vllm 17979.
CONSTRUCTOR = (
    "The deployment failed to start 3 times in a row. See controller logs for details. Error:\n"
    "\x1b[36mray::ServeReplica:llm_app:LLMServer:m.initialize_and_get_metadata()\x1b[39m (pid=316, ip=10.0.0.9)\n"
    '  File ".../vllm/v1/engine/utils.py", line 785, in wait_for_engine_startup\n'
)
CACHE = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`."
POINTS = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
GENERIC = "Failed to update the deployments ['LLMServer:m']."


def applications(message: str, status: str = "DEPLOY_FAILED", level: str = "serveDeploymentStatuses") -> dict[str, Any]:
    deployments = {"LLMServer:m": {"status": status, "message": message}, "Router": {"status": "HEALTHY"}}
    return {"llm_app": {"status": status, "message": GENERIC, level: deployments}}


def answer(second: float, told: dict[str, Any]) -> dict[str, Any]:
    return line(second, "serve-rest", {"applications": told}, None, service="a-x1-head-svc", status_code=200)


@pytest.mark.parametrize("by", ["status", "rest"])
def test_the_exception_of_the_deployment_is_the_reason(by: str) -> None:
    """It stands one level below the application, in the RayService's status and in Serve's answer."""
    if by == "status":
        lines = [service(20, applications(CONSTRUCTOR + CACHE))]
    else:
        lines = [service(10), answer(20, applications(CONSTRUCTOR + CACHE, level="deployments"))]
    assert judged(ready_head(), *lines, until_s=45).state == "pending"
    found = judged(ready_head(), *lines, until_s=HOUR_S)
    assert found.state == "failed"
    for part in ("'llm_app' failed to deploy", "'LLMServer:m'", CACHE.rstrip("."), "Lower max_model_len"):
        assert part in str(found.reason)
    assert "\x1b" not in str(found.reason)


def test_a_retry_clears_a_failure_and_a_missing_status_does_not() -> None:
    """Only another state of the application ends the failure; its messages end with it."""
    failed = service(20, applications(CONSTRUCTOR + CACHE))
    assert judged(failed, service(30, {}), until_s=HOUR_S).state == "failed"
    retried = service(30, {"llm_app": {"status": "DEPLOYING", "message": ""}})
    assert judged(failed, retried, until_s=HOUR_S).state == "pending"
    assert blocked(failed, retried) == []


def test_a_replica_that_fails_and_is_tried_again_is_named_before_the_end() -> None:
    """Serve says so in the deployment's message while the application is still DEPLOYING."""
    message = f"A replica failed to start with exception. Retrying 2 more time(s). Error:\n{CACHE}"
    (found,) = blocked(service(20, applications(message, status="UPDATING")))
    assert (found.kind, found.passes) == ("replica_retries", True)
    assert "LLMServer:m" in found.about
    assert CACHE in found.sentence


def test_a_replica_that_died_with_its_container_is_told_with_the_container() -> None:
    """Serve only knows that the actor died; the pod knows why, also where its container runs again."""
    died = "Error:\nray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task."
    end = {"reason": "OOMKilled", "exitCode": 137}
    lines = pod(10, ended("OOMKilled", 137)), pod(12, running(restarts=1, ready=True, last=end))
    found = judged(ready_head(), *lines, service(20, applications(died)), until_s=HOUR_S)
    assert "ActorDiedError" in str(found.reason)
    assert f"Pod n/{WORKER}, container ray-worker: OOMKilled" in str(found.reason)
    assert "memory limit" in str(found.reason)


LOG = """\
INFO 11-29 15:00:00 [core.py:58] Initializing a V1 LLM engine
(EngineCore_DP0 pid=274) ERROR 11-29 15:00:09 [core.py:712] EngineCore failed to start.
(EngineCore_DP0 pid=274) ERROR 11-29 15:00:09 [core.py:712] Traceback (most recent call last):
(EngineCore_DP0 pid=274) ERROR 11-29 15:00:09 [core.py:712]   File "/x/core.py", line 703, in run_engine_core
(EngineCore_DP0 pid=274) ERROR 11-29 15:00:09 [core.py:712] {error}
(EngineCore_DP0 pid=274) Process EngineCore_DP0:
Traceback (most recent call last):
  File "/x/llm.py", line 1, in <module>
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""


@pytest.mark.parametrize(
    "error",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 7.00 GiB.",
        CACHE,
        "OSError: You are trying to access a gated repo.",
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
        "huggingface_hub.errors.GatedRepoError: 403 Client Error.",
    ],
)
def test_the_engines_own_last_error_completes_a_reason_that_points_elsewhere(error: str) -> None:
    """The log of the worker process is read after the end; it adds the cause to the reason, with what to do."""
    progress = Progress("n", "a", "rs")
    failed = service(20, applications(CONSTRUCTOR + POINTS))
    progress.take(failed, at(20))
    progress.note(line(70, "ray-log-file", LOG.format(error=error), None, filename="worker-1-01000000-9.out"))
    told = progress.with_cause("Serve application 'llm_app' failed to deploy.")
    assert f"The engine's own last error (worker-1-01000000-9.out): {error}" in told
    assert progress.with_cause(told) == told


def test_a_line_without_end_is_read_quickly() -> None:
    """A log is foreign input: the patterns must not look at a megabyte a million times."""
    begun = time.process_time()
    assert root_error_of("A" + "Error" * 200_000) == ""
    assert failure_of("A" + "Error" * 200_000)
    assert time.process_time() - begun < 2


def test_a_message_without_an_exception_is_told_with_its_beginning_and_end() -> None:
    """Ray's environment set-up fails with the output of pip."""
    message = "Deploying app 'a' failed with exception:\nFailed to set up runtime environment.\n" + "x\n" * 400 + "^)"
    told = failure_of(message)
    assert "Failed to set up runtime environment." in told
    assert told.endswith("x ^)")
    assert len(told) < 520


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("ERROR 11-29 15:00:09 core.py:390] ValueError: old prefix", "ValueError: old prefix"),
        ("ERROR 2026-05-04 12:00:00,123 llm_LLM abc -- OSError: in Serve's file", "OSError: in Serve's file"),
        ("pydantic_core._pydantic_core.ValidationError: 1 error for ModelConfig\n  Value error, no such dtype",
         "pydantic_core._pydantic_core.ValidationError: 1 error for ModelConfig Value error, no such dtype"),
        ("ERROR 11-29 15:00:09 [core.py:1] the device is lost", "the device is lost"),
        ("WARNING 11-29 15:00:09 [a.py:1] ModuleNotFoundError: No module named 'flash_attn'", ""),
        ("INFO 11-29 15:00:09 [a.py:1] Error handling is on", ""),
        ("[11/29/2026-15:00:09] [TRT-LLM] [E] Failed to parse the arguments", "Failed to parse the arguments"),
        ("[11/29/2026-15:00:09] [TRT-LLM] [W] Failed to parse", ""),
        ("[TensorRT-LLM][ERROR] Engine was built for SM 8.9, but running on SM 7.0",
         "Engine was built for SM 8.9, but running on SM 7.0"),
        (POINTS, ""),
    ],
)  # fmt: skip
def test_a_root_error_is_an_exception_or_an_error_line_that_names_a_cause(log: str, error: str) -> None:
    """Lines of several dialects; warnings and exceptions that only point elsewhere are no cause."""
    assert root_error_of(log) == error
