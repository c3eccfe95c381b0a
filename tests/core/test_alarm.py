"""A history says what got slower, since when, in which phase and with what; bad single nights do not."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.alarm import Watch, watch
from airflow_llm_provisioning.core.nights import Night, nights_of, seconds_of
from airflow_llm_provisioning.core.result import PhaseResult, TrialStatus

FIRST = datetime(2026, 1, 1, 2, tzinfo=UTC)


def nights(totals: Sequence[float], facts: Mapping[int, Mapping[str, str]] | None = None) -> list[Night]:
    """One night a total: pull and download take 60 and 40 % of 1000 s; what is more than that is the pull's. `facts`:
    first night -> facts that hold from then on.
    """
    known: dict[str, str] = {"image digest": "old", "driver": "550", "worker zone": "a"}
    made = []
    for day, total_s in enumerate(totals):
        known |= (facts or {}).get(day, {})
        made.append(
            Night(
                at=FIRST + timedelta(days=day),
                run_id=f"night-{day}",
                arm="arm",
                n=3,
                total_s=total_s,
                phases={"worker_image_pull": total_s - 400.0, "weight_download": 400.0},
                facts={name: frozenset({value}) for name, value in known.items()},
            )
        )
    return made


def noise(count: int, level: float = 1000.0, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [level * rng.lognormvariate(0, 0.02) for _ in range(count)]


def test_a_step_is_told_with_night_phase_and_cause() -> None:
    """15 % slower from night 20 on, when the image's digest and the zone changed; the driver had changed before."""
    facts = {12: {"driver": "560"}, 20: {"image digest": "new", "worker zone": "b"}}
    found = watch(nights([*noise(20), *noise(5, 1150.0, 2)], facts))
    (change,) = found.changes
    assert (change.run_id, change.since) == ("night-20", 20)
    assert change.told <= 23
    assert change.change_pct == pytest.approx(15, abs=3)
    assert change.phase is not None
    assert change.phase.name == "worker_image_pull"
    assert change.phase.share == pytest.approx(1.0, abs=0.05)
    assert [str(cause) for cause in change.causes] == ["image digest: old, now new", "worker zone: a, now b"]
    assert all(cause.acts_on_phase for cause in change.causes)


@pytest.mark.parametrize("bad", [[3000.0], [3000.0, 2800.0]])
def test_one_or_two_bad_nights_are_no_change(bad: list[float]) -> None:
    """However bad they are."""
    assert watch(nights([*noise(20), *bad, *noise(10, seed=3)])).changes == ()


def test_a_history_with_holes_tells_the_same_change() -> None:
    """Two weeks without a night in the middle and one right before the step: levels are counted in nights, not days."""
    whole = nights([*noise(20), *noise(5, 1150.0, 2)])
    away = timedelta(days=14)
    torn = [replace(night, at=night.at + away * ((day >= 10) + (day >= 20))) for day, night in enumerate(whole)]
    (change,) = watch(torn).changes
    assert (change.run_id, change.told) == ("night-20", watch(whole).changes[0].told)


def test_a_night_without_a_trial_that_counts_is_no_night() -> None:
    """Failed, warm and unverified trials alone make no night, and no 0 s: the night before and after are neighbours."""
    days = [OPENED_AT + timedelta(days=day) for day in range(4)]
    bad = (
        {"status": TrialStatus.FAILED, "total_s": None},
        {"start": "warm"},
        {"variant": "improved", "treatments": ["fast_download"], "applied": "unknown"},
    )
    trials = [a_result(f"good-{i}", run_id=f"run-{i}", opened_at=days[i], total_s=900.0 + i) for i in (0, 3)]
    trials += [a_result(f"bad-{i}", run_id=f"run-{i + 1}", opened_at=days[1], **fields) for i, fields in enumerate(bad)]
    found = {cell.variant: history for cell, history in nights_of(trials).items()}
    assert [night.total_s for night in found["baseline"]] == [900.0, 903.0]
    assert found.keys() == {"baseline"}


