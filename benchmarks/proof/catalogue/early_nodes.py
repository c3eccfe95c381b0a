"""Placeholders that made no node come earlier, or not with the worker's image."""

from collections.abc import Callable
from typing import Any, Final

from airflow_llm_provisioning.core.workload import ScalingSetup
from proof.catalogue.entry import NoOp
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_2025


def _none(_: Manifest) -> None:
    return None


def _in_container(**fields: Any) -> Callable[[Manifest], Manifest]:
    """Change the placeholder's container."""

    def change(pod: Manifest) -> Manifest:
        for container in pod["spec"]["containers"]:
            container.update(fields)
        return pod

    return change


def _without_marks(pod: Manifest) -> Manifest:
    """Take away the label by which Luna takes a pod."""
    pod["metadata"]["labels"].pop("elotl-luna")
    return pod


def _made_static(manifest: Manifest) -> None:
    """Switch Ray's autoscaler off, and ask for one worker."""
    config = manifest["spec"]["rayClusterConfig"]
    config["enableInTreeAutoscaling"] = False
    for group in config["workerGroupSpecs"]:
        group.update(replicas=1, minReplicas=1)


def _with_priority(value: int) -> Callable[[list[Manifest]], list[Manifest]]:
    """Give the placeholders' class another priority."""

    def change(objects: list[Manifest]) -> list[Manifest]:
        return [{**item, "value": value} if item["kind"] == "PriorityClass" else item for item in objects]

    return change


def _early(name: str, cloud: str = "eks", autoscaler: str = "karpenter", **fields: Any) -> NoOp:
    scenario = Scenario(
        target=target(cloud, "early_node", autoscaler),
        declared=SERVED_2025,
        variant="early_node",
        setup=ScalingSetup.DYNAMIC,
        **fields,
    )
    return NoOp(name=name, scenario=scenario, claim="early_node")


EARLY_NODES: Final = (
    _early("the placeholder was not created", companion=_none),
    _early(
        "the placeholder asks for no GPU, and waits on a node of the head's kind",
        companion=_in_container(resources={"requests": {"cpu": "1", "memory": "2Gi"}}),
    ),
    _early(
        "the placeholder pulls another image", companion=_in_container(image="rayproject/ray-ml:2.33.0.914af0-py311")
    ),
    _early("Luna does not see the placeholder", autoscaler="luna", companion=_without_marks),
    _early(
        "the placeholder is expendable, and the cluster autoscaler makes no node for it",
        "gke",
        "native",
        objects=_with_priority(-100),
    ),
    _early("the placeholder is as important as the worker, and keeps its node", objects=_with_priority(0)),
    _early("an edit made the start static: the worker was asked for at the submission anyway", manifest=_made_static),
)
