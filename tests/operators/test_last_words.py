"""The kubelet tells of a crash loop by exit code; the cause is at the end of the log of the container before."""

import pytest
from cluster_in_background import BackgroundCluster
from operator_harness import run
from test_ray_service import manifest

from airflow_llm_provisioning.exceptions import TrialFailedError
from airflow_llm_provisioning.operators.ray_service import ApplyRayService
from airflow_llm_provisioning.sensors.serve_endpoint import WaitServeEndpoint


def test_a_crash_loops_cause_is_read_before_its_container_is_started_again(simulated: BackgroundCluster) -> None:
    """`ray start` refuses an option: what it said is in the reason, and so are the pod and the exit code."""
    made = manifest()
    (group,) = made["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    group["rayStartParams"] = {**group["rayStartParams"], "no-such-option": "1"}
    applied = run(ApplyRayService(task_id="apply", cluster="sim", manifest=made))
    with pytest.raises(TrialFailedError, match=r"gpu-group-worker-\w+") as failed:
        run(WaitServeEndpoint(task_id="wait", rayservice=applied, timeout=3600))
    told = str(failed.value)
    assert "with exit code 2" in told
    assert "The last words of container " in told
    assert "No such option: --no-such-option" in told
