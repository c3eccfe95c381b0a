"""`make demo TREATMENTS=all`: an experiment with an arm for every treatment that the simulated cluster can have."""

from pathlib import Path

import pytest
from cluster_in_background import ClusterThread, kubernetes_connection
from treated import set_operators, write_treated

from airflow_llm_provisioning.core.treatments import known_treatments
from airflow_llm_provisioning.dag_factory import load_experiment
from llm_provisioning_simulator.server import Simulator


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
def test_every_treatment_of_a_cloud_has_an_arm_or_a_reason(tmp_path: Path, cloud: str) -> None:
    """The file is a valid experiment, each arm has a cluster of its own, and nothing is left out in silence."""
    path = tmp_path / "experiment.yaml"
    told = list(write_treated(path, [cloud], ["all"]))
    experiment = load_experiment(path)
    expected = {name for name, item in known_treatments().items() if not item.clouds or cloud in item.clouds}
    reasons = {line.partition("no arm for ")[2].partition(":")[0] for line in told}
    arms = {variant for target in experiment.targets for variant in target.variants}
    assert expected <= arms | reasons
    assert not arms & reasons
    assert len({target.cluster for target in experiment.targets}) == len(experiment.targets)
    assert set(Simulator(experiment, speed=100.0, seed=1).clusters) == {t.cluster for t in experiment.targets}


def test_named_treatments_add_their_arms_only(tmp_path: Path) -> None:
    """What the shipped experiment has stays as it is."""
    path = tmp_path / "experiment.yaml"
    assert list(write_treated(path, ["eks"], ["soci_parallel_pull"])) == []
    experiment = load_experiment(path)
    assert [target.name for target in experiment.targets] == ["eks-plain", "eks-fast", "eks-soci-parallel-pull"]
    assert {workload.name for workload in experiment.workloads} == {"phi3-2025"}


def test_an_arm_on_one_cloud_only(tmp_path: Path) -> None:
    """The others stay as they are; a cloud that is not run is told."""
    path = tmp_path / "experiment.yaml"
    assert list(write_treated(path, ["eks", "gke"], ["capacity_buffer@eks"])) == []
    arms = {target.name for target in load_experiment(path).targets if "capacity_buffer" in target.variants}
    assert arms == {"eks-capacity-buffer"}
    told = list(write_treated(path, ["gke"], ["capacity_buffer@eks"]))
    assert told == ["No arm for capacity_buffer on eks, which is not among the clouds of this run."]
    assert [target.name for target in load_experiment(path).targets] == ["gke-plain", "gke-fast"]


def test_a_cluster_of_a_trimmed_start_has_the_operators_switch(tmp_path: Path) -> None:
    """Without it the arm measures nothing: every trial of it would be `not applied`."""
    path = tmp_path / "experiment.yaml"
    list(write_treated(path, ["eks"], ["ray_start_trim"]))
    with ClusterThread(cloud="eks") as cluster:
        connection = kubernetes_connection(cluster.url)
        told = list(set_operators(path, {"AIRFLOW_CONN_SIMULATED_EKS_RAY_START_TRIM": connection}))
        (operator,) = cluster.objects("deployments", "kuberay-operator")
    assert told == ["eks-ray-start-trim: ENABLE_INIT_CONTAINER_INJECTION=false is set on the KubeRay operator."]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "ENABLE_INIT_CONTAINER_INJECTION", "value": "false"}]


def test_a_run_without_a_trimmed_start_asks_no_cluster(tmp_path: Path) -> None:
    """There is nothing to set, and no connection is read."""
    path = tmp_path / "experiment.yaml"
    list(write_treated(path, ["eks"], ["capacity_buffer@eks"]))
    assert list(set_operators(path, {})) == []


@pytest.mark.parametrize("wanted", ["capcity_buffer", "capcity_buffer@eks", "all ,none"])
def test_a_name_that_no_treatment_has_is_refused(tmp_path: Path, wanted: str) -> None:
    """A typing error must not run the demo without the arm."""
    with pytest.raises(ValueError, match=r"is no installed treatment\. There are: aks_artifact_streaming, "):
        list(write_treated(tmp_path / "experiment.yaml", ["eks"], wanted.split(",")))
