"""An arm stops when its interval is narrow enough, and the interval still holds what it claims."""

import random

import pytest

from airflow_llm_provisioning.core.statistics import Reduction
from airflow_llm_provisioning.core.stopping import StoppingRule, confidence_of_a_look, half_width_pct, trials_needed


def sampled(rng: random.Random, n: int, noise: float, saved: float = 0.3) -> list[tuple[list[float], list[float]]]:
    """Return n trials of each arm, three a night, every night with an effect of its own on both arms."""
    blocks = []
    for start in range(0, n, 3):
        night, size = rng.lognormvariate(0, 0.15), min(3, n - start)
        old = [1000 * night * rng.lognormvariate(0, noise) for _ in range(size)]
        blocks.append((old, [1000 * (1 - saved) * night * rng.lognormvariate(0, noise) for _ in range(size)]))
    return blocks


def test_each_of_several_looks_needs_more_confidence() -> None:
    """One look needs 95 %; sixteen looks need about 99.3 % each (the published constant for a ratio of 1 to 4 is near
    2.7 standard deviations).
    """
    assert confidence_of_a_look(20, 20) == 0.95
    assert confidence_of_a_look(5, 20) == pytest.approx(0.9929, abs=0.0005)
    assert confidence_of_a_look(5, 40) > confidence_of_a_look(5, 20) > confidence_of_a_look(10, 20)


def test_stopping_when_it_pleases_keeps_the_coverage() -> None:
    """An observer who looks after every trial and stops as soon as the interval misses the truth finds such a look in
    at most 5 % of 400 experiments. With the plain 95 % interval it would be more than twice as many.
    """
    missed = plain = 0
    for seed in range(400):
        blocks = sampled(random.Random(seed), 20, 0.08)
        missed += _ever_misses(blocks, StoppingRule(5, 20, 1e-9))
        plain += _ever_misses(blocks, StoppingRule(20, 20, 1e-9))
    assert missed / 400 <= 0.05
    assert plain / 400 > 0.10


def _ever_misses(blocks: list[tuple[list[float], list[float]]], rule: StoppingRule) -> bool:
    for n in range(5, 21):
        seen = [(old[: max(0, n - 3 * at)], new[: max(0, n - 3 * at)]) for at, (old, new) in enumerate(blocks)]
        found = rule.look(seen).reduction
        assert found is not None
        if found.low_pct is not None and found.high_pct is not None and not found.low_pct <= 30 <= found.high_pct:
            return True
    return False


def test_quiet_trials_stop_early_and_say_why() -> None:
    """With 2 % of noise a claim of five points needs far fewer than twenty trials."""
    rule = StoppingRule(5, 20, 5.0)
    stopped = next(n for n in range(5, 21) if rule.look(sampled(random.Random(3), n, 0.02)).enough)
    assert stopped < 15
    assert "5 were asked for" in str(rule.look(sampled(random.Random(3), stopped, 0.02)).enough)


def test_the_last_trial_stops_in_any_case() -> None:
    """Noise that no number of trials within the limit can tame ends at the limit."""
    look = StoppingRule(5, 9, 0.001).look(sampled(random.Random(3), 9, 0.3))
    assert look.enough == "all 9 trials of each arm are there"


def test_too_few_trials_never_stop() -> None:
    """Identical times have an interval of no width, and four of them are still too few."""
    assert StoppingRule(5, 20, 5.0).look([([1000.0] * 4, [700.0] * 4)]).enough is None
    assert StoppingRule(5, 20, 5.0).look([([1000.0] * 5, [])]).enough is None


@pytest.mark.parametrize(("fewest", "most", "width"), [(4, 20, 5.0), (9, 8, 5.0), (5, 20, 0.0), (5, 20, float("nan"))])
def test_a_rule_that_allows_no_claim_is_refused(fewest: int, most: int, width: float) -> None:
    """The refusal names the limits."""
    with pytest.raises(ValueError, match=r"must be|needs"):
        StoppingRule(fewest, most, width)


def test_the_trials_that_a_claim_needs_follow_from_the_width_so_far() -> None:
    """Half the width takes four times the trials; without an interval nothing is known."""
    found = Reduction(30.0, 20.0, 38.0, 0.95)
    assert half_width_pct(found) == 10.0
    assert trials_needed(found, 5, 5.0) == 20
    assert trials_needed(found, 5, 50.0) == 5
    assert trials_needed(Reduction(30.0, None, None, None), 2, 5.0) is None
