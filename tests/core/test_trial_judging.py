"""A trial's identity, and how its row says it ended."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proof.generated import generate
from trial_builders import OPENED_AT, a_planned_trial

from airflow_llm_provisioning.core.judging import judge_trace, trial_row
from airflow_llm_provisioning.core.names import LABEL_TRIAL, read_expiry, trial_labels
from airflow_llm_provisioning.core.replay import replay, trace_bytes
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.trace import encode_chunk, end_line
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import TraceError
from airflow_llm_provisioning.trials.open import refused

AT = datetime(2026, 5, 4, 15, tzinfo=UTC)


def plan(run_id: str = "run-1", **fields: Any) -> Trial:
    return a_planned_trial(**{"run_id": run_id, "cluster": "c", "number": 3, "seed": 9, "target": "plain", **fields})


def row(
    chunks: list[bytes], *, outcomes: tuple[tuple[str, str], ...] = (), wait_state: str | None = None
) -> TrialResult:
    noted = [{"step": step, "status": "failed", "reason": reason} for step, reason in outcomes]
    return trial_row(plan(), judge_trace(chunks, []), outcomes=noted, wait_state=wait_state, closed_at=AT)


def trace(outcome: str | None, reason: str | None = None) -> list[bytes]:
    lines = [line for line in generate(1).lines if line.get("type") != "END"]
    return [encode_chunk([*lines, end_line(AT, outcome, reason)] if outcome else lines)]  # type: ignore[arg-type]


def test_the_same_slot_of_a_run_is_the_same_trial() -> None:
    """It is found again after a crash; other slots, clusters and runs have other ids."""
    assert plan() == plan()
    ids = [plan().trial_id, plan(number=4).trial_id, plan(cluster="x").trial_id, plan("run-2").trial_id]
    assert len(set(ids)) == 4


def test_a_rerun_of_a_slot_is_numbered() -> None:
    """The first row keeps its name; slot 3 is not an earlier run of slot 30."""
    first, again = plan(), plan().attempted(1)
    assert (first.trial_id, again.trial_id) == (first.slot.slot_id, f"{first.slot.slot_id}.2")
    assert again.slot.is_attempt(first.trial_id)
    assert first.slot.is_attempt(again.trial_id)
    assert not plan(number=3).slot.is_attempt(plan(number=30).trial_id)
    assert again.slot.lock_holder == first.slot.lock_holder


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_labels_of_any_trial_are_valid(trial_id: str, target: str) -> None:
    """63 characters, begin and end with a letter or digit, for any names that the user chose."""
    for value in trial_labels(trial_id, target, AT).values():
        assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", value)


def test_long_names_stay_apart() -> None:
    """What is shortened is told apart by a hash."""
    one, other = ("x" * 80 + end for end in ("a", "b"))
    assert trial_labels(one, "t", AT)[LABEL_TRIAL] != trial_labels(other, "t", AT)[LABEL_TRIAL]


def test_a_trial_expires_after_its_limit_and_the_time_to_clean_up() -> None:
    """Not before: the reaper must leave a running trial alone; the label reads back."""
    expires_at = plan().expires_at(AT)
    assert expires_at == AT + timedelta(hours=3)
    assert read_expiry(trial_labels("t", "t", expires_at)["llm-provisioning/expires"]) == expires_at


def test_a_refused_trial_is_a_failed_row() -> None:
    """Everything that was planned is in it; nothing is invented."""
    made = refused(plan(), "unknown", AT, "why")
    assert (made.status, made.reason, made.origin, made.total_s) == (TrialStatus.FAILED, "why", "unknown", None)
    assert (made.trial.target, made.trial.slot, made.trial.arm.variant) == ("plain", plan().slot, "baseline")
    assert (made.applied, made.start) == ("unknown", "unknown")
    assert not made.comparable


def test_a_ready_trace_is_a_succeeded_row_whose_phases_sum_to_its_total() -> None:
    """What the trace says counts, also where a task's state or an earlier note says otherwise."""
    made = row(trace("ready"), outcomes=(("apply", "first try failed"),), wait_state="failed")
    assert (made.status, made.reason) == (TrialStatus.SUCCEEDED, None)
    assert made.total_s == pytest.approx(sum(phase.duration_s for phase in made.phases))
    assert made.applied == "none"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("failed", TrialStatus.FAILED), ("aborted", TrialStatus.ABORTED)],
)
def test_the_traces_end_is_the_rows_status(outcome: str, status: TrialStatus) -> None:
    """With its reason."""
    made = row(trace(outcome, "because"))
    assert (made.status, made.reason) == (status, "because")


