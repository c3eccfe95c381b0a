"""The four recordings of real deployments: milestones, phases, readiness and verdicts agree with their README."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_llm_provisioning.core.image_arrival import image_arrival
from airflow_llm_provisioning.core.readiness import Readiness
from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse_trace
from airflow_llm_provisioning.core.timing.milestones import PHASES
from airflow_llm_provisioning.core.trace import TraceView, decode_trace, encode_chunk, redact

# Seconds after the first watch line of the RayService, from section 4 of the recordings' README. `init_finished` and
# `gpu_allocatable` are receipts there; receipts are milliseconds later than the server's instants.
TABLE = {
    "static": {
        "head.pod_created": 2.16, "head.scheduled": 2.19, "head.pull_started": 2.77, "head.pull_finished": 19.99,
        "head.container_started": 20.18, "head.ready": 31.91, "serve_config_sent": 35.31, "replica_requested": 36.99,
        "worker.pod_created": 2.17, "worker.scheduled": 2.19, "worker.pull_started": 2.76,
        "worker.pull_finished": 20.19, "worker.init_started": 20.32, "worker.container_started": 28.72,
        "replica_initialising": 38.55, "weights_downloaded": 41.55, "model_loaded": 46.55, "app_running": 46.97,
        "serve_service_created": 47.59, "rayservice_ready": 47.83, "worker.ready": 50.46,
    },
    "node-late": {
        "head.pod_created": 2.06, "head.container_started": 2.55, "head.ready": 14.39, "serve_config_sent": 16.53,
        "replica_requested": 17.81, "worker.pod_created": 2.07, "worker.node_created": 20.28,
        "worker.node_ready": 20.53, "worker.gpu_allocatable": 30.72, "worker.scheduled": 30.72,
        "worker.pull_started": 31.33, "worker.pull_finished": 43.45, "worker.init_started": 43.56,
        "worker.container_started": 52.30, "replica_initialising": 57.56, "weights_downloaded": 60.56,
        "model_loaded": 65.56, "app_running": 66.47, "serve_service_created": 67.42, "rayservice_ready": 67.49,
    },
    "dynamic": {
        "head.pod_created": 2.11, "head.container_started": 2.63, "head.ready": 13.76, "serve_config_sent": 16.19,
        "replica_requested": 17.48, "worker_asked": 21.95, "worker.pod_created": 21.96, "worker.scheduled": 21.97,
        "worker.init_started": 22.47, "worker.container_started": 30.57, "replica_initialising": 35.32,
        "weights_downloaded": 38.33, "model_loaded": 43.33, "app_running": 43.79, "serve_service_created": 45.67,
        "rayservice_ready": 45.80,
    },
    "failed": {
        "head.pod_created": 2.05, "head.scheduled": 2.05, "head.container_started": 2.51, "head.ready": 13.82,
        "serve_config_sent": 15.53,
    },
}  # fmt: skip
READY = {"static": 47.62, "node-late": 67.43, "dynamic": 45.71}
# The README prints hundredths.
ROUNDING = timedelta(seconds=0.011)


@pytest.fixture(scope="module")
def recordings(recordings_folder: Path) -> dict[str, bytes]:
    return {name: (recordings_folder / f"{name}.jsonl.gz").read_bytes() for name in TABLE}


@pytest.fixture(scope="module")
def analyses(recordings: dict[str, bytes]) -> dict[str, Analysis]:
    return {name: analyse_trace(data) for name, data in recordings.items()}


@pytest.mark.parametrize("name", TABLE)
def test_milestones_of_the_table_lie_within_their_bounds(name: str, analyses: dict[str, Analysis]) -> None:
    """Every instant in the README is between the bounds, and the likeliest point is within a tenth of a second."""
    analysis = analyses[name]
    submitted = analysis.milestone("submitted")
    assert submitted is not None
    first_seen = submitted.latest_at
    for milestone_name, after_s in TABLE[name].items():
        milestone = analysis.milestone(milestone_name)
        assert milestone is not None, milestone_name
        told = first_seen + timedelta(seconds=after_s)
        assert milestone.earliest_at - ROUNDING <= told <= milestone.latest_at + ROUNDING, milestone
        assert abs(milestone.at - told) <= timedelta(seconds=0.1), milestone


@pytest.mark.parametrize("name", READY)
def test_phases_of_a_recording_sum_to_its_total(name: str, analyses: dict[str, Analysis]) -> None:
    """The partition is exact, ordered, has known names, and ends at the ready endpoint."""
    analysis = analyses[name]
    assert analysis.outcome == "ready"
    assert analysis.total_s == pytest.approx(READY[name], abs=0.02)
    assert sum(phase.duration_us for phase in analysis.phases) == analysis.total_us
    assert all(phase.duration_us >= 0 for phase in analysis.phases)
    names = [part for phase in analysis.phases for part in phase.name.split("+")]
    assert set(names) <= set(PHASES)
    assert names == sorted(names, key=PHASES.index)
    assert all(a.end == b.start for a, b in zip(analysis.phases, analysis.phases[1:], strict=False))


def test_a_late_node_decides_by_its_gpu(analyses: dict[str, Analysis]) -> None:
    """With a late node the path contains the worker's node, pull and init container, and not the head."""
    phases = {phase.name: phase for phase in analyses["node-late"].phases}
    assert phases["worker_gpu_setup"].duration_s == pytest.approx(10.18, abs=0.05)
    assert phases["worker_image_pull"].shortest_s <= 12.122 <= phases["worker_image_pull"].longest_s
    assert phases["worker_image_pull"].duration_s == pytest.approx(12.12, abs=0.05)
    # The trace has no request of the node, so request and boot cannot be separated.
    assert "worker_node_request+worker_node_boot" in phases
    assert not any(name.startswith("head_") for name in phases)


