"""A wait that begins after its limit, or whose triggerer was away, asks the cluster before the clock."""

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferralError
from cluster_in_background import BackgroundCluster
from operator_harness import apply as apply_trial
from operator_harness import close_trial, context, open_trial, run, stored
from operator_harness import wait as wait_trial
from test_ray_service import manifest

from airflow_llm_provisioning.operators import ApplyRayService, BuildServingImage
from airflow_llm_provisioning.sensors import WaitServeEndpoint


def applied_alone() -> dict[str, Any]:
    applied: dict[str, Any] = run(ApplyRayService(task_id="apply", cluster="sim", manifest=manifest()))
    return applied


def earlier(applied: dict[str, Any], by: timedelta) -> dict[str, Any]:
    told = {key: datetime.fromisoformat(applied[key]) - by for key in ("applied_at", "replied_at")}
    return {**applied, **{key: at.isoformat() for key, at in told.items()}}


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_that_begins_after_the_limit(simulated: BackgroundCluster, deferrable: bool) -> None:
    """The service is ready, and it is said when: by the cluster's stamps, not when it was asked."""
    applied = applied_alone()
    first = run(WaitServeEndpoint(task_id="wait", rayservice=applied, timeout=7200, deferrable=deferrable))
    late_from = simulated.call(simulated.clock.now)
    again = run(WaitServeEndpoint(task_id="wait", rayservice=applied, timeout=7200, deferrable=deferrable))
    assert again["outcome"] == "ready"
    # The first wait watched it; the second has stamps only, which a later write of the slice may have moved on.
    seen_at, told_at = (datetime.fromisoformat(found["endpoint_ready_at"]) for found in (first, again))
    earliest_at = datetime.fromisoformat(again["endpoint_ready_earliest_at"])
    assert earliest_at <= min(seen_at, told_at)
    assert max(seen_at, told_at) < late_from
    late = run(
        WaitServeEndpoint(
            task_id="wait", rayservice=earlier(applied, timedelta(seconds=600)), timeout=7200, deferrable=deferrable
        )
    )
    assert late["outcome"] == "ready"


def test_what_became_ready_after_the_limit_is_said_to_be_late(simulated: BackgroundCluster) -> None:
    """No deployment is ready 10 s after its submission: the sentence names the endpoint and how late it was."""
    applied = applied_alone()
    run(WaitServeEndpoint(task_id="wait", rayservice=applied, timeout=7200, deferrable=True))
    with pytest.raises(AirflowSensorTimeout, match=r"had a ready endpoint \d+ s after the time limit"):
        run(WaitServeEndpoint(task_id="wait", rayservice=applied, timeout=10, deferrable=True))


@pytest.mark.usefixtures("results_db")
def test_a_trial_whose_wait_begins_after_its_limit(simulated: BackgroundCluster) -> None:
    """The triggerer was away until the limit had passed; the deployment was ready before, and its row says so."""
    trial = open_trial(timeout_s=3000)
    applied = apply_trial(trial)
    begun = datetime.fromisoformat(trial["opened"]["at"])
    simulated.until(lambda: _past(simulated, begun + timedelta(seconds=3100)), real_s=120)
    assert wait_trial(trial, applied, deferrable=True)["outcome"] == "ready"
    row = close_trial(trial)
    assert (row["status"], row["reason"]) == ("succeeded", None)
    assert row["total_s"] < 3000
    assert row["completion_s"] is not None


def _past(simulated: BackgroundCluster, at: datetime) -> bool:
    time.sleep(0.2)
    return simulated.call(simulated.clock.now) > at


def test_a_deferral_that_timed_out_is_looked_at_once_more(simulated: BackgroundCluster) -> None:
    """Airflow's limit for the deferral also counts while no triggerer runs; the worker then asks the cluster."""
    applied = applied_alone()
    run(WaitServeEndpoint(task_id="wait", rayservice=applied, timeout=7200, deferrable=True))
    operator = WaitServeEndpoint(task_id="wait", rayservice=applied, timeout=7200, deferrable=True)
    timed_out = {"error": stored(TriggerFailureReason.TRIGGER_TIMEOUT)}
    assert operator.resume_execution(TRIGGER_FAIL_REPR, timed_out, context())["outcome"] == "ready"
    with pytest.raises(TaskDeferralError):
        operator.resume_execution(TRIGGER_FAIL_REPR, {"error": "Trigger failure"}, context())


def test_a_wait_without_a_limit_of_its_own_fails(simulated: BackgroundCluster) -> None:
    """A long operation of a cloud has only Airflow's limit; it must not run on in the worker."""
    assert not BuildServingImage.looks_again
