"""The preparation steps of this package's treatments: which operator does each, and with which arguments."""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.treatments.base import Step, StepContext

_OPERATORS: Final = "airflow_llm_provisioning.operators"


def _build(context: StepContext) -> Mapping[str, Any]:
    return {
        "cloud": context.target.required_cloud_reference(),
        "target": context.target.name,
        "recipe": context.recipe.as_dict(),
    }


def _snapshot(context: StepContext) -> Mapping[str, Any]:
    target = context.target
    told = {
        "volume_initialization_rate_mib_s": target.nodes.volume_initialization_rate_mib_s,
        "cluster": target.cluster_name,
    }
    known = {key: value for key, value in told.items() if value is not None}
    return {
        "cloud": target.required_cloud_reference(),
        "target": target.name,
        "image": context.image,
        "kubernetes_minor": target.nodes.kubernetes_minor,
        "options": known | dict(target.options.get("snapshot") or {}),
    }


def _streaming(context: StepContext) -> dict[str, Any]:
    target = context.target
    return {
        "cloud": target.required_cloud_reference(),
        "target": target.name,
        "image": context.image,
        "cluster_name": target.cluster_name or target.cluster,
        "options": dict(target.options.get("streaming") or {}),
    }


def _gke_streaming(context: StepContext) -> Mapping[str, Any]:
    """Stream the target's own pools, so that no other does; the whole cluster where it has none. What is known of nodes
    that are made later is checked now.
    """
    arguments, options = _streaming(context), context.target.nodes.options
    known = {name: options[name] for name in ("node_service_account", "auto_provisioning") if options.get(name)}
    return arguments | {"pools": list(context.pools()) or None, "options": known | arguments["options"]}


def _warm(context: StepContext) -> Mapping[str, Any]:
    return {"target": context.target.as_dict(), "image": context.image}


BUILD_IMAGE: Final = Step("build_image", f"{_OPERATORS}:BuildServingImage", _build, gives_image=True)
SNAPSHOT_IMAGE: Final = Step("snapshot_image", f"{_OPERATORS}:SnapshotImage", _snapshot, gives_nodes=True)
# AKS: a node that pulls while the image is converted keeps the plain one, so the nodes are told to stream only when the
# conversion has ended. GKE switches streaming on for pools, which must exist.
CONVERT_FOR_STREAMING: Final = Step("enable_streaming", f"{_OPERATORS}:EnableStreaming", _streaming)
STREAM_POOLS: Final = Step("enable_streaming", f"{_OPERATORS}:EnableStreaming", _gke_streaming, before_nodes=False)
WARM_IMAGE: Final = Step("warm_image", f"{_OPERATORS}:WarmImageCache", _warm, before_nodes=False)
