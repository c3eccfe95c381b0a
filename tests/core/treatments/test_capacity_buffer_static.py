"""Static nodes: believed only where a pre-pull pod marks them, and where their instance types were named."""

import sys
from pathlib import Path
from typing import Any

import pytest
from proof.catalogue.buffer_static import GATES, TARGET
from proof.recorded_trial import Scenario
from proof.workloads import SERVED_2025
from treatment_recordings import Line, Recording, told, without_events

from airflow_llm_provisioning.core.names import LABEL_TARGET
from airflow_llm_provisioning.core.prepared_objects import NODES
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.treatments import StepContext, treatment
from airflow_llm_provisioning.core.workload import Workload

sys.path.insert(0, str(Path(__file__).parents[1] / "manifests"))

from sample_manifests import sample

NAME = "capacity_buffer_static"


@pytest.fixture(scope="module")
def proving() -> Recording:
    return Recording(Scenario(target=TARGET, declared=SERVED_2025, variant=NAME, noise=False, gates=GATES))


def without_the_workers_node(line: Line) -> Line:
    """Change what the trial's header says of the nodes that were marked."""
    if line.get("type") == "HEADER":
        del line["object"]["trial"]["opened"]["prepared"]["steps"][f"prepare_{NAME}"]["nodes"][-1]
    return line


def test_static_nodes_that_a_pre_pull_pod_marks_prove_it(proving: Recording) -> None:
    """Head and worker found node and image there."""
    found = proving.verdict(NAME)
    assert (found.value, told(found).count("held a pre-pull pod")) == ("yes", 2)
    assert (proving.row.start, proving.row.flags) == ("cold", ())


def test_a_node_of_another_pool_refutes_it(proving: Recording) -> None:
    """A node of the target's own pools is no static one."""
    assert proving.verdict(NAME, without_the_workers_node).value == "no"
    assert treatment(NAME).kept(proving.view(without_the_workers_node)).value == "no"


def test_a_recording_without_the_kubelets_word_is_unknown(proving: Recording) -> None:
    """How the images came is not told."""
    assert proving.verdict(NAME, without_events("Pulled", "Pulling")).value == "unknown"


def test_a_users_own_manifest_gets_pools_of_its_size() -> None:
    """KubeRay's LLM sample: one CPU node and its workers' GPU nodes, of the named types, with the target's label and
    class; no field that Karpenter refuses beside replicas.
    """
    mine = Workload("mine", sample("kuberay-llm-serve"))
    (step,) = treatment(NAME).steps
    arguments = step.arguments(StepContext(TARGET, mine.recipe, {"image": "i"}, manifest=lambda: mine.manifest))
    *pools, daemonset = arguments["objects"]
    kept = {pool["metadata"]["name"].rpartition("-")[2]: pool["spec"] for pool in pools}
    assert daemonset["metadata"]["annotations"][NODES] == "-".join(2 * [str(sum(s["replicas"] for s in kept.values()))])
    for kind, size in (("cpu", "m5.xlarge"), ("gpu", "g6.4xlarge")):
        spec = kept[kind]["template"]["spec"]
        assert {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [size]} in spec["requirements"]
        assert bool(spec.get("taints")) is (kind == "gpu")
        assert spec["nodeClassRef"]["name"] == TARGET.name
        assert kept[kind]["template"]["metadata"]["labels"] == {LABEL_TARGET: TARGET.name}
        assert set(kept[kind]) == {"replicas", "template"}


def karpenter(gates: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "karpenter",
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/name": "karpenter"},
        },
        "spec": {"template": {"spec": {"containers": [{"env": [{"name": "FEATURE_GATES", "value": gates}]}]}}},
    }


def test_a_karpenter_without_the_gate_is_refused() -> None:
    """Its Deployment tells it; one that is not seen tells nothing."""
    item = treatment(NAME)
    off = {"deployments": [karpenter("NodeRepair=true,StaticCapacity=false")]}
    assert "set StaticCapacity=true in its FEATURE_GATES" in item.on_cluster(off, declared=True)[0]
    assert item.on_cluster(off, declared=False) == ()
    on = {"deployments": [karpenter("NodeRepair=false, StaticCapacity=true")]}
    assert item.on_cluster(on, declared=True) == item.on_cluster({"deployments": []}, declared=True) == ()


def test_nodes_that_cannot_be_static_are_refused() -> None:
    """Without Karpenter, without a named type, beside another form; AKS is not among its clouds."""
    item = treatment(NAME)
    assert item.requires(TARGET.nodes, SERVED_2025) == ()
    unnamed = NodeProfile("t", "eks", "karpenter", "1.34", cpu_instance_type="m5.xlarge")
    (why,) = item.requires(unnamed, SERVED_2025)
    assert "name `nodes.gpu_instance_type`" in why
    luna = NodeProfile("t", "eks", "luna", "1.34", cpu_instance_type="m5.xlarge", gpu_instance_type="g6.4xlarge")
    assert "of a Karpenter that runs in the cluster" in item.requires(luna, SERVED_2025)[0]
    both = treatment("capacity_buffer").nodes(TARGET.nodes)
    assert "exclude each other" in item.requires(both, SERVED_2025)[0]
    assert item.clouds == {"eks"}
