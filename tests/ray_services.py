"""RayServices of the built-in workloads for tests, rendered by the core's own functions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025, BuiltinProfile
from airflow_llm_provisioning.core.manifests import Placement, place, with_env, with_identity
from airflow_llm_provisioning.core.workload import ScalingSetup, builtin_workload


def a_ray_service(
    profile: BuiltinProfile = PHI3_2025,
    *,
    name: str = "llm-model-serve",
    image: str | None = None,
    pip: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    setup: ScalingSetup = ScalingSetup.STATIC,
    head: Placement | None = None,
    workers: Placement | None = None,
    labels: Mapping[str, str] | None = None,
    namespace: str = "default",
) -> dict[str, Any]:
    """Return a RayService. `image`: None for the profile's base. `pip`: what Ray installs at start. `env`: environment
    of the Ray containers.
    """
    workload = builtin_workload(profile.profile, profile.profile, replace(profile, runtime_pip=tuple(pip)))
    if image is not None:
        workload = workload.with_image(image)
    manifest = with_env(workload.manifest_for(setup), env or {})
    placed = place(manifest, head=head or Placement(), workers=workers or Placement())
    return with_identity(placed, name=name, namespace=namespace, labels=labels or {})