def test_a_row_does_not_say_both_no_endpoint_and_when_it_was_ready() -> None:
    """A wait ended at its limit, and its recording holds the endpoint: the reason says just that."""
    made = row(trace("timed_out", "not ready"))
    assert made.status is TrialStatus.TIMED_OUT
    assert made.reason is not None
    assert "had not seen the endpoint, which the recording contains" in made.reason


@pytest.mark.parametrize(
    ("outcomes", "wait_state", "status", "words"),
    [
        ((("apply", "forbidden"),), "upstream_failed", TrialStatus.FAILED, "apply: forbidden"),
        ((("apply", "first"), ("wait", "later")), "failed", TrialStatus.FAILED, "wait: later"),
        ((), "failed", TrialStatus.ABORTED, "ended from outside (task state failed)"),
        ((), "skipped", TrialStatus.ABORTED, "ended from outside"),
        ((), "success", TrialStatus.ABORTED, "ended from outside"),
        ((), "upstream_failed", TrialStatus.FAILED, "No trace was recorded"),
        ((), None, TrialStatus.FAILED, "No trace was recorded"),
    ],
)
def test_without_a_trace_the_steps_and_then_airflow_are_asked(
    outcomes: tuple[tuple[str, str], ...], wait_state: str | None, status: TrialStatus, words: str
) -> None:
    """A step's own note first; a wait that ended without one was ended from outside."""
    made = row([], outcomes=outcomes, wait_state=wait_state)
    assert made.status is status
    assert words in str(made.reason)
    assert made.total_s is None
    assert [flag.partition(":")[0] for flag in made.flags] == ["no_trace"]


def test_a_trace_that_stops_is_no_success() -> None:
    """The recorder was killed: even when the endpoint had become ready, it was not recorded."""
    made = row(trace(None), wait_state="failed")
    assert made.status is TrialStatus.ABORTED


def test_a_ready_end_without_a_total_is_a_failure() -> None:
    """A number that cannot be told is not a result."""
    lines = [line for line in generate(1).lines if line["resource"] != "endpointslices"]
    kept = [line for line in lines if line.get("type") != "END"]
    made = row([encode_chunk([*kept, end_line(AT, "ready")])])
    assert (made.status, made.total_s) == (TrialStatus.FAILED, None)
    assert "its total cannot be told" in str(made.reason)


def test_no_trace_makes_every_treatment_unknown() -> None:
    """Unknown is not applied."""
    assert judge_trace([], ["fast_download", "bake_packages"]).applied == "unknown"
    assert judge_trace([b"nonsense"], ["fast_download"]).applied == "unknown"
    assert judge_trace([], []).applied == "none"


def test_the_summary_is_flat_json() -> None:
    """What XCom carries: no nested values, instants as text."""
    import json

    made = row(trace("ready"))
    summary = json.loads(json.dumps(made.summary()))
    assert not [key for key, value in summary.items() if isinstance(value, (dict, list))]
    assert summary["status"] == "succeeded"
    assert datetime.fromisoformat(summary["opened_at"]) == OPENED_AT


def test_a_replay_is_the_same_text_every_time() -> None:
    """From the chunks as stored, or from one file."""
    lines = generate(3).lines
    chunks = [encode_chunk(lines[:40]), encode_chunk(lines[40:])]
    whole = trace_bytes("t", chunks)
    assert replay(whole) == replay(encode_chunk(lines))
    with pytest.raises(TraceError, match="no stored trace named 't'"):
        trace_bytes("t", [])


@pytest.mark.parametrize(
    ("altered", "claim"),
    [
        ({"served": {"image": "somebodys:latest"}}, "variant_image"),
        ({"served": {"model": {"revision": "main"}}}, "inputs_pinned"),
    ],
)
def test_a_trial_that_is_not_the_planned_one_is_objected_to(altered: dict[str, Any], claim: str) -> None:
    """Also a baseline, which has no treatment that could say no; what is planned stands in the trace's header."""
    lines = generate(1).lines
    (ran,) = {line["object"]["spec"]["containers"][0]["image"] for line in lines if line["resource"] == "pods"}
    plain = {"image": ran, "recipe": {"base": ran, "pip": []}}
    served = {**plain, "images": [ran], **altered["served"]}

    def judged(served: dict[str, Any]) -> Any:
        lines[0]["object"]["trial"] = {"arm": {"treatments": []}, "served": served, "opened": {"prepared": {}}}
        return judge_trace([encode_chunk(lines)], [])

    assert judged(plain).applied == "none"
    found = judged(served)
    assert found.applied == "not applied"
    assert [verdict.claim for verdict in found.treatments] == [claim]