def test_a_small_change_is_not_told_even_if_it_is_certain() -> None:
    """Two per cent of a quiet history."""
    quiet = [1000.0 + day % 3 for day in range(20)]
    assert watch(nights([*quiet, *(total * 1.02 for total in quiet)])).changes == ()


def test_the_way_back_is_a_recovery() -> None:
    """Five slow nights, then the old level again: told three nights after the return."""
    found = watch(nights([*noise(20), *noise(5, 1200.0, 2), *noise(6, seed=4)]))
    slower, back = found.changes
    assert (slower.recovered, back.recovered) == (False, True)
    assert (back.run_id, back.told) == ("night-25", 27)


def test_a_recovery_is_measured_by_the_change_that_is_asked_for() -> None:
    """3 % above the old level is back for the default of 5 %, and is not where changes of 1 % are told."""
    totals = [*noise(20), *noise(5, 1200.0, 2), *noise(6, 1030.0, 4)]
    assert watch(nights(totals)).changes[-1].recovered
    assert not any(change.recovered for change in watch(nights(totals), min_change=0.01).changes)


def test_an_expected_change_is_not_told_and_the_history_begins_anew() -> None:
    """The experiment file declares a new level at a run; ten nights later a change can be told again."""
    found = watch(nights([*noise(20), *noise(5, 1200.0, 2)]), expected=["night-20"])
    assert found == Watch((), 7, 20)


@pytest.mark.parametrize(("count", "left"), [(0, 12), (1, 11), (12, 0), (30, 0)])
def test_a_new_history_says_when_it_can_tell(count: int, left: int) -> None:
    """Ten nights of a level and three of another: the thirteenth night is the first that can tell."""
    assert watch(nights(noise(count))).nights_until == left


def test_faster_is_told_too() -> None:
    """A gain without a treatment is a change like another."""
    (change,) = watch(nights([*noise(20), *noise(4, 850.0, 2)])).changes
    assert change.change_pct == pytest.approx(-15, abs=3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(100, 5000), min_size=0, max_size=40), st.integers(-3, 3))
def test_the_unit_of_time_does_not_matter(totals: list[float], power: int) -> None:
    """The same changes are told of the same nights, in any unit."""

    def told(scale: float) -> list[tuple[int, int]]:
        made = [Night(FIRST, f"night-{day}", "arm", 1, scale * total_s, {}, {}) for day, total_s in enumerate(totals)]
        return [(change.since, change.told) for change in watch(made).changes]

    assert told(1.0) == told(2.0**power)


def test_nights_follow_a_cell_over_its_arms_and_pool_none() -> None:
    """Another model revision is another arm and the same history; its revision is a fact of the night. Trials that do
    not count are in no night.
    """
    stages = (PhaseResult("worker_image_pull", 600.0, 600.0, 600.0), PhaseResult("model_load", 400.0, 400.0, 400.0))
    rows = [
        a_result("a", run_id="1", total_s=1000.0, phases=stages, model_revision="one"),
        a_result("b", run_id="1", total_s=1100.0, model_revision="one"),
        a_result("c", run_id="2", total_s=700.0, model_revision="two", opened_at=FIRST + timedelta(days=300)),
        a_result("d", run_id="3", total_s=1.0, status=TrialStatus.FAILED),
    ]
    ((cell, found),) = nights_of(rows).items()
    assert cell.label == "eks-plain / phi3-2025 / static / baseline"
    assert [(night.run_id, night.n, night.total_s) for night in found] == [("1", 2, 1050.0), ("2", 1, 700.0)]
    assert found[0].phases == {"model_load": 400.0, "worker_image_pull": 600.0}
    assert [night.facts["model revision"] for night in found] == [{"one"}, {"two"}]
    assert found[0].arm != found[1].arm


def test_a_phase_that_is_joined_is_unknown_and_not_zero() -> None:
    """`pull+start` says nothing of `pull` alone; a phase that is not on the path took none of the total."""
    assert seconds_of({"pull+start": 5.0, "load": 2.0}, "pull") is None
    assert seconds_of({"pull": 3.0, "start": 2.0}, "pull+start") is None
    assert seconds_of({"load": 2.0}, "pull") == 0.0
    assert seconds_of({"load": 2.0}, "load") == 2.0
