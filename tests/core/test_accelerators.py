"""Any extended resource that a worker requests is its accelerator, and the phase has one name for all."""

from typing import Any

import pytest
from recording_changes import changed, is_worker, recorded, replaced_text

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.placement import accelerators_of

NAMES = [
    "amd.com/gpu",
    "aws.amazon.com/neuron",
    "aws.amazon.com/neuroncore",
    "google.com/tpu",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
    "nvidia.com/gpu.shared",
    "nvidia.com/mig-1g.10gb",
    "nvidia.com/mig-3g.40gb",
]


def phases(analysis: Analysis) -> dict[str, float]:
    return {phase.name: phase.duration_s for phase in analysis.phases}


@pytest.mark.parametrize("name", NAMES)
def test_the_phases_do_not_depend_on_the_accelerators_name(name: str) -> None:
    """A node that offered the accelerator late has the same phases, and no flag says that none was asked."""
    other = analyse(replaced_text(recorded("node-late"), "nvidia.com/gpu", name))
    assert phases(other) == phases(analyse(recorded("node-late")))
    assert not [flag for flag in other.flags if flag.kind == "no_gpu"]


@pytest.mark.parametrize("name", ["cpu", "memory", "hugepages-2Mi", "attachable-volumes.kubernetes.io/x"])
def test_kubernetes_own_resources_are_no_accelerators(name: str) -> None:
    """A pod without an extended resource has no accelerator phase, and the flag says so."""
    analysis = analyse(replaced_text(recorded("node-late"), "nvidia.com/gpu", name))
    assert "worker_gpu_setup" not in phases(analysis)
    assert [flag.kind for flag in analysis.flags if flag.kind == "no_gpu"] == ["no_gpu"]


def test_of_several_resources_the_last_one_counts() -> None:
    """A worker that asks for a GPU and for a network device waits until its node offers both."""

    def two(line: dict[str, Any]) -> None:
        if is_worker(line["object"]):
            for container in line["object"]["spec"]["containers"]:
                for kind in ("limits", "requests"):
                    container["resources"].get(kind, {})["vpc.amazonaws.com/efa"] = "1"

    def offered_at_once(line: dict[str, Any]) -> None:
        line["object"]["status"]["allocatable"]["vpc.amazonaws.com/efa"] = "1"

    lines = changed(recorded("node-late"), "pods", two)
    assert phases(analyse(changed(lines, "nodes", offered_at_once))) == phases(analyse(recorded("node-late")))
    assert "worker_gpu_setup+worker_scheduling" in phases(analyse(lines)), "it was never seen on the node"


def test_a_resource_claim_is_an_accelerator_without_an_instant() -> None:
    """The device of a claim is in no node's status: the two phases are joined, and none is invented."""

    def claim(line: dict[str, Any]) -> None:
        if is_worker(line["object"]):
            line["object"]["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
            for container in line["object"]["spec"]["containers"]:
                for kind in ("limits", "requests"):
                    container["resources"].get(kind, {}).pop("nvidia.com/gpu", None)

    lines = changed(recorded("node-late"), "pods", claim)
    assert accelerators_of(TraceView(lines).worker) == {"resourceclaim/gpu": 1}
    analysis = analyse(lines)
    assert "worker_gpu_setup+worker_scheduling" in phases(analysis)
    assert not [flag for flag in analysis.flags if flag.kind == "no_gpu"]


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("nvidia.com/gpu.product", "NVIDIA-L4"),
        ("cloud.google.com/gke-tpu-accelerator", "tpu-v6e-slice"),
        ("karpenter.k8s.aws/instance-accelerator-name", "inferentia2"),
        ("amd.com/gpu.product-name", "AMD_Instinct_MI300X"),
    ],
)
def test_the_environment_names_the_accelerator_of_any_vendor(label: str, value: str) -> None:
    """Its name is a fact that two arms may differ in."""

    def labelled(line: dict[str, Any]) -> None:
        line["object"]["metadata"].setdefault("labels", {})[label] = value

    found = analyse(changed(recorded("node-late"), "nodes", labelled)).environment
    assert found["worker"]["gpu"] == value
