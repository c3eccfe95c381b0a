"""What an acceleration saves in money, and from how many deployments a day on it pays, idle cost included."""

from typing import Any

import pytest
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.break_even import cost_rows
from airflow_llm_provisioning.core.prices import read_prices
from airflow_llm_provisioning.core.result import Preparation, TrialStatus
from airflow_llm_provisioning.gateways.prices import list_prices, prices_of


def a_preparation(target: str, **values: Any) -> Preparation:
    told: dict[str, Any] = {
        "target": target,
        "cloud": "eks",
        "content": "abc",
        "origin": "simulated",
        "seconds": 612.0,
        "prepared_at": OPENED_AT,
        "price_basis": "list price",
    }
    return Preparation(**told | values)


def trials(variant: str, amounts: list[float | None], total_s: float, **more: Any) -> tuple[list[Any], dict[str, Any]]:
    rows = [
        a_result(f"{variant}-{number}", variant=variant, total_s=total_s + number, **more)
        for number in range(len(amounts))
    ]
    costs = {
        row.trial_id: {"amount": amount, "low": amount, "high": amount, "currency": "USD", "gpu_hours": 0.5}
        for row, amount in zip(rows, amounts, strict=True)
    }
    return rows, costs


def table(slow: list[float | None], fast: list[float | None], *prepared: Any, book: Any = None) -> list[dict[str, Any]]:
    old, old_costs = trials("baseline", slow, 1000.0)
    new, new_costs = trials("improved", fast, 500.0)
    return cost_rows([*old, *new], old_costs | new_costs, prepared, book or list_prices())


def test_a_shared_disk_has_the_price_of_its_storage_class() -> None:
    """Amazon EFS by the class that AWS's examples name; a class of the user's own is unknown, never free."""
    disk = {"what": "disk", "name": "efs-sc", "amount": 100}
    made = a_preparation("eks-fast", verb="prepare_shared_weights", result={"idle": [disk]}, price_usd=0.0)
    _, fast = table([1.0] * 5, [0.5] * 5, made)
    assert fast["idle_a_day"] == pytest.approx(100 * 0.30 / (730 / 24))
    own = {**disk, "name": "my-class"}
    made = a_preparation("eks-fast", verb="prepare_shared_weights", result={"idle": [own]}, price_usd=0.0)
    _, fast = table([1.0] * 5, [0.5] * 5, made)
    assert "the price of disk my-class on eks" in fast["why"]


def test_a_preparation_without_a_price_says_why() -> None:
    """Azure publishes no price of a conversion: the break-even is not known, and the reason is told."""
    basis = "no price of a conversion is published"
    made = a_preparation("eks-fast", verb="enable_streaming", result={}, price_usd=None, price_basis=basis)
    _, fast = table([1.0] * 5, [0.5] * 5, made)
    assert f"the price of enable_streaming ({basis})" in fast["why"]


SNAPSHOT = {"verb": "snapshot_image", "result": {"snapshot_id": "s", "volume_gib": 100}, "price_usd": 0.9}
BUILD = {"verb": "build_image", "result": {"size_bytes": 10 * 1024**3}, "price_usd": 0.6}


def test_what_a_prepared_object_keeps_is_paid_for_every_day() -> None:
    """One node and twenty gibibytes of a bucket; a thing without a price makes the idle cost unknown, never free."""
    kept = [{"what": "node", "name": "g6.xlarge", "amount": 1}, {"what": "bucket", "name": "standard", "amount": 20}]
    made = a_preparation("eks-fast", verb="prepare_capacity", result={"idle": kept}, price_usd=0.0)
    _, fast = table([1.0] * 5, [0.5] * 5, made)
    assert fast["idle_a_day"] == pytest.approx(24 * 0.8048 + 20 * 0.023 / (730 / 24))
    assert fast["idle_an_hour"] == pytest.approx(fast["idle_a_day"] / 24)
    other = a_preparation("eks-fast", verb="prepare_capacity", result={"idle": [{"what": "node", "name": "p9"}]})
    _, fast = table([1.0] * 5, [0.5] * 5, other)
    assert fast["idle_a_day"] is None
    assert "node p9" in fast["why"]


