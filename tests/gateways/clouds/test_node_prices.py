"""What the node of a warming pull cost: by list price, or unknown and never zero."""

import pytest

from airflow_llm_provisioning.gateways.clouds.registry import cloud_named


def test_a_node_costs_its_minutes() -> None:
    """Seconds times the hourly list price, with type and region in the basis."""
    price, basis = cloud_named("gke").node_prices.price("us-central1", "e2-standard-4", 1800)
    assert price == pytest.approx(0.067)
    assert "30.0 min of e2-standard-4" in basis
    assert "us-central1" in basis


@pytest.mark.parametrize(
    ("cloud", "region", "instance_type"),
    [
        ("gke", "europe-west4", "e2-standard-4"),
        ("gke", "us-central1", "c9-standard-4"),
        ("gke", "us-central1", None),
        ("gke", None, "e2-standard-4"),
        ("aks", "us-central1", "e2-standard-4"),
    ],
)
def test_an_unknown_price_is_none_and_says_what_it_is_of(
    cloud: str, region: str | None, instance_type: str | None
) -> None:
    """An unknown price is not reported as no cost."""
    price, basis = cloud_named(cloud).node_prices.price(region, instance_type, 600)
    assert price is None
    assert basis.startswith("10.0 min of ")
    assert "not known here" in basis


def test_a_time_that_nobody_saw_is_not_priced() -> None:
    """Minutes that are missing are not none: neither the price nor its basis says zero."""
    price, basis = cloud_named("gke").node_prices.price("us-central1", "e2-standard-4", None)
    assert price is None
    assert basis == "how long e2-standard-4 ran is not known"
