"""ApplyRayService and WaitServeEndpoint over a running service; the simulated operator upgrades as KubeRay does."""

import copy
from datetime import datetime
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster
from operator_harness import context, run
from test_ray_service import manifest

from airflow_llm_provisioning.exceptions import TrialFailedError
from airflow_llm_provisioning.operators import ApplyRayService
from airflow_llm_provisioning.sensors import WaitServeEndpoint


def apply(made: dict[str, Any], run_id: str = "manual__1", **fields: Any) -> dict[str, Any]:
    operator = ApplyRayService(task_id="apply", cluster="sim", manifest=copy.deepcopy(made), **fields)
    applied: dict[str, Any] = run(operator, context(run_id=run_id))
    return applied


def wait(applied: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = run(
        WaitServeEndpoint(task_id="wait", rayservice=applied, timeout=14_400, deferrable=True), context()
    )
    return found


def changed() -> dict[str, Any]:
    """Return the manifest with one environment variable more in its worker."""
    other = manifest()
    container = other["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    container.setdefault("env", []).append({"name": "CHANGED", "value": "1"})
    return other


@pytest.mark.parametrize("run_id", ["manual__1", "manual__2"], ids=["same run", "taken over"])
def test_a_changed_service_is_ready_when_its_new_cluster_serves(simulated: BackgroundCluster, run_id: str) -> None:
    """Not when the operator has not looked yet, and not while the old RayCluster serves on."""
    first = apply(manifest())
    wait(first)
    (old,) = simulated.names("rayclusters")
    second = apply(changed(), run_id, take_over=run_id != "manual__1")
    assert second["uid"] == first["uid"]
    ready = wait(second)
    (service,) = simulated.objects("rayservices")
    active = service["status"]["activeServiceStatus"]["rayClusterName"]
    assert active != old
    assert ready["outcome"] == "ready"
    (cluster,) = [one for one in simulated.objects("rayclusters") if one["metadata"]["name"] == active]
    created_at = datetime.fromisoformat(cluster["metadata"]["creationTimestamp"])
    assert datetime.fromisoformat(ready["endpoint_ready_at"]) > created_at


def test_the_same_manifest_again_is_ready_at_once(simulated: BackgroundCluster) -> None:
    """No second RayCluster is made, so there is nothing to wait for but the operator's look."""
    wait(apply(manifest()))
    before = simulated.names("rayclusters")
    assert wait(apply(manifest()))["outcome"] == "ready"
    assert simulated.names("rayclusters") == before


def test_the_failure_of_the_change_is_told(simulated: BackgroundCluster) -> None:
    """The old RayCluster serves on; the wait ends with what failed in the new one, long before the limit."""
    wait(apply(manifest()))
    simulated.fault("deploy_failed", True)
    with pytest.raises(TrialFailedError, match="'llm' failed to deploy"):
        wait(apply(changed()))
    (service,) = simulated.objects("rayservices")
    assert [one["status"] for one in service["status"]["conditions"] if one["type"] == "Ready"] == ["True"]
