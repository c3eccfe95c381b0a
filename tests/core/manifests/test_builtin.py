"""The built-in workload through the same changes as a user's manifest is what the former renderer makes."""

from typing import Any

import pytest
import yaml

from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.core.manifest import ray_service
from airflow_llm_provisioning.core.manifests import (
    Placement,
    builtin_manifest,
    check_ray_service,
    place,
    runtime_pip,
    setup_of,
    with_added_pip,
    with_env,
    with_identity,
    with_image,
    with_setup,
    without_runtime_pip,
)
from airflow_llm_provisioning.core.treatments import VARIANTS, plan_serving, serving, treatments_of
from airflow_llm_provisioning.core.workload import WORKLOADS, ScalingSetup
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS

LABELS = {"llm-provisioning/trial": "t-1", "app.kubernetes.io/managed-by": "airflow-llm-provisioning"}
IMAGE = "registry.example/serving:r-1"
NODES = [
    NodeProfile("n", "eks", "luna", "1.34"),
    NodeProfile("n", "gke", "luna", "1.34", cpu_instance_type="e2-standard-4"),
    NodeProfile("n", "aks", "native", "1.34", gpu_instance_type="Standard_NV36ads_A10_v5"),
    NodeProfile("n", "eks", "karpenter", "1.34"),
    NodeProfile("n", "gke", "native", "1.34", gpu_instance_type="g2-standard-8"),
    NodeProfile("n", "generic", "native", "1.34"),
]


def readable(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with its Serve configuration as what it says, so that only the spelling may differ."""
    spec = {**manifest["spec"], "serveConfigV2": yaml.safe_load(manifest["spec"]["serveConfigV2"])}
    return {**manifest, "spec": spec}


@pytest.mark.parametrize("nodes", NODES, ids=lambda item: f"{item.cloud}-{item.autoscaler}")
@pytest.mark.parametrize("setup", ScalingSetup)
@pytest.mark.parametrize("profile", sorted(WORKLOADS))
def test_every_variant_is_what_it_was(profile: str, setup: ScalingSetup, nodes: NodeProfile) -> None:
    """Every profile, set-up, variant and node autoscaler: same keys and values, in any order."""
    workload, checked = WORKLOADS[profile], 0
    autoscaler = AUTOSCALERS[nodes.autoscaler]
    head, worker = autoscaler.placement(nodes, "head"), autoscaler.placement(nodes, "worker")
    for variant in VARIANTS:
        try:
            treatments_of(variant, nodes.cloud)
        except ConfigurationError:
            continue
        pods = serving(plan_serving(workload, variant, nodes.cloud), IMAGE)
        former = ray_service("n", workload, setup, pods, head=head, worker=worker, labels=LABELS, namespace="serving")
        made = with_setup(builtin_manifest(workload), setup)
        made = with_image(made, {workload.image.base_reference: pods.image})
        made = with_added_pip(made, pods.pip) if pods.pip else without_runtime_pip(made)
        made = with_identity(place(with_env(made, pods.env), head, worker), "n", "serving", LABELS)
        assert readable(made) == readable(former)
        check_ray_service(made)
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("profile", sorted(WORKLOADS))
def test_without_marks_and_labels_it_is_what_it_was(profile: str) -> None:
    """Empty maps stand where they stood."""
    workload = WORKLOADS[profile]
    nothing = Placement()
    pods = serving(plan_serving(workload, "baseline", "generic"), None)
    former = ray_service("n", workload, ScalingSetup.STATIC, pods, head=nothing, worker=nothing, labels={})
    made = with_identity(place(builtin_manifest(workload), nothing, nothing), "n", "default", {})
    assert readable(made) == readable(former)


@pytest.mark.parametrize("profile", sorted(WORKLOADS))
def test_a_workload_is_static_and_installs_what_its_image_lacks(profile: str) -> None:
    """Before any treatment."""
    workload = WORKLOADS[profile]
    made = builtin_manifest(workload)
    assert setup_of(made) is ScalingSetup.STATIC
    assert runtime_pip(made) == workload.runtime_pip
    assert setup_of(with_setup(made, ScalingSetup.DYNAMIC)) is ScalingSetup.DYNAMIC
    assert with_setup(with_setup(made, ScalingSetup.DYNAMIC), ScalingSetup.STATIC) == made
