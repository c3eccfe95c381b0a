"""RayService manifests as plain dicts: read with limits, checked, understood and changed, a user's like a built-in one.

Pure. Manifests are never changed in place: every `with_...` returns a copy. Knows neither clouds nor treatments.
"""

from airflow_llm_provisioning.core.manifests.builtin import builtin_manifest
from airflow_llm_provisioning.core.manifests.check import check_ray_service, name_problems
from airflow_llm_provisioning.core.manifests.content import content
from airflow_llm_provisioning.core.manifests.diff import manifest_diff
from airflow_llm_provisioning.core.manifests.edit import (
    with_env,
    with_first_init_container,
    with_image,
    with_init_container,
    with_pull_policy,
    with_volume,
)
from airflow_llm_provisioning.core.manifests.engine_args import (
    EngineArgs,
    engine_args,
    with_engine_args,
    with_weights_from,
)
from airflow_llm_provisioning.core.manifests.groups import (
    RayGroup,
    accelerators,
    engine_groups,
    group_spec,
    images,
    is_accelerator,
    max_replicas,
    pod_template,
    ray_container,
    ray_groups,
    setup_of,
    starting_replicas,
    worker_groups,
)
from airflow_llm_provisioning.core.manifests.parse import ParsedManifest, parse_documents
from airflow_llm_provisioning.core.manifests.placement import GPU_TOLERATION, Placement, place, with_identity
from airflow_llm_provisioning.core.manifests.runtime_env import (
    runtime_env_vars,
    runtime_pip,
    with_added_pip,
    with_runtime_env_vars,
    without_runtime_pip,
)
from airflow_llm_provisioning.core.manifests.serve_config import serve_applications, serve_config
from airflow_llm_provisioning.core.manifests.setup import with_setup

__all__ = [
    "GPU_TOLERATION",
    "EngineArgs",
    "ParsedManifest",
    "Placement",
    "RayGroup",
    "accelerators",
    "builtin_manifest",
    "check_ray_service",
    "content",
    "engine_args",
    "engine_groups",
    "group_spec",
    "images",
    "is_accelerator",
    "manifest_diff",
    "max_replicas",
    "name_problems",
    "parse_documents",
    "place",
    "pod_template",
    "ray_container",
    "ray_groups",
    "runtime_env_vars",
    "runtime_pip",
    "serve_applications",
    "serve_config",
    "setup_of",
    "starting_replicas",
    "with_added_pip",
    "with_engine_args",
    "with_env",
    "with_first_init_container",
    "with_identity",
    "with_image",
    "with_init_container",
    "with_pull_policy",
    "with_runtime_env_vars",
    "with_setup",
    "with_volume",
    "with_weights_from",
    "without_runtime_pip",
    "worker_groups",
]
