"""Money on pages: what is known stands with its bounds, what is not known is said, and missing is never 0."""

import re
from html import unescape
from typing import Any

import pytest
from result_builders import a_preparation, a_trial

from airflow_llm_provisioning.core.break_even import cost_rows
from airflow_llm_provisioning.gateways.prices import list_prices
from airflow_llm_provisioning.report.cost_section import cost_section, cost_text, trial_cost


def words(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def a_cost(amount: float | None, **values: Any) -> dict[str, Any]:
    node = {"node": "n<1>", "instance_type": "g6.xlarge", "zone": "z", "spot": False, "gpus": 1, "seconds": 1800.0}
    node |= {"gone": True, "hour": 1.0, "amount": amount, "low": amount, "high": amount}
    cost = {"amount": amount, "low": amount, "high": amount, "currency": "USD", "gpu_hours": 0.5, "dated": "2026-01-05"}
    return cost | {"nodes": [node], "unknown": []} | values


def shown(
    slow: float | None,
    fast: float | None,
    factor: float = 0.5,
    price_usd: float | None = 3.0,
    result: dict[str, Any] | None = None,
) -> str:
    trials = [
        a_trial(f"{variant}-{n}", variant=variant, factor=stretched, cost=a_cost(amount), target=target)
        for variant, stretched, amount, target in (("baseline", 1.0, slow, "plain"), ("improved", factor, fast, "fast"))
        for n in range(5)
    ]
    image = {"image": "registry/serving:r-abc", "size_bytes": 2**30}
    made = [a_preparation("fast", price_usd=price_usd, seconds=600.0, result=result or image)]
    return words(cost_section(cost_rows(trials, {t.trial_id: t.cost or {} for t in trials}, made, list_prices())))


def test_an_arm_shows_what_it_saves_and_when_its_preparation_is_paid_back() -> None:
    """600 s of preparation, 675 s saved a deployment, 0.50 USD too; the baseline prepared nothing."""
    told = shown(1.0, 0.5)
    assert "money in USD" in told
    assert "+0.50 (95%: +0.50 to +0.50)" in told
    assert "10 min, 3.00" in told
    assert "0.9 deployments simulated" in told
    assert re.search(r"0\.2\d* deployments a day", told)


def test_what_does_not_pay_says_why() -> None:
    """Slower, dearer, or not known: each has its sentence."""
    assert "never: it is not faster" in shown(1.0, 0.5, factor=1.5)
    assert "never pays for itself" in shown(1.0, 2.0)
    assert "what a deployment costs is not known of both arms" in shown(1.0, None)
    assert "price not known" in shown(1.0, 0.5, price_usd=None)


def test_an_image_of_unknown_size_costs_an_unknown_amount_a_day() -> None:
    """It was left out of the idle cost, as if it were kept for nothing."""
    assert "not known: the size of the image on eks" in shown(1.0, 0.5, result={"image": "registry/serving:r-abc"})


def test_without_any_price_there_is_a_sentence_and_no_table() -> None:
    """An empty table would look like costs of nothing."""
    rows = cost_rows([a_trial("one")], {}, [], list_prices())
    assert words(cost_section(rows)).startswith("What these deployments cost is not known")
    assert "<table" not in cost_section(rows)


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        (None, "not known"),
        (a_cost(0.42), "0.42 USD (0.42 to 0.42), 0.5 GPU hours, prices of 2026-01-05"),
        (a_cost(0.42, low=0.4, high=None), "0.42 USD (at least 0.40), 0.5 GPU hours, prices of 2026-01-05"),
        (a_cost(None), "not known, 0.5 GPU hours"),
    ],
)
def test_a_trials_cost_in_a_sentence_part(cost: Any, told: str) -> None:
    """Bounds where they are known; GPU hours need no price."""
    assert cost_text(cost) == told


def test_a_trials_machines_are_listed_and_what_has_no_price_is_named() -> None:
    """Names come from clusters; a machine that was not seen to go says so."""
    cost = a_cost(None, unknown=["a node p9 in nowhere"])
    cost["nodes"][0]["gone"] = False
    page = trial_cost(cost)
    assert "No price is known for a node p9 in nowhere." in words(page)
    assert "1800.0, not seen to go" in words(page)
    assert "n&lt;1&gt;" in page
    assert "names no machine" in words(trial_cost(None))
