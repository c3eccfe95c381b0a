"""The built-in workload is changed by the same code as a user's manifest: treatments add nothing to the library."""

from typing import Any

import pytest
import yaml

from airflow_llm_provisioning.core.builtin_profiles import PROFILES, BuiltinProfile
from airflow_llm_provisioning.core.experiment import NodeProfile
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
from airflow_llm_provisioning.core.scaling import ScalingSetup
from airflow_llm_provisioning.core.treatments import deployed_manifest, plan_deployment, resolved
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import builtin_workload
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


def readable(manifest: Any) -> dict[str, Any]:
    """Return a manifest with its Serve configuration as what it says, so that only the spelling may differ."""
    spec = {**manifest["spec"], "serveConfigV2": yaml.safe_load(manifest["spec"]["serveConfigV2"])}
    return {**manifest, "spec": spec}


def by_hand(served: BuiltinProfile, variant: str, setup: ScalingSetup) -> dict[str, Any]:
    """Return what a variant of the origin deploys, written with the library alone."""
    fast, baked = variant in ("fast_download", "improved"), variant in ("baked_image", "improved")
    made = with_setup(builtin_manifest(served), setup)
    if variant in ("baked_image", "image_delivery", "improved"):
        made = with_image(made, {served.image.base_reference: IMAGE})
    pip = () if baked else (*served.runtime_pip, *(served.fast_download_pip if fast else ()))
    made = with_added_pip(made, pip) if pip else without_runtime_pip(made)
    return with_env(made, served.fast_download_env if fast else {})


@pytest.mark.parametrize("nodes", NODES, ids=lambda item: f"{item.cloud}-{item.autoscaler}")
@pytest.mark.parametrize("setup", ScalingSetup)
@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_variant_is_what_the_library_makes(profile: str, setup: ScalingSetup, nodes: NodeProfile) -> None:
    """Every profile, set-up, variant and node autoscaler: same keys and values, in any order."""
    workload, checked = builtin_workload(profile, profile), 0
    autoscaler = AUTOSCALERS[nodes.autoscaler]
    head, worker = autoscaler.placement(nodes, "head"), autoscaler.placement(nodes, "worker")
    for variant, names in BUILTIN_VARIANTS.items():
        try:
            treatments = resolved(names, nodes.cloud)
        except ConfigurationError:
            continue
        deployed = deployed_manifest(plan_deployment(workload, treatments, setup), workload, IMAGE)
        expected = with_identity(
            place(by_hand(PROFILES[profile], variant, setup), head, worker), "n", "serving", LABELS
        )
        made = with_identity(place(deployed, head, worker), "n", "serving", LABELS)
        assert readable(made) == readable(expected)
        check_ray_service(made)
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_without_marks_and_labels_only_name_and_namespace_are_added(profile: str) -> None:
    """A placement that says nothing adds nothing but the toleration of a GPU's taint."""
    nothing = Placement()
    made = with_identity(place(builtin_manifest(PROFILES[profile]), nothing, nothing), "n", "default", {})
    assert made["metadata"] == {"name": "n", "namespace": "default", "labels": {}}
    expected = builtin_manifest(PROFILES[profile])["spec"]
    (group,) = expected["rayClusterConfig"]["workerGroupSpecs"]
    group["template"]["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert made["spec"] == expected


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_workload_is_static_and_installs_what_its_image_lacks(profile: str) -> None:
    """Before any treatment."""
    served = PROFILES[profile]
    made = builtin_manifest(served)
    assert setup_of(made) is ScalingSetup.STATIC
    assert runtime_pip(made) == served.runtime_pip
    assert setup_of(with_setup(made, ScalingSetup.DYNAMIC)) is ScalingSetup.DYNAMIC
    assert with_setup(with_setup(made, ScalingSetup.DYNAMIC), ScalingSetup.STATIC) == made
