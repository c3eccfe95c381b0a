"""A faster start that serves slower does not pass where a gate limits it, and is told anywhere."""

from typing import Any

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.core.gate import Outcome
from airflow_llm_provisioning.core.gate_limit import GateLimit, judged, limit_from
from airflow_llm_provisioning.core.serving_guard import serves_slower

ARM = "eks-fast/phi3-2025/static/improved"


def trials(own: tuple[float, float, float | None] | None, base: tuple[float, float, float | None] | None) -> list[Any]:
    """Six trials of each arm; (tokens a second, low, high), None: not measured. The improved arm starts in half."""
    found = []
    for variant, speed, total_s in (("baseline", base, 100.0), ("improved", own, 50.0)):
        told = None if speed is None else dict(zip(("tokens_s", "low", "high"), speed, strict=True))
        found += [a_result(f"{variant}-{at}", variant=variant, total_s=total_s + at, speed=told) for at in range(6)]
    return found


@pytest.mark.parametrize(
    ("own", "base", "limit", "outcome"),
    [
        ((30.0, 29.0, 31.0), (50.0, 49.0, 51.0), 10.0, Outcome.SLOWER),
        ((30.0, 29.0, 31.0), (50.0, 49.0, 51.0), 40.0, Outcome.PASSES),
        ((50.0, 49.0, 51.0), (50.0, 49.0, 51.0), 0.0, Outcome.PASSES),
        ((55.0, 54.0, 56.0), (50.0, 49.0, 51.0), 0.0, Outcome.PASSES),
        # The bounds overlap, or allow anything.
        ((40.0, 30.0, 50.0), (50.0, 40.0, 60.0), 10.0, Outcome.UNDECIDED),
        ((30.0, 29.0, None), (50.0, 49.0, 51.0), 10.0, Outcome.UNDECIDED),
        ((49.0, 5.0, None), (50.0, 49.0, 51.0), 10.0, Outcome.UNDECIDED),
        (None, (50.0, 49.0, 51.0), 10.0, Outcome.UNDECIDED),
        ((50.0, 49.0, 51.0), None, 10.0, Outcome.UNDECIDED),
        (None, None, 10.0, Outcome.UNDECIDED),
    ],
)
def test_a_limit_of_serving_speed_alone(own: Any, base: Any, limit: float, outcome: Outcome) -> None:
    """What is not known is no pass."""
    found = judged(trials(own, base), GateLimit(ARM, max_serving_slower_pct=limit))
    assert found.outcome is outcome, found


def test_a_limit_of_time_and_one_of_speed_must_both_hold() -> None:
    """Both sentences stand in the answer, and the numbers are those of the time."""
    rows = trials((30.0, 29.0, 31.0), (50.0, 49.0, 51.0))
    slow = judged(rows, GateLimit(ARM, 60.0, max_serving_slower_pct=10.0))
    assert slow.outcome is Outcome.SLOWER
    assert slow.sentence.startswith("Passes: the median of 6 trials lies between 50.0 and 55.0 s, the limit is 60 s. ")
    assert slow.sentence.endswith(
        "Slower: it serves 30.0 tokens/s (29.0 to 31.0), 40 % slower than its baseline's 50.0 tokens/s (49.0 to 51.0); "
        "allowed is 10 %."
    )
    assert (slow.low, slow.high) == (50.0, 55.0)
    late = judged(rows, GateLimit(ARM, 40.0, max_serving_slower_pct=50.0))
    assert (late.outcome, late.sentence.startswith("Slower: the median")) == (Outcome.SLOWER, True)
    assert judged(rows, GateLimit(ARM, 60.0, max_serving_slower_pct=50.0)).outcome is Outcome.PASSES


def test_without_a_baseline_in_the_run_there_is_nothing_to_compare_with() -> None:
    """And the baseline itself passes."""
    rows = trials((30.0, 29.0, 31.0), (50.0, 49.0, 51.0))
    alone = judged(rows[6:], GateLimit(ARM, max_serving_slower_pct=10.0))
    assert alone.outcome is Outcome.NOT_JUDGED
    assert "No trial of the baseline" in alone.sentence
    baseline = GateLimit("eks-plain/phi3-2025/static/baseline", max_serving_slower_pct=10.0)
    assert judged(rows, baseline).outcome is Outcome.PASSES


def test_every_arm_that_serves_notably_slower_is_named() -> None:
    """Without a limit too; an arm that is as fast, or whose speed is not known, is not."""
    (told,) = serves_slower(trials((30.0, 29.0, 31.0), (50.0, 49.0, 51.0)))
    assert "faster and serves 40 % slower than the baseline: 30.0 tokens/s (29.0 to 31.0)" in told
    assert serves_slower(trials((49.0, 48.0, 50.0), (50.0, 49.0, 51.0))) == []
    assert serves_slower(trials(None, (50.0, 49.0, 51.0))) == []


def test_a_limit_is_read_as_it_is_written() -> None:
    """From a file's numbers and a template's texts; each form by itself."""
    for data in (
        {"arm": ARM, "max_serving_slower": 10.0},
        {"arm": ARM, "max_seconds": 60.0, "max_serving_slower": 10.0},
        {"arm": ARM, "against": "previous", "max_slower": 5.0, "max_serving_slower": 10.0},
        {"arm": ARM, "max_seconds": 60.0},
    ):
        assert limit_from(data).as_dict() == data
    assert limit_from({"arm": ARM, "max_serving_slower": "10 %"}).max_serving_slower_pct == 10.0
    assert str(limit_from({"arm": ARM, "max_serving_slower": 10})).endswith(
        "serves at most 10 % slower than its baseline"
    )
    with pytest.raises(ValueError, match="without `against`"):
        limit_from({"arm": ARM, "max_serving_slower": 10, "max_slower": 5})
