"""What a treatment does to phases: ranges, changes, and where the contract's default says that it is not known."""

import pytest

from airflow_llm_provisioning.core.effects import (
    Between,
    Effect,
    EffectFacts,
    adds,
    becomes,
    gone,
    seconds_for,
    times,
)
from airflow_llm_provisioning.core.timing.milestones import PHASES
from airflow_llm_provisioning.core.treatments import BaseTreatment
from airflow_llm_provisioning.core.treatments.base import effect_of

FACTS = EffectFacts(cloud="eks", setup="static")


def test_a_phase_without_its_role_means_head_and_worker() -> None:
    """A change of `image_pull` is one of both roles; a name of the path itself is only that one."""
    change = becomes("image_pull", Between(1, 2, "assumed: a test"))
    assert change.named() == ("head_image_pull", "worker_image_pull")
    assert set(change.named()) <= set(PHASES)
    assert gone("model_load", "assumed: a test").named() == ("model_load",)


def test_a_range_is_even_in_its_logarithm() -> None:
    """A rate known as 10 to 1,000 has its middle at 100; one that may be negative has it half way."""
    assert Between(10, 1000, "assumed: a test").at(0.5) == pytest.approx(100)
    assert Between(-10, 10, "assumed: a test").at(0.5) == pytest.approx(0)


def test_changes_of_a_phase() -> None:
    """A phase becomes, adds, is multiplied; never less than nothing."""
    five = Between(5, 5, "assumed: a test")
    assert becomes("compile", five).of(30, 0.5) == 5
    assert adds("compile", five).of(30, 0.5) == 35
    assert times("compile", five).of(30, 0.5) == 150
    assert adds("compile", Between(-40, -40, "assumed: a test")).of(30, 0.5) == 0


def test_bytes_over_a_range_of_rates() -> None:
    """The slowest time is the most bytes at the lowest rate; both sources are named."""
    found = seconds_for(Between(1e9, 2e9, "the size"), Between(1e8, 4e8, "the rate"))
    assert (found.low, found.high, found.source) == (2.5, 20, "the size; the rate")


def test_a_range_says_where_it_comes_from() -> None:
    """No source, no range; nor one whose ends are the wrong way round."""
    with pytest.raises(ValueError, match="say where it was read"):
        Between(1, 2, "")
    with pytest.raises(ValueError, match="is not below"):
        Between(2, 1, "assumed: a test")


def test_a_treatment_that_says_nothing_is_not_known() -> None:
    """Neither the default nor a treatment of another package without the method gives an effect of nothing."""

    class Bare:
        name = "bare"

    assert effect_of(BaseTreatment(), FACTS) is None  # type: ignore[arg-type]
    assert effect_of(Bare(), FACTS) is None  # type: ignore[arg-type]


def test_a_treatment_says_its_effect() -> None:
    """What the method returns is what is used."""

    class Own(BaseTreatment):
        def effect(self, facts: EffectFacts) -> Effect | None:
            return Effect((gone("compile", facts.cloud),))

    found = effect_of(Own(), FACTS)  # type: ignore[arg-type]
    assert found is not None
    assert [change.phase for change in found.on("compile")] == ["compile"]
    assert not list(found.on("model_load"))
