"""Recordings without an END line state the failure that they contain, in the cluster's words."""

from pathlib import Path

import pytest

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse, analyse_trace
from airflow_llm_provisioning.core.trace import decode_trace, header_line
from airflow_llm_provisioning.core.trace.view import TraceView

RECORDINGS = Path(__file__).parents[2] / "recordings" / "2026-11-29"


def analysed(name: str) -> Analysis:
    return analyse_trace((RECORDINGS / f"{name}.jsonl.gz").read_bytes())


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("llm-replica-crash", ("'llm' failed to deploy", "deployment 'LLM'", "CUDA error: no kernel image")),
        ("llm-import-error", ("'llm' failed to deploy", "ModuleNotFoundError: No module named 'vllm_not_installed'")),
        ("llm-oom", ("-gpu-group-worker-lzfgl, container ray-worker", "OOMKilled", "4 times", "memory limit")),
        ("llm-head-crash2", ("-head-xkx8g, container ray-head", "StartError", "/bin/bash: no such file", "command")),
    ],
)
def test_a_failure_that_cannot_pass_is_the_outcome(name: str, parts: tuple[str, ...]) -> None:
    """The recording was cut when the RayService was deleted; what blocked it then is why it was never ready."""
    found = analysed(name)
    assert (found.outcome, found.total_s) == ("failed", None)
    for part in parts:
        assert part in str(found.reason)


def test_a_pod_without_a_node_is_named_and_no_failure() -> None:
    """It could still have got a node; the reason names the pod and what the scheduler said for most of the time."""
    found = analysed("llm-unsched")
    assert found.outcome == "unfinished"
    for part in ("was deleted before", "-gpu-group-worker-cfvf4: FailedScheduling", "1 Insufficient cpu"):
        assert part in str(found.reason)


def test_what_became_ready_is_ready() -> None:
    """An upgrade that followed, and a deletion, change nothing about it; what was deleted early is not called ready."""
    assert (analysed("llm-twice").outcome, analysed("llm-twice").blocked) == ("ready", None)
    assert analysed("llm-ownerdel").outcome == "unfinished"
    # What its export says: the operator died at the teardown, which takes nothing from the measured start.
    closed = analysed("trial-operator-dead-at-close")
    assert (closed.outcome, closed.total_s, closed.blocked) == ("ready", pytest.approx(95.235, abs=0.001), None)


def test_a_recording_of_ours_that_was_cut_off_names_what_blocked_last() -> None:
    """A killed recorder writes no END line. How the trial ended stays unknown, and what was in its way is told."""
    lines = decode_trace((RECORDINGS / "llm-oom.jsonl.gz").read_bytes()).lines
    service = TraceView(lines).rayservice
    assert service is not None
    header = header_line(
        service.versions[0].received_at, origin="measured", namespace="serving", name=service.name, uid=service.uid
    )
    found = analyse([header, *lines])
    assert found.outcome == "unfinished"
    assert "without an END line" in str(found.reason)
    assert "OOMKilled" in str(found.reason)


def test_replay_prints_the_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    """The command states it in its third line."""
    assert main(["replay", str(RECORDINGS / "llm-oom.jsonl.gz")]) == 0
    told = capsys.readouterr().out.splitlines()[2]
    assert told.startswith("OUTCOME   failed: Pod serving/llm-oom-")