def test_a_dynamic_deployment_waits_for_head_then_autoscaler(analyses: dict[str, Analysis]) -> None:
    """With workers from zero the head's start precedes the worker's on the same path."""
    names = [phase.name for phase in analyses["dynamic"].phases]
    assert analyses["dynamic"].setup == "dynamic"
    assert names.index("head_readiness") < names.index("ray_autoscaling") < names.index("worker_wait_gcs")
    # The image was present, so there is no pull.
    assert not any("pull" in name for name in names)


def test_stamps_of_one_log_give_narrow_phases(analyses: dict[str, Analysis]) -> None:
    """Two lines of one log differ by exactly the time between them, independent of that clock's offset."""
    download = next(phase for phase in analyses["static"].phases if phase.name == "weight_download")
    assert download.shortest_s >= 2.99
    assert download.longest_s <= 3.01


def test_a_failed_deployment_has_no_total_and_says_why(recordings: dict[str, bytes]) -> None:
    """DEPLOY_FAILED ends the wait after the grace period with the exception as reason; the analysis has no total."""
    judge = Readiness("llm-model-serve", "serving", graces={"deploy_failed": 5})
    for line in decode_trace(recordings["failed"]).lines:
        judge.feed(line)
    assert judge.state == "failed"
    assert judge.reason is not None
    assert "ModuleNotFoundError" in judge.reason
    assert "\x1b" not in judge.reason
    analysis = analyse_trace(recordings["failed"])
    assert (analysis.outcome, analysis.total_s, analysis.phases) == ("failed", None, ())
    assert "ModuleNotFoundError" in str(analysis.reason)


@pytest.mark.parametrize("name", READY)
def test_readiness_begins_with_the_endpoint_and_not_before(name: str, recordings: dict[str, bytes]) -> None:
    """The state changes with the line of the first ready endpoint of the serve Service."""
    judge = Readiness("llm-model-serve", "serving")
    lines = decode_trace(recordings[name]).lines
    turned = next(line for line in lines if judge.feed(line) != "pending")
    assert judge.state == "endpoint_ready"
    assert turned["resource"] == "endpointslices"
    assert turned["object"]["metadata"]["labels"]["kubernetes.io/service-name"] == "llm-model-serve-serve-svc"


def test_images_arrive_as_recorded(recordings: dict[str, bytes]) -> None:
    """The worker's pull is its init container's, with the kubelet's figures; a present image is not pulled."""
    static = TraceView(decode_trace(recordings["static"]).lines)
    arrival = image_arrival(static, static.worker)
    assert (arrival.delivered, arrival.pull_s, arrival.size_bytes) == ("pulled", 17.427, 160024299)
    dynamic = TraceView(decode_trace(recordings["dynamic"]).lines)
    assert image_arrival(dynamic, dynamic.worker).delivered == "present"


def test_nodes_that_were_there_make_a_start_warm(analyses: dict[str, Analysis]) -> None:
    """All recordings ran on an existing head node, so none may count as cold."""
    assert {analysis.start for name, analysis in analyses.items() if name != "failed"} == {"warm"}


@pytest.mark.parametrize("name", TABLE)
def test_a_redacted_trace_gives_the_same_numbers(
    name: str, recordings: dict[str, bytes], analyses: dict[str, Analysis]
) -> None:
    """The measurement needs none of the dropped values; stored in chunks the numbers are the same."""
    lines = [
        {**line, "object": redact(line["resource"], line["object"])} for line in decode_trace(recordings[name]).lines
    ]
    chunks = [encode_chunk(lines[start : start + 50]) for start in range(0, len(lines), 50)]
    again = analyse_trace(chunks)
    assert json.dumps(again.as_dict()) == json.dumps(analyses[name].as_dict())
    assert b"last-applied" not in b"".join(json.dumps(line).encode() for line in lines)


@pytest.mark.parametrize("name", TABLE)
def test_a_recording_cut_anywhere_gives_a_stated_outcome(name: str, recordings: dict[str, bytes]) -> None:
    """A recording that ends early is analysed without an error, and is ready only if it contains the endpoint."""
    data = recordings[name]
    for part in (50, 5, 2):
        analysis = analyse_trace(data[: len(data) // part])
        assert analysis.outcome in ("ready", "unfinished", "unreadable")
        assert (analysis.outcome == "ready") == (analysis.total_us is not None)
        assert any(flag.kind in ("cut", "unreadable") for flag in analysis.flags)
