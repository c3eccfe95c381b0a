"""A whole trial with a budget: the wait ends it when its nodes have cost so much, and the row says so."""

import asyncio
from dataclasses import replace

import pytest
from cluster_in_background import BackgroundCluster
from operator_harness import apply, close_trial, experiment, open_trial, planned, wait

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.budget import Amount, Budget
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import OverBudgetError
from airflow_llm_provisioning.trials.open import open_trial as open_planned

pytestmark = pytest.mark.usefixtures("results_db")


def test_a_trial_over_its_budget_is_ended_deleted_and_told(simulated: BackgroundCluster) -> None:
    """`over_budget` with what was spent; nothing is left, its cost is in the row, and the next one is not opened."""
    trial = open_trial() | {"budget": {"money": 0.02, "worker_hour": 1.0, "head_hour": 0.2}}
    with pytest.raises(OverBudgetError, match=r"budget is used up: .* of 0.02 USD"):
        wait(trial, apply(trial))
    row = close_trial(trial)
    assert row["status"] == "over_budget"
    assert "budget is used up" in row["reason"]
    assert simulated.names("rayservices") == []
    store = open_store()
    kept = store.trials()[0]
    assert kept.cost is not None
    assert kept.cost["currency"] == "USD"
    store.close()
    whole = replace(experiment(), budget=Budget(run=Amount(gpu_hours=1e-6), node_hour_at_most=1.0))
    following = Trial.from_dict(planned(slot=1))
    with pytest.raises(OverBudgetError, match=r"`budget.run` of experiment nightly is used up"):
        asyncio.run(open_planned(following, whole, results_conn_id="llm_provisioning_results"))
    store = open_store()
    statuses = sorted(str(row.status) for row in store.trials())
    store.close()
    assert statuses == ["over_budget", "over_budget"]
