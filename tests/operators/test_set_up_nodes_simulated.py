"""Setting up a target's nodes ends only when the node autoscaler works by the new configuration."""

from typing import Any

import pytest
from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import run

from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.operators import preparing
from airflow_llm_provisioning.operators.preparation import SetUpNodes


@pytest.mark.usefixtures("results_db")
def test_luna_has_read_its_configuration_when_the_set_up_ends(simulated: BackgroundCluster) -> None:
    """A trial that begins at once gets nodes of the new configuration: Luna's deployments run anew by then."""
    result = run(SetUpNodes(task_id="s", target=simulated_target().as_dict()))
    assert result["restarted"] == ["elotl/elotl-luna-manager", "elotl/elotl-luna-webhook"]
    assert result["seconds"] >= 3
    for name in ("elotl-luna-manager", "elotl-luna-webhook"):
        (found,) = [item for item in simulated.objects("deployments") if item["metadata"]["name"] == name]
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"] == 2


@pytest.mark.usefixtures("results_db")
def test_a_deployment_that_does_not_come_back_is_said(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that never becomes available keeps the old configuration in force: no silent success."""
    monkeypatch.setattr(preparing, "ROLL_OUT_S", 60.0)

    def broken(item: dict[str, Any]) -> None:
        item["status"]["availableReplicas"] = 0

    store = simulated.simulated.store
    simulated.call(
        lambda: store.mutate("deployments", "elotl-luna-webhook", "elotl", broken, subresource="status", manager="t")
    )
    with pytest.raises(ClusterError, match=r"elotl/elotl-luna-webhook on sim .* did not run anew within 60 s"):
        run(SetUpNodes(task_id="s", target=simulated_target().as_dict()))
