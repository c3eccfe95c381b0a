"""A cloud without machines makes a trial `no_capacity`, on every cloud and node autoscaler; other ends do not.

Whole trials of the simulator in virtual time, recorded by the shipped recorder.
"""

import asyncio
from typing import Any

import pytest
from proof.recorded_trial import Finished, Scenario, run
from proof.targets import KINDS, target

from airflow_llm_provisioning.core.judging import judge_trace
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.workload import builtin_workload
from llm_provisioning_simulator.instant_trial import Stage

ZONES = {"eks": "us-west-2a", "gke": "us-central1-a", "aks": "eastus-1"}


def a_trial(cloud: str, autoscaler: str, limit_s: float = 400, **faults: Any) -> Finished:
    def switch(on: Stage) -> None:
        for name, value in faults.items():
            on.cluster.faults.switch(name, value)

    (found,) = run(
        Scenario(
            target=target(cloud, autoscaler=autoscaler),
            declared=builtin_workload(),
            variant="baseline",
            before_submission=switch,
            limit_s=limit_s,
        )
    )
    return found


def row(*args: Any, **faults: Any) -> TrialResult:
    return a_trial(*args, **faults).row


@pytest.mark.parametrize(("cloud", "autoscaler"), KINDS)
def test_a_stock_out_is_no_capacity_with_zone_wording_and_time(cloud: str, autoscaler: str) -> None:
    """Neither slow nor failed; a replay of the recording says the same."""
    found = a_trial(cloud, autoscaler, no_stock="stock_out")
    made, told = found.row, found.row.capacity
    assert made.status is TrialStatus.NO_CAPACITY
    assert made.exclusion == "no_capacity"
    assert told is not None
    assert 300 < told["waited_s"] < 401
    assert (told["ended"], told["placed"]) == (True, 0)
    told_where = autoscaler != "native" or cloud == "gke"
    assert told["zones"] == ([ZONES[cloud]] if told_where else [])
    assert told["kind"] == ("stock-out" if told_where else "refused")
    assert str(made.reason).startswith("No capacity: ")
    assert told["sentence"] in str(made.reason)
    again = judge_trace(found.chunks).analysis
    assert (again.outcome, again.capacity.as_dict() if again.capacity else None) == ("no_capacity", told)


@pytest.mark.parametrize(("cloud", "autoscaler"), [("eks", "karpenter"), ("gke", "native")])
def test_a_quota_is_the_same_result_of_another_kind(cloud: str, autoscaler: str) -> None:
    """Neither the workload nor its speed was measured; who must act is another, so the kind says it."""
    made = row(cloud, autoscaler, quota_refused=True)
    assert made.status is TrialStatus.NO_CAPACITY
    assert (made.capacity or {})["kind"] == "quota"


def test_no_spot_capacity_is_told_as_such() -> None:
    """In the words of the cloud, where they tell it."""
    assert (row("aks", "karpenter", no_stock="spot").capacity or {})["kind"] == "spot"


def test_partial_capacity_names_what_was_placed() -> None:
    """The head got a node, the worker none."""
    made = row("eks", "karpenter", no_stock="stock_out", machines_left=1)
    told = made.capacity or {}
    assert made.status is TrialStatus.NO_CAPACITY
    assert (told["placed"], told["wanted"]) == (1, 2)
    assert "1 of 2 pods had a node" in str(made.reason)


def test_a_machine_that_never_joins_is_no_refusal() -> None:
    """The cloud gave it, and the node group backs off after a quarter of an hour: a failure like any other."""
    assert row("aks", "native", 1300, node_never_joins=True).status is TrialStatus.TIMED_OUT


def test_a_workload_that_fails_beside_a_stock_out_has_failed() -> None:
    """The head's application does not import; that the worker has no node did not end the trial."""
    made = row("eks", "luna", 1800, no_stock="stock_out", machines_left=1, deploy_failed=True)
    assert made.status is TrialStatus.FAILED


def test_a_trial_that_waited_for_capacity_and_got_it_is_set_aside() -> None:
    """It is ready, and its total holds the cloud's stock; a refusal that cost seconds changes nothing."""
    background: list[asyncio.Task[None]] = []

    def for_five_minutes(on: Stage) -> None:
        on.cluster.faults.switch("no_stock", "stock_out")

        async def refill() -> None:
            await on.clock.sleep(200)
            on.cluster.faults.switch("no_stock", "")

        background.append(asyncio.get_running_loop().create_task(refill()))

    (found,) = run(
        Scenario(
            target=target("eks", autoscaler="karpenter"),
            declared=builtin_workload(),
            variant="baseline",
            before_submission=for_five_minutes,
        )
    )
    made = found.row
    assert made.status is TrialStatus.SUCCEEDED
    assert (made.capacity or {})["waited_s"] > 150
    assert made.exclusion == "waited for capacity"
    assert any(flag.startswith("capacity: stock-out in us-west-2a") for flag in made.flags)


def test_a_trial_without_refusals_knows_none() -> None:
    """Waiting for a node is what a cold start does."""
    made = row("eks", "luna", 7200)
    assert (made.status, made.capacity, made.exclusion) == (TrialStatus.SUCCEEDED, None, None)
