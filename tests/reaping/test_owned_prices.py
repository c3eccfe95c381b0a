"""What keeping a cloud's thing costs an hour: by the price book, and unknown where the book or the size is silent."""

import pytest

from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.reaping.look import _with_price, thing_of

PLACE = "cloud:eks/123456789012/us-west-2"
HOURS_A_MONTH = 730


@pytest.mark.parametrize(
    ("priced", "an_hour"),
    [
        (("snapshot", "standard", 150.0), 150 * 0.05 / HOURS_A_MONTH),
        (("disk", "gp3", 80.0), 80 * 0.08 / HOURS_A_MONTH),
        (("image", "private", 10.0), 10 * 0.1 / HOURS_A_MONTH),
        (("disk", "st1", 80.0), None),
        (None, None),
    ],
)
@pytest.mark.parametrize("region", ["us-west-2", None])
def test_a_thing_costs_what_the_book_says_of_its_size(
    priced: tuple[str, str, float] | None, an_hour: float | None, region: str | None
) -> None:
    """Where the target names no region, it is the place's. Missing is missing, and never 0."""
    owned = Owned("thing", "x", {}, None, priced)
    found = _with_price(thing_of(PLACE, owned), owned, {"cloud": "eks", "region": region})
    assert found.price_hour_usd == (None if an_hour is None else pytest.approx(an_hour))