def test_an_arm_pays_from_so_many_deployments_a_day_on() -> None:
    """Idle: 100 GiB of snapshot and 10 GiB of image a month; once: 1.50, over 30 days; saved: half of a dollar."""
    made = a_preparation("eks-fast", **SNAPSHOT), a_preparation("eks-fast", **BUILD)
    base, fast = table([1.0] * 5, [0.5] * 5, *made)
    assert (base["saved"], base["break_even_a_day"]) == (None, None)
    assert (fast["cost"], fast["saved"], fast["saved_low"]) == (0.5, 0.5, 0.5)
    a_day = (100 * 0.05 + 10 * 0.10) / (730 / 24)
    assert fast["idle_a_day"] == pytest.approx(a_day)
    assert fast["prepared"] == pytest.approx(1.5)
    assert fast["break_even_a_day"] == pytest.approx((a_day + 1.5 / 30) / 0.5)
    assert fast["break_even_low"] == pytest.approx(fast["break_even_a_day"])
    assert fast["seconds_saved"] == 500.0
    assert fast["seconds_per_unit"] is None
    assert (fast["spent"], fast["gpu_hours"]) == (2.5, 0.5)


def test_what_was_found_again_is_worth_what_making_it_cost() -> None:
    """The newest row of a reused step has the price 0."""
    again = a_preparation("eks-fast", **{**BUILD, "price_usd": 0.0}, reused=True)
    fast = table([1.0] * 5, [0.5] * 5, a_preparation("eks-fast", **BUILD), again)[1]
    assert fast["prepared"] == pytest.approx(0.6)


def test_an_arm_that_saves_time_and_costs_money_has_seconds_per_unit() -> None:
    """It never pays for itself, and says what a second costs at one deployment a day."""
    fast = table([0.5] * 5, [0.6] * 5)[1]
    assert fast["saved"] == pytest.approx(-0.1)
    assert fast["break_even_a_day"] is None
    assert "never pays" in fast["why"]
    assert fast["seconds_per_unit"] == pytest.approx(500 / 0.1)


@pytest.mark.parametrize(
    ("fast", "prepared", "why"),
    [
        ([None] * 5, (), "what a deployment costs is not known of both arms"),
        (
            [0.5] * 5,
            (a_preparation("eks-fast", **{**BUILD, "price_usd": None}),),
            "not known: the price of build_image",
        ),
        ([0.5, 1.5, 0.5, 1.5, 0.9], (), "the interval of what is saved holds zero"),
        ([0.5] * 5, (a_preparation("eks-fast", **{**BUILD, "result": {}}),), "not known: the size of the image on eks"),
    ],
)
def test_what_is_not_known_has_no_break_even_and_says_why(fast: list[float | None], prepared: Any, why: str) -> None:
    """Missing is missing, and an interval that holds zero is no promise."""
    row = table([1.0] * 5, fast, *prepared)[1]
    assert why in row["why"]


def test_nodes_that_are_kept_warm_are_idle_cost() -> None:
    """What only the experiment knows stands in its prices, by target."""
    group = {
        "cloud": "eks", "what": "idle", "unit": "day", "regions": ["*"], "dated": "2026-11-01", "source": "a node",
        "amounts": {"eks-fast": 19.3},
    }  # fmt: skip
    fast = table([1.0] * 5, [0.5] * 5, book=prices_of(read_prices({"prices": [group]}, where="x")))[1]
    assert fast["break_even_a_day"] == pytest.approx(19.3 / 0.5)


def test_other_currencies_and_trials_that_do_not_count_enter_no_figure() -> None:
    """A euro is no dollar; a failed trial is spent money and no deployment's cost."""
    rows, costs = trials("baseline", [1.0, 1.0, 9.0], 1000.0)
    costs["baseline-0"]["currency"] = "EUR"
    lost, lost_costs = trials("improved", [3.0], 500.0, status=TrialStatus.FAILED)
    base, fast = cost_rows([*rows, *lost], costs | lost_costs, (), list_prices())
    assert (base["n"], base["trials"], base["cost"], base["spent"]) == (2, 3, 5.0, None)
    assert (fast["n"], fast["cost"], fast["spent"]) == (0, None, 3.0)
