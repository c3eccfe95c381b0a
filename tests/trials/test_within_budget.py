"""Before a trial is opened, what its run and its month have spent is held against the budget."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trial_builders import OPENED_AT, a_planned_trial, a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.core.budget import Amount, Budget
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.dag_factory import load_experiment
from airflow_llm_provisioning.exceptions import OverBudgetError
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.trials.open import within_budget

EXAMPLES = Path(__file__).resolve().parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultsStore]:
    opened = ResultsStore.open(f"sqlite:///{tmp_path / 'results.db'}")
    yield opened
    opened.close()


def an_experiment(**budget: Any) -> Experiment:
    return replace(load_experiment(EXAMPLES / "simulated.yaml"), budget=Budget(**budget))


def opened(store: ResultsStore, experiment: Experiment) -> dict[str, float]:
    target = experiment.targets[0].name
    trial = a_planned_trial("next", target=target)
    served = replace(trial.served, workload=experiment.workloads[0].name)
    return dict(within_budget(replace(trial, served=served), experiment, store, OPENED_AT).budget)


def cost(amount: float | None, currency: str = "USD") -> dict[str, Any]:
    nodes = [{"node": "n", "seconds": 3600, "gpus": 1, "hour": None}]
    return {"amount": amount, "currency": currency, "gpu_hours": 1.0, "nodes": nodes}


def test_a_trial_begins_with_what_is_left(store: ResultsStore) -> None:
    """The least of its own limit, of its run's and of its month's; another run counts for the month only."""
    experiment = an_experiment(trial=Amount(5.0), run=Amount(10.0, 4.0), month=Amount(12.0))
    assert opened(store, experiment)["money"] == 5.0
    store.save_trial(a_result("t1", cost=cost(7.0)))
    assert opened(store, experiment)["money"] == 3.0
    assert opened(store, experiment)["gpu_hours"] == 3.0
    store.save_trial(a_result("t2", run_id="another", cost=cost(4.5)))
    assert opened(store, experiment)["money"] == 0.5


def test_a_used_up_budget_refuses_the_next_trial(store: ResultsStore) -> None:
    """In a sentence with what was spent, of what, and what to do."""
    store.save_trial(a_result("t1", cost=cost(10.5)))
    with pytest.raises(OverBudgetError, match=r"`budget.run` of experiment made-up is used up: 10.50 of 10 USD"):
        opened(store, an_experiment(run=Amount(10.0)))


@pytest.mark.parametrize("unknown", [cost(None), None, cost(1.0, "EUR")])
def test_a_spending_that_is_not_known_leaves_nothing_unless_a_bound_is_stated(
    store: ResultsStore, unknown: dict[str, Any] | None
) -> None:
    """An hour of a node of unknown price counts as the experiment says; of nothing known there is no bound."""
    store.save_trial(a_result("t1", cost=unknown))
    with pytest.raises(OverBudgetError, match="USD that are not known, of 10 USD"):
        opened(store, an_experiment(run=Amount(10.0)))
    if unknown == cost(None):
        assert opened(store, an_experiment(run=Amount(10.0), node_hour_at_most=4.0))["money"] == 6.0


def test_the_plan_is_priced_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan --price` prints each cell and the sum; a plan that cannot fit is refused, and the code says so."""
    text = (EXAMPLES / "simulated.yaml").read_text(encoding="utf-8")
    fits, not_fits = tmp_path / "fits.yaml", tmp_path / "not.yaml"
    fits.write_text(text + "\nbudget: {node_hour_at_most: 2, run: {money: 100000}}\n", encoding="utf-8")
    not_fits.write_text(text + "\nbudget: {node_hour_at_most: 2, run: {money: 1}}\n", encoding="utf-8")
    assert main(["plan", str(fits), "--price"]) == 0
    assert "The run costs at most" in capsys.readouterr().out
    assert main(["plan", str(not_fits), "--price"]) == 2
    told = capsys.readouterr()
    assert "budget.run: the run would cost at most" in told.err
    assert "of 1 USD" in told.err
    assert main(["plan", str(fits)]) == 0
