"""A budget bounds what trials cost: the plan refuses what cannot fit, and a meter ends a trial that has used it up."""

from datetime import timedelta
from typing import Any

import pytest
from experiment_data import experiment_data
from trial_builders import OPENED_AT

from airflow_llm_provisioning.core.budget import Amount, Budget, Meter, left, smallest
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.prices import list_prices
from airflow_llm_provisioning.trials.price import cell_prices, check_plan


def an_experiment(budget: Any, *, types: bool = True, **more: Any) -> Experiment:
    data = experiment_data(budget=budget, **more)
    for target in data["targets"]:
        target["region"] = "us-west-2"
        if types:
            target["nodes"] |= {"gpu_instance_type": "g6.4xlarge", "cpu_instance_type": "m5.xlarge"}
    return read_experiment(data, where="night.yaml", read_text=str)


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"trial": {"money": 0}}, r"`budget.trial.money` must be greater than 0; found 0"),
        ({"trial": {"money": -1}}, r"`budget.trial.money` must be greater than 0; found -1"),
        ({"trial": {"money": float("nan")}}, r"`budget.trial.money` must be"),
        ({"run": {"gpu_hours": "2"}}, r"`budget.run.gpu_hours` must be .*; found '2'"),
        ({"week": {"money": 1}}, r"`budget.week` is no key of an experiment file"),
        ({"trial": {"dollars": 1}}, r"`budget.trial.dollars` is no key of an experiment file"),
    ],
)
def test_a_wrong_budget_is_refused_with_its_key(budget: Any, told: str) -> None:
    """What was found and what is allowed."""
    with pytest.raises(ConfigurationError, match=told):
        an_experiment(budget)


def test_a_plan_that_cannot_fit_is_refused_with_what_it_would_cost() -> None:
    """At most: every trial takes its limit, and its nodes stay as long as they are waited for; a trial's limit bounds
    it.
    """
    free = an_experiment(None)
    one = cell_prices(free)[0]
    assert one.rate.money == pytest.approx(1.3232 + 0.192)
    assert one.each.money == pytest.approx((1.3232 + 0.192) * one.seconds / 3600)
    trials = sum(cell.trials for cell in cell_prices(free))
    with pytest.raises(ConfigurationError, match=r"night.yaml: budget.run: the run would cost at most .* of 1 USD"):
        check_plan(an_experiment({"run": {"money": 1}}))
    check_plan(an_experiment({"trial": {"money": 1}, "run": {"money": trials}}))
    with pytest.raises(ConfigurationError, match=r"of 0.5 GPU hours"):
        check_plan(an_experiment({"month": {"gpu_hours": 0.5}}))


def test_an_unknown_price_is_refused_or_counts_at_its_bound() -> None:
    """As the experiment says; without limits in money nothing needs a price."""
    with pytest.raises(
        ConfigurationError, match=r"cannot be priced: no price is known of the head node .* does not name"
    ):
        check_plan(an_experiment({"run": {"money": 1000}}, types=False))
    bounded = an_experiment({"run": {"money": 1000}, "node_hour_at_most": 5}, types=False)
    check_plan(bounded)
    assert cell_prices(bounded)[0].rate.money == 10.0
    check_plan(an_experiment({"run": {"gpu_hours": 1000}}, types=False))


def line(resource: str, second: float, obj: Any, kind: str = "MODIFIED") -> dict[str, Any]:
    at = (OPENED_AT + timedelta(seconds=second)).isoformat()
    return {"resource": resource, "type": kind, "received_at": at, "object": obj}


def a_pod(node: str = "n1", uid: str = "p1") -> dict[str, Any]:
    return {"metadata": {"uid": uid, "creationTimestamp": OPENED_AT.isoformat()}, "spec": {"nodeName": node}}


def a_node(instance_type: str = "g6.4xlarge", name: str = "n1") -> dict[str, Any]:
    labels = {"node.kubernetes.io/instance-type": instance_type, "topology.kubernetes.io/region": "us-west-2"}
    return {"metadata": {"name": name, "labels": labels}, "status": {"capacity": {"nvidia.com/gpu": "1"}}}


def test_a_meter_counts_a_node_from_its_pod_until_it_is_gone() -> None:
    """An hour of a g6.4xlarge is an hour's price and a GPU hour; afterwards nothing is added."""
    meter = Meter(Amount(money=1.0), list_prices(), "eks")
    meter.feed(line("pods", 1, a_pod()))
    meter.feed(line("nodes", 60, a_node()))
    hour = OPENED_AT + timedelta(hours=1)
    assert meter.spent(hour).money == pytest.approx(1.3232)
    assert meter.spent(hour).gpu_hours == pytest.approx(1.0)
    assert meter.over(OPENED_AT + timedelta(minutes=40)) is None
    assert "1.32 of 1 USD" in str(meter.over(hour))
    meter.feed(line("nodes", 3600, a_node(), "DELETED"))
    assert meter.spent(hour + timedelta(hours=1)).money == pytest.approx(1.3232)


