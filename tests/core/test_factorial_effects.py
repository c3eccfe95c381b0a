"""Effects and interactions from trials: exact where there is no noise, and honest about what was not tried."""

import random
from collections.abc import Callable, Iterable
from itertools import product

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.core.factorial import variant_name
from airflow_llm_provisioning.core.factorial_effects import Effect, Effects, effects_of
from airflow_llm_provisioning.core.result import TrialResult

ALL = [tuple(name for name, on in zip("abc", held, strict=True) if on) for held in product((0, 1), repeat=3)]


def mechanism(held: Iterable[str]) -> float:
    """The truth: `a` costs 20 s alone and saves 80 s with `b`; `b` saves 100 s, `c` saves 300 s."""
    names = set(held)
    return 1000.0 - 100 * ("b" in names) - 300 * ("c" in names) + ("a" in names) * (-80 if "b" in names else 20)


def trials(
    runs: Iterable[tuple[str, ...]], sets: int = 6, noise: Callable[[], float] = lambda: 1.0, first: int = 0
) -> list[TrialResult]:
    """One trial of each combination in every set; three sets a night."""
    return [
        a_result(
            f"{variant_name(held)}-{at}",
            variant=variant_name(held),
            treatments=held,
            total_s=mechanism(held) * noise(),
            run_id=f"night-{at // 3}",
        )
        for at in range(first, first + sets)
        for held in runs
    ]


def found(rows: list[TrialResult]) -> Effects:
    (effects,) = effects_of(rows)
    return effects


def effect(effects: Effects, kind: str, *term: str) -> Effect:
    (one,) = [one for one in effects.effects if (one.kind, one.term) == (kind, term)]
    return one


def test_a_full_plan_gives_the_mechanism_exactly() -> None:
    """Without noise: averages, interactions, alone and last; and which treatment needs which."""
    effects = found(trials(ALL))
    assert (effects.sets, effects.baseline_s, effects.left_out) == (6, 1000.0, ())
    change = {(one.kind, *one.term): round(one.change.middle, 6) for one in effects.effects}
    assert change == {
        ("effect", "a"): -30.0, ("effect", "b"): -150.0, ("effect", "c"): -300.0,
        ("interaction", "a", "b"): -100.0, ("interaction", "a", "c"): 0.0, ("interaction", "b", "c"): 0.0,
        ("alone", "a"): 20.0, ("alone", "b"): -100.0, ("alone", "c"): -300.0,
        ("last", "a"): -80.0, ("last", "b"): -200.0, ("last", "c"): -300.0,
    }  # fmt: skip
    assert effects.sentences == (
        "a needs b: without it +20.0 s (95%: +20.0 to +20.0), with it -80.0 s (95%: -80.0 to -80.0).",
    )
    row = next(row for row in effects.rows() if (row["effect"], row["of"]) == ("effect", "c"))
    assert (row["change_s"], row["change_pct"], row["confounded"], row["sets"]) == (-300.0, -30.0, "", 6)


def test_noise_and_outliers_leave_effects_and_cover_the_truth() -> None:
    """3 % noise, 3 % outliers, nights of 10 %: each truth is in its interval, and no interaction is made up."""
    rng = random.Random(3)
    rows: list[TrialResult] = []
    for night in range(7):
        level = rng.lognormvariate(0, 0.1)

        def noise(level: float = level) -> float:
            return level * rng.lognormvariate(0, 0.03) * (rng.uniform(1.3, 3) if rng.random() < 0.03 else 1.0)

        rows += trials(ALL, 3, noise, first=3 * night)
    effects = found(rows)
    assert effects.sets == 21
    for kind, term, truth in (("effect", "c", -300.0), ("effect", "b", -150.0), ("effect", "a", -30.0)):
        change = effect(effects, kind, term).change
        assert change.low is not None
        assert change.high is not None
        assert change.low <= truth <= change.high
        assert change.confidence == 0.95
    assert not effect(effects, "interaction", "b", "c").sure


def test_a_fraction_names_what_its_effects_are_mixed_up_with() -> None:
    """Of three treatments in four runs: the effect of `c` is mixed up with what `a` and `b` do together."""
    effects = found(trials([(), ("a", "b"), ("a", "c"), ("b", "c")]))
    assert effect(effects, "effect", "c").confounded == (("a", "b"),)
    assert "a x b cannot be told apart from c." in effects.sentences
    assert effects.left_out == (("a",), ("b",), ("c",), ("a", "b", "c"))


def test_one_at_a_time_gives_each_alone_and_no_interaction() -> None:
    """What two do together is said to be unknown."""
    effects = found(trials([(), ("a",), ("b",), ("c",)]))
    assert [effect(effects, "alone", name).change.middle for name in "abc"] == [20.0, -100.0, -300.0]
    assert not [one for one in effects.effects if one.kind in ("interaction", "last")]
    assert any("a x b cannot be told apart from" in sentence for sentence in effects.sentences)


def test_five_sets_allow_90_per_cent_and_four_no_interval() -> None:
    """As everywhere: no claim from few observations."""
    assert effect(found(trials(ALL, 5)), "effect", "a").change.confidence == 0.9
    few = effect(found(trials(ALL, 4)), "effect", "a")
    assert (few.change.confidence, few.change.low, few.sure) == (None, None, False)


def test_only_whole_sets_of_one_run_count() -> None:
    """A run without one of the arms, or with fewer of its trials, gives fewer sets."""
    rows = trials(ALL, 6)
    assert found([row for row in rows if row.trial_id != "a.b-5"]).sets == 5
    apart = [row for row in rows if (row.arm.variant == "c") == (row.run[1] == "night-0")]
    assert effects_of(apart) == []


@pytest.mark.parametrize("runs", [[()], [(), ("a",)], [("a",), ("b",), ("a", "b")], [(), ("a", "b")]])
def test_arms_without_a_plan_have_no_effects(runs: list[tuple[str, ...]]) -> None:
    """One treatment is a comparison; without a baseline, or with fewer arms than treatments, nothing is estimated."""
    assert effects_of(trials(runs)) == []
