"""A trial as spans: put together again it is the trial, and what did not decide delays nothing until it does."""

import pytest
from start_builders import SPANS, a_deployment
from trial_builders import a_result

from airflow_llm_provisioning.core.result import PhaseResult
from airflow_llm_provisioning.core.what_if import MeasuredStart, measured_start
from airflow_llm_provisioning.core.what_if.starts import Early


def start(**changes: float | None) -> MeasuredStart:
    found = measured_start(a_deployment("one", {name.replace("__", "."): s for name, s in changes.items()}))
    assert found is not None
    return found


def test_spans_put_together_are_the_total() -> None:
    """With the very spans of the trial."""
    one = start()
    assert one.total_of(one.spans) == pytest.approx(one.total_s)
    assert one.rest_s == pytest.approx(0)
    assert one.seconds()["worker_image_pull"] == SPANS["worker.pull_finished"]


def test_what_runs_beside_the_path_delays_only_when_it_decides() -> None:
    """The worker's pull is hidden behind the head's environment until it takes long enough."""
    one = start()
    beside = one.total_of({**one.spans, "worker.pull_finished": 160.0})
    decides = one.total_of({**one.spans, "worker.pull_finished": 400.0})
    assert beside == pytest.approx(one.total_s)
    assert decides > one.total_s


NODE = frozenset({"worker.node_created", "worker.node_ready"})
PULLED = "worker.pull_finished"
# From the submission to the worker's pod: head, environment, application, autoscaler.
LEAD_S = sum(
    SPANS[name]
    for name in (
        *("raycluster_created", "head.pod_created", "head.node_created", "head.node_ready", "head.scheduled"),
        *("head.pull_started", "head.pull_finished", "head.container_started", "head.ray_started", "head.ready"),
        *("serve_config_sent", "head.runtime_env_ready", "app_built", "replica_requested"),
    )
)


@pytest.mark.parametrize(
    ("node_s", "pull_s", "lost", "left_s"),
    [
        (100.0, 150.0, True, 0.0),
        (100.0, LEAD_S, False, 100.0),
        (100.0, LEAD_S, True, LEAD_S),
        (LEAD_S + 40.0, 150.0, False, 40.0 + 150.0),
    ],
    ids=["both are there", "the pull goes on", "the pull begins again", "the node comes after the worker"],
)
def test_a_node_and_a_pull_that_begin_with_the_submission_leave_what_the_lead_does_not_cover(
    node_s: float, pull_s: float, lost: bool, left_s: float
) -> None:
    """In a dynamic start the worker comes when head and application are up."""
    one = start(worker_asked=0.0, worker__scheduled=0.0)
    spans = {**one.spans, "worker.node_created": node_s, "worker.node_ready": 0.0, PULLED: pull_s}
    none = {**spans, "worker.node_created": 0.0, PULLED: 0.0}
    early = one.total_of(spans, Early(NODE | {PULLED}, PULLED, lost))
    assert early == pytest.approx(one.total_of(none) + left_s)
    assert early < one.total_of(spans)


def test_a_phase_that_did_not_occur_has_a_place() -> None:
    """What would have waited for it waits for what takes its place."""
    one = start(worker__pull_started=None, worker__pull_finished=None)
    assert one.span_of("worker_image_pull") is None
    assert one.place_for("worker_image_pull") == "worker.init_started"
    assert start(head__runtime_env_ready=None).place_for("head_runtime_env") == "app_built"


def test_phases_that_were_not_told_apart_are_one_span() -> None:
    """Of one pod and of the other; a phase that has its own milestone is no part of it."""
    trial = a_deployment("one", {"weights_downloaded": None})
    phases = [
        PhaseResult("weight_download+model_load" if p.name == "model_load" else p.name, p.duration_s, 0, 0)
        for p in trial.phases
    ]
    joined = measured_start(a_deployment("two", {"weights_downloaded": None}, phases=tuple(phases)))
    assert joined is not None
    assert joined.span_of("weight_download") == joined.span_of("model_load") == "model_loaded"
    assert start().names["model_loaded"] == ("model_load",)


def test_a_trial_without_a_whole_path_is_no_start() -> None:
    """Neither without milestones nor without a total."""
    assert measured_start(a_result("none")) is None
    assert measured_start(a_deployment("one", total_s=None)) is None
