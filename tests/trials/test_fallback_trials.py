"""A trial without capacity is tried in the next place, and both tries are results: one whole sequence in virtual time.

The cloud is the simulator's, with no machine in one zone; the recorder, the rows and the store are the shipped ones.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from operator_harness import context, run
from proof.recorded_trial import Scenario
from proof.recorded_trial import run as deploy
from proof.targets import target
from trial_builders import a_result

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.fallbacks import fallback_targets
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.trial import NOT_NEEDED, Trial
from airflow_llm_provisioning.core.workload import ScalingSetup, builtin_workload
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection
from airflow_llm_provisioning.operators import JudgeRun, OpenTrial
from airflow_llm_provisioning.operators.experiment import CompareVariants, PlanTrials
from airflow_llm_provisioning.trials.fallback import not_fallen_back
from llm_provisioning_simulator.instant_trial import Stage

FIRST = replace(target("eks", "baseline", "karpenter", zone="us-west-2a"), name="plain", nodes_content=None)
FIRST = replace(FIRST, nodes=replace(FIRST.nodes, name="plain"))
EXPERIMENT = Experiment(
    "nightly",
    (FIRST, *fallback_targets(FIRST, ["us-west-2b", "us-west-2c"])),
    (builtin_workload(),),
    setups=(ScalingSetup.STATIC,),
    replicates=1,
)
PLAN = EXPERIMENT.plan(1, dag_id="nightly", run_id="run-1")


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    opened = open_store()
    yield opened
    opened.close()


def deployed(planned: Trial) -> TrialResult:
    """Deploy a planned trial's target where one zone has no machine, and return the row under the plan's name."""

    def no_stock(on: Stage) -> None:
        on.cluster.faults.switch("no_stock", "stock_out")
        on.cluster.faults.switch("no_stock_in", ["us-west-2a"])

    scenario = Scenario(
        target=replace(EXPERIMENT.target(planned.target), fallback_of=None),
        declared=builtin_workload(),
        variant="baseline",
        before_submission=no_stock,
        limit_s=400 if planned.slot.fallback == 0 else 3600,
    )
    (found,) = deploy(scenario)
    row = found.row
    arm = replace(planned.arm, stratum=replace(planned.arm.stratum, origin=row.trial.arm.stratum.origin))
    return replace(row, trial=replace(row.trial, slot=planned.slot, arm=arm, target=planned.target))


def opened(planned: Trial) -> Any:
    return run(OpenTrial(task_id="o", planned=planned.as_dict(), experiment=EXPERIMENT), context(run_id="run-1"))


def test_a_stock_out_in_one_zone_is_measured_in_the_next(store: ResultsStore) -> None:
    """The first place has no capacity and keeps its row; the second one is measured; the third is not needed. Tables,
    gate and judgement tell them apart.
    """
    first, second, third = PLAN
    assert [trial.target for trial in PLAN] == ["plain", "plain-us-west-2b", "plain-us-west-2c"]
    refused = deployed(first)
    assert refused.status is TrialStatus.NO_CAPACITY
    assert (refused.capacity or {})["zones"] == ["us-west-2a"]
    store.save_trial(refused)
    assert not_fallen_back(second, results_conn_id="llm_provisioning_results") is None
    measured = deployed(second)
    assert measured.status is TrialStatus.SUCCEEDED
    assert {measured.environment[role]["zone"] for role in ("head", "worker")} == {"us-west-2b"}
    store.save_trial(measured)
    with pytest.raises(AirflowSkipException, match=r"plain-us-west-2c is not needed: .*-f1 ended as succeeded"):
        opened(third)
    assert [one["status"] for one in store.outcomes(third.slot.slot_id)] == [NOT_NEEDED]

    kept = store.trial(second.trial_id)
    assert kept is not None
    assert (kept.trial.slot, kept.trial.arm.stratum.fallback) == (second.slot, "plain-us-west-2b")
    rows = run(CompareVariants(task_id="c", experiment="nightly"), context(run_id="run-1"))
    assert {(row["fallback"], row["n"], row["excluded"]) for row in rows} == {
        ("", 0, "1 no_capacity"),
        ("plain-us-west-2b", 1, ""),
    }
    history = store.queries.history(Selection(experiment="nightly"))
    assert {cell.target for cell, nights in history.items() if nights} == {"plain-us-west-2b"}
    judged = run(JudgeRun(task_id="j", experiment="nightly", expected=EXPERIMENT.planned_trials()))
    assert (judged["trials"], judged["not_needed"], judged["no_capacity"]) == (2, 1, 1)


@pytest.mark.parametrize("status", [TrialStatus.SUCCEEDED, TrialStatus.FAILED, TrialStatus.TIMED_OUT, None])
def test_only_want_of_capacity_falls_back(store: ResultsStore, status: TrialStatus | None) -> None:
    """A failure, a trial that took too long and one without a row are not tried again elsewhere."""
    first, second, third = PLAN
    if status is not None:
        store.save_trial(a_result(trial=first, status=status))
    with pytest.raises(AirflowSkipException, match="Fallback plain-us-west-2b is not needed: "):
        opened(second)
    # The place before the third one was not needed, so it has no trial.
    with pytest.raises(AirflowSkipException, match=r"-f1 has no trial, not as no_capacity"):
        opened(third)


def test_the_newest_attempt_of_the_place_before_decides(store: ResultsStore) -> None:
    """A slot that was cleared and then got its nodes needs no fallback."""
    first, second, _ = PLAN
    store.save_trial(a_result(trial=first, status=TrialStatus.NO_CAPACITY, total_s=None))
    assert not_fallen_back(second, results_conn_id="llm_provisioning_results") is None
    store.save_trial(a_result(trial=first.attempted(1)))
    assert "ended as succeeded" in str(not_fallen_back(second, results_conn_id="llm_provisioning_results"))


def test_the_plan_hands_every_slot_a_trial_or_nothing() -> None:
    """A slot whose trial has fewer fallbacks than another one of its cluster is given nothing, and says so."""
    nodes = replace(FIRST.nodes, name="alone", zone="us-west-2b")
    two = replace(EXPERIMENT, targets=(*EXPERIMENT.targets, replace(FIRST, name="alone", nodes=nodes)))
    ctx = context(run_id="run-1")
    run(PlanTrials(task_id="p", experiment=two), ctx)
    pushed = ctx["ti"].pushed
    assert len(pushed) == 2 * 3
    assert sorted(key for key, value in pushed.items() if not value) in (
        [f"{FIRST.cluster}-0{slot}-f1", f"{FIRST.cluster}-0{slot}-f2"] for slot in range(2)
    )
    with pytest.raises(AirflowSkipException, match="No trial is planned for this slot"):
        run(OpenTrial(task_id="o", planned={}, experiment=two))
