"""Factorial plans: which combinations they have, what they cannot tell apart, and that names do not move."""

from itertools import combinations

import pytest

from airflow_llm_provisioning.core.factorial import Design, DesignKind, column, confounding, terms, variant_name

THREE = ("fast_download", "bake_packages", "image_delivery")


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
def test_a_fraction_keeps_the_baseline_and_each_effect_apart_from_each_other(count: int) -> None:
    """Half of the runs or fewer; all effects of single treatments are at right angles to each other. From four
    treatments on none is mixed up with an interaction of two.
    """
    names = tuple("abcdefg"[:count])
    design = Design(DesignKind.FRACTION, names)
    runs = design.combinations()
    assert runs[0] == ()
    assert len(runs) == len(set(runs)) <= 2 ** (count - 1)
    columns = {term: column(term, runs) for term in terms(names)}
    for one, other in combinations(columns, 2):
        product = sum(a * b for a, b in zip(columns[one], columns[other], strict=True))
        assert product in (0, len(runs), -len(runs))
        if len(one) == 1 and (len(other) == 1 or count > 3):
            assert product == 0, (one, other)


def test_a_fraction_says_what_it_mixes_up() -> None:
    """Of three treatments each effect is mixed up with the interaction of the two others."""
    assert Design(DesignKind.FRACTION, ("a", "b", "c")).confounded() == [
        "a x b cannot be told apart from c.",
        "a x c cannot be told apart from b.",
        "b x c cannot be told apart from a.",
    ]
    assert Design(DesignKind.FRACTION, tuple("abcde")).confounded() == []
    assert "no interaction is estimated" in Design(DesignKind.ONE_AT_A_TIME, THREE).confounded()[0]


def test_a_full_plan_has_every_combination_and_tells_everything_apart() -> None:
    """The baseline first, then the single treatments."""
    design = Design(DesignKind.FULL, THREE)
    assert list(design.variants())[:4] == ["baseline", *THREE]
    assert design.variants()["bake_packages.fast_download"] == ("fast_download", "bake_packages")
    assert (len(design.variants()), design.confounded()) == (8, [])


def test_one_at_a_time_tries_each_alone() -> None:
    """And the baseline."""
    assert list(Design(DesignKind.ONE_AT_A_TIME, THREE).variants()) == ["baseline", *THREE]


def test_a_missing_combination_costs_an_interaction() -> None:
    """Without `a` and `c` together nothing tells what they do together."""
    told = confounding(("a", "b", "c"), [(), ("a",), ("b",), ("a", "b"), ("c",), ("b", "c")])
    assert told == ["a x c cannot be told apart from the mean, a and c."]


def test_names_do_not_depend_on_the_order_of_the_file_and_fit() -> None:
    """Sixty-three characters, of which a long one ends with its fingerprint."""
    assert variant_name(("b", "a")) == variant_name(("a", "b")) == "a.b"
    assert variant_name(()) == "baseline"
    long = [f"a_treatment_with_a_long_name_{at}" for at in range(4)]
    assert len(variant_name(long)) <= 63
    assert variant_name(long) != variant_name([*long[:3], "another_treatment_with_a_long_name"])


@pytest.mark.parametrize(
    ("kind", "names", "told"),
    [
        (DesignKind.FULL, ("a",), "has 1 treatments; 2 to 7 are needed"),
        (DesignKind.FULL, tuple("abcdefgh"), "has 8 treatments"),
        (DesignKind.FRACTION, ("a", "b"), "3 to 7 are needed"),
        (DesignKind.FULL, ("a", "a"), "stands there twice"),
    ],
)
def test_a_plan_that_is_none_is_refused(kind: DesignKind, names: tuple[str, ...], told: str) -> None:
    """In a sentence."""
    with pytest.raises(ValueError, match=told):
        Design(kind, names)
