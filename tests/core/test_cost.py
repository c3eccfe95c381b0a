"""What a trial cost: unknown prices stay unknown, and a machine that was not seen to go has no upper bound."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_llm_provisioning.core.cost import NodeUse, priced
from airflow_llm_provisioning.gateways.prices import list_prices

AT = datetime(2026, 1, 1, tzinfo=UTC)


def a_use(**changes: Any) -> NodeUse:
    told: dict[str, Any] = {
        "name": "n",
        "instance_type": "g6.4xlarge",
        "region": "us-west-2",
        "zone": "us-west-2a",
        "spot": False,
        "gpus": 1,
        "began_at": AT,
        "registered_at": AT + timedelta(seconds=60),
        "gone_at": AT + timedelta(hours=1),
    }
    return NodeUse(**{**told, **changes})


def cost(*uses: NodeUse, **more: Any) -> dict[str, Any]:
    return priced(uses, list_prices(), "eks", closed_at=AT + timedelta(hours=2), **more)


def test_a_node_counts_from_its_request_until_it_is_gone() -> None:
    """At least from its registration; an hour of it is an hour's price, and a GPU hour."""
    found = cost(a_use())
    assert (found["amount"], found["high"], found["currency"]) == (1.3232, 1.3232, "USD")
    assert found["low"] == pytest.approx(1.3232 * 59 / 60, abs=1e-6)
    assert (found["gpu_hours"], found["dated"]) == (1.0, "2025-11-01")


def test_a_node_that_was_not_seen_to_go_has_no_upper_bound() -> None:
    """It is counted until the trial was closed, and may run on."""
    found = cost(a_use(gone_at=None))
    assert (found["amount"], found["high"]) == (2.6464, None)
    assert found["nodes"][0]["gone"] is False


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"instance_type": "p9.large"}, "a node p9.large in us-west-2"),
        ({"spot": True}, "a spot node g6.4xlarge in us-west-2"),
        ({"region": None}, "a node g6.4xlarge in an unknown region"),
        ({"instance_type": None}, "a node of unknown type in us-west-2"),
    ],
)
def test_one_unknown_price_makes_the_sum_unknown(changes: dict[str, Any], told: str) -> None:
    """A part is not the whole; what is unknown is named. Seconds and GPU hours are known all the same."""
    found = cost(a_use(), a_use(name="m", **changes))
    assert (found["amount"], found["low"], found["high"]) == (None, None, None)
    assert found["unknown"] == [told]
    assert found["gpu_hours"] == 2.0


def test_a_trial_without_a_machine_cost_nothing_and_a_late_machine_is_unknown() -> None:
    """Nothing is known of a machine that came after the delete but its name."""
    assert cost()["amount"] == 0.0
    late = cost(a_use(), late=["n9"])
    assert late["amount"] is None
    assert late["unknown"] == ["n9, which came after the delete"]


def test_a_disk_is_added_where_the_target_says_its_size() -> None:
    """80 GiB of gp3 for an hour."""
    assert cost(a_use(), disk_gib=80)["amount"] == pytest.approx(1.3232 + 80 * 0.08 / 730, abs=1e-6)
