"""What preparing on AWS costs: from list prices where they are known, else said to be unknown, and never zero."""

import pytest

from airflow_llm_provisioning.gateways.clouds.eks.prices import build_price, initialization_basis, snapshot_price

pytestmark = pytest.mark.eks


@pytest.mark.parametrize(("seconds", "usd"), [(1, 0.02), (60, 0.02), (61, 0.04), (900, 0.30)])
def test_a_build_pays_for_every_minute_it_began(seconds: float, usd: float) -> None:
    """A LARGE container's minutes, rounded up."""
    price, basis = build_price("us-west-2", "BUILD_GENERAL1_LARGE", seconds)
    assert price == pytest.approx(usd)
    assert "0.02 USD (list price, us-west-2)" in basis


def test_a_snapshot_pays_for_its_machine_and_its_volume() -> None:
    """An hour of m5.large, and a 730th of the month's price of 40 GiB with 1000 more IOPS and 875 more MiB/s."""
    price, basis = snapshot_price("us-east-1", "m5.large", 3600, 40, 4000, 1000)
    assert price == pytest.approx(0.096 + (40 * 0.08 + 1000 * 0.005 + 875 * 0.04) / 730, abs=1e-4)
    assert "keeping the snapshot costs" in basis


@pytest.mark.parametrize(
    "found",
    [
        build_price("eu-north-1", "BUILD_GENERAL1_LARGE", 60),
        build_price("us-east-1", "BUILD_GENERAL1_2XLARGE", 60),
        snapshot_price("eu-north-1", "m5.large", 60, 40, 3000, 125),
        snapshot_price("us-east-1", "z1d.metal", 60, 40, 3000, 125),
    ],
)
def test_what_has_no_list_price_here_costs_an_unknown_amount(found: tuple[float | None, str]) -> None:
    """None, and the reason: never a free preparation by mistake."""
    price, basis = found
    assert price is None
    assert "is known here" in basis


def test_a_provisioned_rate_is_paid_by_every_node_and_named() -> None:
    """At most: the page found gives an upper price for one region, and volumes are seldom full."""
    assert "at 300 MiB/s costs at most 0.14 USD on top" in initialization_basis("us-east-1", 40, 300)
    assert "not known here for eu-west-1" in initialization_basis("eu-west-1", 40, 300)
