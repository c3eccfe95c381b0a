"""Which treatments exclude each other, where neither target nor workload is known: on a stand-in of both.

What a treatment says with others, and does not say alone, is a contradiction between them: nodes that cannot be both,
an engine that is told two loaders.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import Treatment, impossible, plan_deployment, treated_nodes
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError

_WORKLOAD: Final = "phi3-current"
# What a target must tell, so that every treatment changes the manifest as it does in earnest.
_TOLD: Final[Mapping[str, Any]] = {
    "weights_stream": {"source": "s3://stand-in/model", "region": "stand-in"},
    "image_volume": {"reference": f"stand-in/weights@sha256:{'0' * 64}"},
    "shared_weights": {"storage_class": "stand-in"},
    "compile_cache": {"storage_class": "stand-in"},
}


def contradictions(treatments: Sequence[Treatment], cloud: str, autoscaler: str) -> tuple[str, ...]:
    """Return in sentences why treatments cannot be had together on a cloud; empty where they can, as far as that does
    not depend on the user's own target and workload.
    """
    nodes = NodeProfile("stand-in", cloud, autoscaler, "1.35", gpu_skus=("L4",))
    target = Target("stand-in", "stand-in", "stand-in", nodes, (), options={"treatments": dict(_TOLD)})
    alone = {told for item in treatments for told in _reasons((item,), target)}
    return tuple(told for told in dict.fromkeys(_reasons(treatments, target)) if told not in alone)


def _reasons(treatments: Sequence[Treatment], target: Target) -> Iterator[str]:
    workload = builtin_workload(_WORKLOAD)
    treated = replace(target, nodes=treated_nodes(target.nodes, treatments))
    yield from impossible(treatments, treated, workload)
    try:
        plan_deployment(workload, treatments, target=treated)
    except ConfigurationError as error:
        yield str(error)
