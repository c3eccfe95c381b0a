"""What a plan is drawn from is refused before anything is paid for, if it could not be kept."""

import logging
from pathlib import Path

import pytest

from airflow_llm_provisioning.dag_factory import load_experiment
from airflow_llm_provisioning.exceptions import ConfigurationError, HubError
from airflow_llm_provisioning.trials.plan import MAX_SEED, draw_plan

EXAMPLES = Path(__file__).resolve().parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments"


@pytest.mark.parametrize("seed", [MAX_SEED + 1, -MAX_SEED - 2, 10**30])
def test_a_seed_that_the_store_cannot_keep_is_refused(seed: int) -> None:
    """Otherwise every trial would run, and none of them could write its row."""
    experiment = load_experiment(EXAMPLES / "simulated.yaml")
    with pytest.raises(ConfigurationError, match="seed"):
        draw_plan(experiment, dag_id="d", run_id="r", seed=seed, overrides={}, log=logging.getLogger("test"))


def test_the_largest_seed_is_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is what the plan says."""

    def no_hub(*_: object) -> None:
        raise HubError("not asked in this test")

    monkeypatch.setattr("airflow_llm_provisioning.gateways.hub.resolve_model", no_hub)
    experiment = load_experiment(EXAMPLES / "simulated.yaml")
    plan = draw_plan(experiment, dag_id="d", run_id="r", seed=MAX_SEED, overrides={}, log=logging.getLogger("test"))
    assert plan.seed == MAX_SEED
    assert {trial.slot.seed for trial in plan.trials} == {MAX_SEED}
