"""Tokens a second of timed answers, with bounds, and when one arm serves slower than another."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.serving_speed import (
    ServingSpeed,
    TimedAnswer,
    is_whole,
    pooled_speed,
    serving_speed,
    slower,
    timed_body,
    tokens_written,
)


def answers(step_s: float, common_s: float, *noise: float) -> list[TimedAnswer]:
    """Return answers of 16, 80, 16 and 80 tokens of a model that needs `step_s` a token."""
    late = [*noise, 0.0, 0.0, 0.0, 0.0]
    return [TimedAnswer(n, common_s + step_s * (n - 1) + late[i]) for i, n in enumerate((16, 80, 16, 80))]


@given(step_s=st.floats(0.002, 0.3), common_s=st.floats(0.01, 5.0), noise=st.lists(st.floats(0, 0.05), max_size=4))
def test_the_bounds_hold_the_true_speed(step_s: float, common_s: float, noise: list[float]) -> None:
    """What both lengths have in common cancels out; a disturbance of one answer of each length stays in the bounds."""
    disturbed = serving_speed(answers(step_s, common_s, *noise[:2]))
    exact = serving_speed(answers(step_s, common_s))
    assert exact is not None
    assert exact.tokens_s == pytest.approx(1 / step_s, rel=1e-6)
    if disturbed is not None:
        assert disturbed.low <= 1 / step_s * (1 + 1e-9)
        assert disturbed.high is None or disturbed.high >= 1 / step_s * (1 - 1e-9)


@pytest.mark.parametrize(
    "timed",
    [
        [],
        [TimedAnswer(16, 1.0)],
        [TimedAnswer(16, 1.0), TimedAnswer(16, 2.0)],
        [TimedAnswer(16, 2), TimedAnswer(80, 1)],
    ],
)
def test_answers_that_show_no_speed_give_none(timed: list[TimedAnswer]) -> None:
    """Too few, of one length, or a long one that came sooner than a short one."""
    assert serving_speed(timed) is None


def test_an_open_upper_bound_is_none_and_never_a_number() -> None:
    """One pair says that any speed is possible."""
    found = serving_speed([TimedAnswer(16, 1.0), TimedAnswer(16, 3.0), TimedAnswer(80, 2.5), TimedAnswer(80, 2.6)])
    assert found is not None
    assert found.high is None
    assert "to any" in str(found)
    assert ServingSpeed.from_dict(found.as_dict()).high is None


def test_slower_needs_bounds_that_do_not_overlap() -> None:
    """A clear difference, none, and two that cannot be told."""
    fast = ServingSpeed(50.0, 48.0, 52.0)
    assert slower(ServingSpeed(30.0, 29.0, 31.0), fast) == pytest.approx(0.4)
    assert slower(ServingSpeed(49.0, 47.0, 51.0), fast) == 0.0
    assert slower(ServingSpeed(60.0, 58.0, 62.0), fast) == 0.0
    assert slower(ServingSpeed(45.0, 40.0, 50.0), fast) is None
    assert slower(ServingSpeed(40.0, 10.0, None), fast) is None
    assert slower(None, fast) is None
    assert slower(fast, None) is None


def test_several_trials_are_pooled_by_their_medians() -> None:
    """One open bound leaves the pool's open; no trial leaves it unknown."""
    speeds = [ServingSpeed(v, v - 1, v + 1).as_dict() for v in (40.0, 50.0, 45.0)]
    assert pooled_speed(speeds) == ServingSpeed(45.0, 44.0, 46.0)
    assert pooled_speed([*speeds, ServingSpeed(44.0, 1.0, None).as_dict()]).high is None  # type: ignore[union-attr]
    assert pooled_speed([]) is None


def test_the_timed_request_is_the_workloads_own_with_another_prompt() -> None:
    """Model and settings stay; a request that is not OpenAI's is not timed."""
    asked = timed_body({"model": "phi", "messages": [{"role": "user", "content": "x"}], "temperature": 0}, 80)
    assert asked is not None
    assert (asked["model"], asked["temperature"], asked["max_tokens"], asked["stream"]) == ("phi", 0, 80, False)
    assert "Count" in asked["messages"][0]["content"]
    assert "Count" in str(timed_body({"model": "phi", "prompt": "x"}, 16))
    assert timed_body({"text": "x"}, 16) is None
    assert timed_body(None, 16) is None


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (json.dumps({"usage": {"completion_tokens": 80}}).encode(), 80),
        (json.dumps({"usage": {"completion_tokens": 0}}).encode(), None),
        (json.dumps({"usage": {"completion_tokens": True}}).encode(), None),
        (b"not json", None),
        (b"{}", None),
    ],
)
def test_only_a_told_number_of_tokens_counts(answer: bytes, tokens: int | None) -> None:
    """Nothing is guessed from the text."""
    assert tokens_written(answer) == tokens


def test_a_model_that_stops_early_is_not_timed() -> None:
    """Three quarters of what was asked for are enough."""
    assert is_whole(60, 80)
    assert not is_whole(59, 80)
    assert not is_whole(None, 80)
