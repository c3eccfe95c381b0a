"""A trial as spans: put together again it is the trial, and what did not decide delays nothing until it does."""

import pytest
from start_builders import SPANS, a_deployment
from trial_builders import a_result

from airflow_llm_provisioning.core.result import PhaseResult
from airflow_llm_provisioning.core.what_if import MeasuredStart, measured_start


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
