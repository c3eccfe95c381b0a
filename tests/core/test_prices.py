"""Prices are dated data with a source; what is not in them is unknown, and what is wrong in them is refused."""

from typing import Any

import pytest
from experiment_data import experiment_data

from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.core.prices import PriceBook, read_prices
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.prices import list_prices, prices_of
from llm_provisioning_simulator.profiles import load_profile


def entry(**changes: Any) -> dict[str, Any]:
    told = {
        "cloud": "eks",
        "what": "node",
        "unit": "hour",
        "regions": ["us-west-2"],
        "dated": "2026-11-01",
        "source": "our contract",
        "amounts": {"g6.4xlarge": 0.9},
    }
    return {**told, **changes}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            {"prices": [entry(amounts={"g6.4xlarge": -1})]},
            r"`prices.prices.0.amounts.g6.4xlarge` must be .* at least 0; found -1",
        ),
        ({"prices": [entry(amounts={"x": float("nan")})]}, r"amounts.x` must be a number of at least 0; found nan"),
        ({"prices": [entry(amounts={"x": float("inf")})]}, r"amounts.x` must be a number of at least 0; found inf"),
        ({"prices": [entry(amounts={"x": True})]}, r"amounts.x` must be a number"),
        ({"prices": [entry(amounts={"x": "0.1"})]}, r"amounts.x` must be a number of at least 0; found '0.1'"),
        ({"prices": [entry(amounts={})]}, r"amounts` must be a mapping"),
        ({"currency": "EURO"}, r"`prices.currency` is 'EURO', which is unknown: did you mean 'EUR'"),
        ({"currency": 7}, r"`prices.currency` is 7, which is unknown: known are AED"),
        ({"currency": "EUR", "per_usd": 0}, r"`prices.per_usd` must be a number above 0; found 0"),
        ({"prices": [entry(unit="minute")]}, r"`prices.prices.0.unit` is 'minute'; a price of node is per hour"),
        ({"prices": [entry(what="nodes")]}, r"what` is 'nodes', which is unknown: did you mean 'node'"),
        ({"prices": [entry(dated="last year")]}, r"dated` must be a date as 2026-11-01; found 'last year'"),
        ({"prices": [entry(regions=[])]}, r"regions` must be a list of regions"),
        ({"prices": [{k: v for k, v in entry().items() if k != "source"}]}, r"`prices.prices.0.source` is missing"),
        ({"price": []}, r"`prices.price` is no key of prices: did you mean 'prices'"),
        ([], r"`prices` is a mapping with `currency` and `prices`; found a list"),
    ],
)
def test_a_wrong_price_is_refused_with_key_and_what_is_allowed(data: Any, told: str) -> None:
    """File, key, what was found and what is allowed; also in an experiment."""
    with pytest.raises(ConfigurationError, match=told) as refused:
        read_experiment(experiment_data(prices=data), where="night.yaml", read_text=str)
    assert str(refused.value).startswith("night.yaml: ")


def test_a_price_file_beside_the_experiment_is_read_and_named_in_refusals() -> None:
    """The path stands where the mapping would."""
    texts = {"ours.yaml": "currency: EUR\nper_usd: 0.9\nprices: []\n", "bad.yaml": "currency: XXX\n"}
    found = read_experiment(experiment_data(prices="ours.yaml"), where="night.yaml", read_text=texts.__getitem__)
    assert found.prices == PriceBook("EUR", (), 0.9)
    with pytest.raises(ConfigurationError, match=r"night.yaml: bad.yaml: `prices.currency` is 'XXX'"):
        read_experiment(experiment_data(prices="bad.yaml"), where="night.yaml", read_text=texts.__getitem__)


def test_own_prices_come_before_the_list() -> None:
    """A contract's price replaces the list's; everything else stays known."""
    book = prices_of(read_prices({"prices": [entry()]}, where="x"))
    own = book.node_hour("eks", "us-west-2", "g6.4xlarge", spot=False)
    listed = book.node_hour("eks", "us-east-1", "g6.4xlarge", spot=False)
    assert own is not None
    assert listed is not None
    assert (own.amount, own.source) == (0.9, "our contract")
    assert listed.amount == 1.3232
    assert PriceBook.from_dict(book.as_dict()) == book


def test_another_currency_needs_a_rate_or_knows_its_own_prices_only() -> None:
    """A dollar is not a euro; without a rate the list's prices are unknown, not equal."""
    without = prices_of(read_prices({"currency": "EUR", "prices": [entry()]}, where="x"))
    assert without.node_hour("eks", "us-west-2", "m5.large", spot=False) is None
    assert without.node_hour("eks", "us-west-2", "g6.4xlarge", spot=False) is not None
    turned = prices_of(read_prices({"currency": "EUR", "per_usd": 0.9}, where="x"))
    found = turned.node_hour("eks", "us-west-2", "m5.large", spot=False)
    assert found is not None
    assert found.amount == pytest.approx(0.0864)
    assert "at 0.9 EUR a USD" in found.source


def test_a_spot_nodes_price_is_not_that_of_another_node() -> None:
    """It changes by the minute; unknown until the experiment says it."""
    assert list_prices().node_hour("eks", "us-west-2", "g6.4xlarge", spot=True) is None


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
def test_every_machine_of_the_simulator_has_a_list_price(cloud: str) -> None:
    """So that a demonstration's trials have a price; each group has its date and source."""
    region = {"eks": "us-west-2", "gke": "us-central1", "aks": "eastus"}[cloud]
    for size in load_profile(cloud, "luna").instance_types:
        found = list_prices().node_hour(cloud, region, size.name, spot=False)
        assert found is not None, size.name
        assert found.dated.startswith("20")
        assert found.source
    assert {group.cloud for group in list_prices().groups} == {"eks", "gke", "aks"}