def test_a_node_of_unknown_price_ends_a_trial_unless_a_bound_is_stated() -> None:
    """Money that is not known may be any; a pod without a node counts at the bound too."""
    for at_most, told in ((None, "USD that are not known, of 100 USD"), (5.0, None)):
        meter = Meter(Amount(money=100.0), list_prices(), "eks", at_most=at_most)
        meter.feed(line("pods", 1, a_pod()))
        meter.feed(line("nodes", 60, a_node("p9.large")))
        found = meter.over(OPENED_AT + timedelta(hours=1))
        assert found is None if told is None else told in str(found)
    bounded = Meter(Amount(), list_prices(), "eks", at_most=5.0)
    bounded.feed(line("pods", 1, a_pod("")))
    assert bounded.spent(OPENED_AT + timedelta(hours=1)).money == pytest.approx(5.0)
    assert bounded.spent(OPENED_AT + timedelta(hours=1), waiting=False).money == 0.0


def a_machine(name: str, second: float, **status: Any) -> dict[str, Any]:
    made = (OPENED_AT + timedelta(seconds=second)).isoformat()
    return {
        "metadata": {"name": name, "creationTimestamp": made},
        "status": {"capacity": {"nvidia.com/gpu": "1"}, **status},
    }


def a_gpu_pod(node: str = "", uid: str = "p1") -> dict[str, Any]:
    limits = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return a_pod(node, uid) | {"spec": {"nodeName": node, "containers": [limits]}}


def test_gpu_hours_count_from_the_machine_before_the_pod_is_on_it() -> None:
    """On AKS a node exists for minutes before its pod is bound. One machine for each waiting pod; neither an older one
    nor a second one; afterwards from the pod, as before.
    """
    hour = OPENED_AT + timedelta(hours=1)
    meter = Meter(Amount(gpu_hours=0.5), list_prices(), "aks")
    meter.feed(line("nodes", 1, a_machine("older", -600)))
    meter.feed(line("pods", 1, a_gpu_pod()))
    assert meter.spent(hour).gpu_hours == 0.0
    meter.feed(line("nodes", 1800, a_machine("n1", 1800)))
    meter.feed(line("nodes", 1900, a_machine("n2", 1900)))
    assert meter.spent(hour).gpu_hours == pytest.approx(0.5)
    assert meter.spent(hour, waiting=False).gpu_hours == 0.0
    assert "0.51 of 0.5 GPU hours" in str(meter.over(hour + timedelta(seconds=36)))
    meter.feed(line("pods", 3600, a_gpu_pod("n1")))
    assert meter.spent(hour).gpu_hours == pytest.approx(1.0)
    meter.feed(line("nodes", 3600, a_machine("n1", 1800), "DELETED"))
    assert meter.spent(hour + timedelta(hours=1)).gpu_hours == pytest.approx(1.0)


def test_gpu_hours_count_from_karpenters_claim() -> None:
    """Its machine is launched at once; the node that the claim names later is the same machine."""
    hour = OPENED_AT + timedelta(hours=1)
    meter = Meter(Amount(gpu_hours=9.0), list_prices(), "eks")
    meter.feed(line("pods", 1, a_gpu_pod()))
    meter.feed(line("nodeclaims", 900, a_machine("claimed", 900)))
    assert meter.spent(hour).gpu_hours == pytest.approx(0.75)
    meter.feed(line("nodeclaims", 960, a_machine("claimed", 900, nodeName="n1")))
    meter.feed(line("nodes", 970, a_machine("n1", 960)))
    assert meter.spent(hour).gpu_hours == pytest.approx(0.75)
    meter.feed(line("nodeclaims", 980, a_machine("other", 980)))
    meter.feed(line("nodeclaims", 990, a_machine("other", 980), "DELETED"))
    assert meter.spent(hour).gpu_hours == pytest.approx(0.75)


def test_what_is_left_is_never_below_zero_and_an_unknown_spending_leaves_nothing() -> None:
    """No limit stays none."""
    assert left(Amount(money=5.0), Amount(7.0, 1.0)) == Amount(0.0, None)
    assert left(Amount(money=5.0, gpu_hours=2.0), Amount(None, 0.5)) == Amount(0.0, 1.5)
    assert smallest(Amount(5.0, None), Amount(None, 1.0), Amount(3.0, 2.0)) == Amount(3.0, 1.0)
    assert Budget.from_dict({"trial": {"money": 2.0}}).trial == Amount(2.0)
