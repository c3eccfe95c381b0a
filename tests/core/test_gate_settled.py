"""A gate is settled only if nothing that may still come can change it."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.gate import Outcome
from airflow_llm_provisioning.core.gate_limit import PREVIOUS, GateLimit, judged
from airflow_llm_provisioning.core.gate_settled import settled, settled_within

ARM = "eks-fast/phi3-2025/static/improved"
RUN = ("nightly", "today")
STEADY = {"tokens_s": 50.0, "low": 49.0, "high": 51.0}


def row(variant: str, at: int, total_s: float, *, run_id: str = "today", **changes: Any) -> Any:
    """One trial of a run; those of yesterday were opened a day before."""
    opened_at = OPENED_AT + timedelta(days=0 if run_id == "today" else -1, minutes=at)
    named = {"variant": variant, "run_id": run_id, "dag_id": "nightly", "opened_at": opened_at}
    return a_result(f"{run_id}-{variant}-{at:02d}", total_s=total_s, **{"speed": STEADY, **named, **changes})


def rows(variant: str, totals: list[float], **changes: Any) -> list[Any]:
    return [row(variant, at, total_s, **changes) for at, total_s in enumerate(totals)]


def image(digest: str | None) -> dict[str, Any]:
    return {"worker": {"image": "ray", "image_digest": digest}} if digest else {}


@pytest.mark.parametrize(
    ("fast", "slow", "left", "verdict"),
    [
        (8, 0, 0, Outcome.PASSES),
        (8, 0, 1, Outcome.PASSES),
        (8, 0, 2, None),
        (0, 8, 1, Outcome.SLOWER),
        (0, 8, 2, None),
        (15, 0, 5, Outcome.PASSES),
        (4, 0, 0, None),
        (10, 10, 0, None),
    ],
)
def test_a_verdict_is_settled_when_no_rest_changes_it(fast: int, slow: int, left: int, verdict: Outcome | None) -> None:
    """Of nine trials one may be slow, of ten two may not; and the rest may not count at all."""
    assert settled_within([90.0] * fast + [110.0] * slow, left, 100.0) is verdict


AGAINST = GateLimit(ARM, against=PREVIOUS, max_slower_pct=5.0)
YESTERDAY = rows("improved", [100.0 + at for at in range(10)], run_id="yesterday")


@pytest.mark.parametrize(
    ("totals", "left", "verdict"),
    [
        ([90.0] * 12, 2, Outcome.PASSES),
        ([90.0] * 12, 8, None),
        ([150.0] * 12, 2, Outcome.SLOWER),
        ([110.0] * 12, 2, None),
        ([90.0] * 4, 0, None),
    ],
)
def test_a_gate_against_a_run_is_settled(totals: list[float], left: int, verdict: Outcome | None) -> None:
    """Twelve trials far from the limit outweigh two more, and not eight."""
    known = [*YESTERDAY, *rows("improved", totals)]
    assert settled(known, AGAINST, run=RUN, left=left, baseline_left=0) is verdict


def test_a_reference_that_may_still_change_settles_nothing() -> None:
    """A run of the same DAG that had a trial after this one began may become the reference, or get further trials."""
    own = rows("improved", [90.0] * 12)
    late = row("improved", 90, 100.0, run_id="yesterday", opened_at=OPENED_AT + timedelta(minutes=3))
    assert settled([*YESTERDAY, late, *own], AGAINST, run=RUN, left=2, baseline_left=0) is None
    assert settled(own, AGAINST, run=RUN, left=2, baseline_left=0) is None


def test_another_image_may_take_the_arm_over() -> None:
    """Trials of the less frequent digest are set aside: of seven and two more, none is certain to lose against nine."""
    known = rows("improved", [90.0] * 9, environment=image("sha256:a"))
    limit = GateLimit(ARM, 200.0)
    assert settled(known, limit, run=RUN, left=1, baseline_left=0) is Outcome.PASSES
    other = [row("improved", 20 + at, 500.0, environment=image("sha256:b")) for at in range(7)]
    assert settled([*known, *other], limit, run=RUN, left=1, baseline_left=0) is Outcome.PASSES
    assert settled([*known, *other], limit, run=RUN, left=2, baseline_left=0) is None


def test_a_limit_of_serving_speed_must_be_settled_too() -> None:
    """Fast in time is not yet a pass; beyond the limit in time is slower in any case."""
    known = [*rows("improved", [90.0] * 12), *rows("baseline", [100.0] * 12)]
    arguments: dict[str, Any] = {"run": RUN, "left": 2}
    both = GateLimit(ARM, 200.0, max_serving_slower_pct=10.0)
    assert settled(known, both, baseline_left=2, **arguments) is Outcome.PASSES
    assert settled(known, both, baseline_left=13, **arguments) is None
    silent = [*rows("improved", [90.0] * 12, speed=None), *rows("baseline", [100.0] * 12)]
    assert settled(silent, both, baseline_left=2, **arguments) is None
    late = GateLimit(ARM, 50.0, max_serving_slower_pct=10.0)
    assert settled(silent, late, baseline_left=2, **arguments) is Outcome.SLOWER
    alone = GateLimit(ARM, max_serving_slower_pct=10.0)
    assert settled(known, alone, baseline_left=2, **arguments) is Outcome.PASSES
    assert settled(silent, alone, baseline_left=2, **arguments) is None


SPEEDS = st.sampled_from(
    [None, STEADY, {"tokens_s": 45.0, "low": 20.0, "high": None}, {"tokens_s": 20.0, "low": 19.0, "high": 21.0}]
)
TIMES = st.one_of(st.sampled_from([60.0, 99.0, 100.0, 101.0, 160.0]), st.floats(0.001, 1e9))
IMAGES = st.sampled_from([None, "sha256:a", "sha256:a", "sha256:b"])
TRIAL = st.tuples(TIMES, SPEEDS, IMAGES, st.sampled_from(["cold", "cold", "warm"]))
# Begun far from the limit, or anywhere near it.
FAR = st.sampled_from([60.0, 160.0]).flatmap(
    lambda middle: st.lists(st.tuples(st.floats(middle, middle + 2), SPEEDS, IMAGES, st.just("cold")), min_size=5)
)
BEGUN = st.one_of(FAR, FAR, st.lists(TRIAL, min_size=3, max_size=8))
LIMITS = [
    GateLimit(ARM, 100.0),
    GateLimit(ARM, 100.0, max_serving_slower_pct=10.0),
    GateLimit(ARM, max_serving_slower_pct=10.0),
    AGAINST,
    GateLimit(ARM, against="yesterday", max_slower_pct=0.0, max_serving_slower_pct=10.0),
]


def trials(variant: str, drawn: list[Any], first: int = 0) -> list[Any]:
    return [
        row(variant, first + at, total_s, speed=speed, environment=image(digest), start=start)
        for at, (total_s, speed, digest, start) in enumerate(drawn)
    ]


@settings(max_examples=60)
@given(
    known=BEGUN,
    copies=st.integers(2, 3),
    rest=st.lists(TRIAL, min_size=1, max_size=5),
    baseline=st.lists(TRIAL, min_size=1, max_size=4),
    more=st.lists(TRIAL, max_size=3),
    limit=st.sampled_from(LIMITS),
)
def test_no_continuation_changes_what_is_settled(
    known: list[Any], copies: int, rest: list[Any], baseline: list[Any], more: list[Any], limit: GateLimit
) -> None:
    """With any rest, and at every point of it, the judgement is the settled one; so one may stop there."""
    begun = [*YESTERDAY, *trials("improved", known * copies), *trials("baseline", baseline * 4)]
    verdict = settled(begun, limit, run=RUN, left=len(rest), baseline_left=len(more))
    if verdict is None:
        return
    further = [*trials("improved", rest, 50), *trials("baseline", more, 50)]
    for at in range(len(further) + 1):
        found = judged([*begun, *further[:at]], limit, run_id="today", dag_id="nightly")
        assert found.outcome is verdict, (verdict, found)
