"""Plan, compare and judge a run against a real results store."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cluster_in_background import simulated_target
from operator_harness import context, plan, run
from trial_builders import a_result

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.workload import ScalingSetup, builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError, HubError, TrialFailedError
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import CompareVariants, JudgeRun
from airflow_llm_provisioning.operators.experiment import slot_key

AT = datetime(2026, 5, 4, 15, tzinfo=UTC)
EXPERIMENT = Experiment("nightly", (simulated_target(),), setups=(ScalingSetup.STATIC,), replicates=2)


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Open the default results connection."""
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture
def _hub_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(model_id: str, revision: str | None) -> None:
        raise HubError(f"The hub could not be asked for {model_id}.")

    monkeypatch.setattr("airflow_llm_provisioning.gateways.hub.resolve_model", down)


def trial(number: int, total_s: float | None = 100.0, *, variant: str = "baseline", **fields: Any) -> TrialResult:
    """Return a trial's row: succeeded and cold unless said otherwise."""
    slot = {"experiment": "nightly", "dag_id": "nightly", "run_id": "run-1", "cluster": "demo", "number": number}
    opened_at = AT + timedelta(minutes=number)
    return a_result(variant=variant, total_s=total_s, **{"opened_at": opened_at, **slot, **fields})


@pytest.mark.usefixtures("_hub_is_down")
def test_every_slot_gets_its_trial_and_a_cleared_plan_is_the_same() -> None:
    """One XCom per slot, keyed as the DAG reads it; the run decides the seed, another run's is another."""
    first, again, other = context(), context(), context(run_id="run-2")
    drawn = plan(first, experiment=EXPERIMENT)
    assert plan(again, experiment=EXPERIMENT) == drawn
    assert plan(other, experiment=EXPERIMENT)["seed"] != drawn["seed"]
    assert set(first["ti"].pushed) == {slot_key("demo", slot) for slot in range(4)}
    assert first["ti"].pushed == again["ti"].pushed
    one = first["ti"].pushed["demo-00"]
    assert (one["slot"]["experiment"], one["slot"]["seed"]) == ("nightly", drawn["seed"])
    assert (one["served"]["model"]["source"], one["target"]) == ("pinned", "plain")


@pytest.mark.usefixtures("_hub_is_down")
@pytest.mark.parametrize(("given", "seed"), [(7, 7), ("7", 7), (0, 0)])
def test_a_given_seed_draws(given: Any, seed: int) -> None:
    """As a number or as a template's text."""
    assert plan(context(), experiment=EXPERIMENT, seed=given)["seed"] == seed


@pytest.mark.usefixtures("_hub_is_down")
@pytest.mark.parametrize("given", [None, "", "None"])
def test_an_empty_seed_is_the_runs(given: Any) -> None:
    """What an empty form renders to."""
    assert plan(context(), experiment=EXPERIMENT, seed=given) == plan(context(), experiment=EXPERIMENT)


@pytest.mark.usefixtures("_hub_is_down")
def test_one_trial_by_hand_has_its_own_key() -> None:
    """The form's image is handed on; an empty one is none."""
    only = {"target": "plain", "setup": "dynamic", "variant": "fast_download", "workload": "phi3-current"}
    ctx = context()
    both = replace(EXPERIMENT, workloads=(builtin_workload(), builtin_workload("phi3-current", "phi3-current")))
    plan(ctx, experiment=both, only=only, model={"model_id": "", "image": "mine:1"})
    assert list(ctx["ti"].pushed) == ["trial"]
    made = ctx["ti"].pushed["trial"]
    stratum = made["arm"]["stratum"]
    assert (stratum["setup"], made["arm"]["variant"], stratum["workload"]) == (
        "dynamic",
        "fast_download",
        "phi3-current",
    )
    assert made["served"]["overrides"] == {"image": "mine:1"}
    plain = context()
    plan(plain, experiment=both, only=only)
    assert plain["ti"].pushed["trial"]["arm"]["stratum"]["workload_content"] != stratum["workload_content"]


@pytest.mark.usefixtures("_hub_is_down")
def test_a_model_of_the_users_needs_the_hub() -> None:
    """Its revision and size cannot be made up."""
    with pytest.raises(ConfigurationError, match="org/other is not the workload's own, and the hub could not tell"):
        plan(context(), experiment=EXPERIMENT, model={"model_id": "org/other"})


def test_variants_are_compared_and_the_table_is_kept(store: ResultsStore) -> None:
    """One row per cell, against its baseline; warm and unverified trials are counted, not compared."""
    store.save_trial(trial(0, 100.0))
    store.save_trial(trial(1, 50.0, variant="fast_download"))
    store.save_trial(trial(2, 10.0, variant="fast_download", start="warm"))
    store.save_trial(trial(3, 10.0, variant="fast_download", applied="unknown"))
    store.save_trial(trial(4, 1.0, run_id="another"))
    rows = run(CompareVariants(task_id="c", experiment="nightly"))
    fast = next(row for row in rows if row["variant"] == "fast_download")
    assert (fast["n"], fast["trials"], fast["median_s"]) == (1, 3, 50.0)
    assert fast["reduction_pct"] == pytest.approx(50.0)
    assert fast["excluded"] == "1 start warm, 1 treatment unknown"
    assert store.comparison("run-1") == rows
    assert not [value for row in rows for value in row.values() if isinstance(value, (dict, list))]


def judge(expected: int) -> Any:
    return run(JudgeRun(task_id="j", experiment="nightly", expected=expected))


def test_a_run_is_good_when_every_slot_succeeded(store: ResultsStore) -> None:
    """All rows, all well."""
    for slot in range(2):
        store.save_trial(trial(slot))
    assert judge(2) == {"trials": 2, "not_needed": 0, "no_capacity": 0, "gates": 0, "serves_slower": []}


def test_a_failed_or_missing_trial_fails_the_run(store: ResultsStore) -> None:
    """Each is named with its reason; what left no row is counted."""
    store.save_trial(trial(0))
    store.save_trial(trial(1, status=TrialStatus.ABORTED, reason="by the user"))
    with pytest.raises(TrialFailedError, match=r"demo-01: aborted, by the user; 1 of 3 trials left no row"):
        judge(3)


def test_a_trial_without_capacity_is_told_and_fails_no_run(store: ResultsStore) -> None:
    """It is no failure of the workload; an experiment may say otherwise."""
    refusal = {"kind": "stock-out", "zones": ["us-west-2a"], "first_at": AT.isoformat(), "count": 2, "sentence": "x"}
    lost = trial(
        1, total_s=None, status=TrialStatus.NO_CAPACITY, reason="none in us-west-2a",
        capacity={"ended": True, "waited_s": 60.0, "refusals": [refusal]},
    )  # fmt: skip
    store.save_trial(trial(0))
    store.save_trial(lost)
    assert judge(2) == {"trials": 2, "not_needed": 0, "no_capacity": 1, "gates": 0, "serves_slower": []}
    compared = context(run_id="run-1")
    (row,) = run(CompareVariants(task_id="c", experiment="nightly"), compared)
    assert (row["n"], row["trials"], row["excluded"]) == (1, 2, "1 no_capacity")
    (counted,) = compared["ti"].pushed["capacity"]
    assert (counted["zone"], counted["refusals"], counted["no_capacity"]) == ("us-west-2a", 2, 1)
    store.save_trial(replace(lost, trial=replace(lost.trial, no_capacity_fails=True)))
    with pytest.raises(TrialFailedError, match="no_capacity, none in us-west-2a"):
        judge(2)


def test_a_slot_is_judged_by_its_last_run(store: ResultsStore) -> None:
    """A failed trial that was cleared and succeeded is no failure any more; the other way round it is one."""
    store.save_trial(trial(0, status=TrialStatus.FAILED, reason="first"))
    again = trial(0, attempt=2, opened_at=AT + timedelta(hours=1))
    store.save_trial(again)
    assert judge(1) == {"trials": 2, "not_needed": 0, "no_capacity": 0, "gates": 0, "serves_slower": []}
    store.save_trial(replace(again, status=TrialStatus.FAILED, reason="second"))
    with pytest.raises(TrialFailedError, match="second"):
        judge(1)


def test_the_plan_has_one_slot_for_each_cell_and_replicate() -> None:
    """Two variants, one set-up, two replicates."""
    assert EXPERIMENT.slots() == {"demo": 4}
