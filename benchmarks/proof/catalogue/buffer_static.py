"""Static nodes that the trial's pods did not get, or got without their image."""

from collections.abc import Callable
from typing import Any, Final

from airflow_llm_provisioning.core.prepared_objects import NODES
from llm_provisioning_simulator.instant_trial import Stage
from proof.catalogue.buffer_objects import another_image
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import world
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_2025

GATES: Final = frozenset({"StaticCapacity"})
# A static pool names its types.
TARGET: Final = target(
    "eks", "capacity_buffer_static", "karpenter", gpu_instance_type="g6.4xlarge", cpu_instance_type="m5.xlarge"
)
_INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"


def _each(kind: str, change: Callable[[Manifest], object]) -> Callable[[list[Manifest]], list[Manifest]]:
    def changed(objects: list[Manifest]) -> list[Manifest]:
        for item in objects:
            if item["kind"] == kind:
                change(item)
        return objects

    return changed


def _no_gpu_nodes(item: Manifest) -> None:
    """Keep no node with a GPU, and wait for none."""
    if item["kind"] == "DaemonSet":
        item["metadata"]["annotations"][NODES] = "1-1"
    elif item["metadata"]["name"].endswith("-gpu"):
        item["spec"]["replicas"] = 0


def _too_small(pool: Manifest) -> None:
    """Keep GPU nodes on which the worker does not fit."""
    for rule in pool["spec"]["template"]["spec"]["requirements"]:
        if rule["key"] == _INSTANCE_TYPE and rule["values"] == ["g6.4xlarge"]:
            rule["values"] = ["g6.xlarge"]


def _scaled_to_nothing(on: Stage) -> None:
    store = on.cluster.store

    def change(item: Manifest) -> None:
        item["spec"]["replicas"] = 0

    for item in store.list("nodepools"):
        if item["spec"].get("replicas") is not None:
            store.mutate("nodepools", item["metadata"]["name"], None, change, manager="kubectl")


def _deleted(on: Stage) -> None:
    store = on.cluster.store
    for item in store.list("nodepools"):
        if item["spec"].get("replicas") is not None:
            store.delete("nodepools", item["metadata"]["name"])


def _static(name: str, **fields: Any) -> NoOp:
    scenario = Scenario(target=TARGET, declared=SERVED_2025, variant="capacity_buffer_static", gates=GATES, **fields)
    return NoOp(name=name, scenario=scenario, claim="capacity_buffer_static")


def _without_gpu_nodes(objects: list[Manifest]) -> list[Manifest]:
    for item in objects:
        _no_gpu_nodes(item)
    return objects


BUFFER_STATIC: Final = (
    _static("no static node has a GPU", objects=_without_gpu_nodes),
    _static("the static GPU node is too small for the worker", objects=_each("NodePool", _too_small)),
    _static("the DaemonSet of static nodes pulled another image", objects=_each("DaemonSet", another_image)),
    _static(
        "the static pools were scaled to nothing after they were prepared", after_preparation=world(_scaled_to_nothing)
    ),
    _static("the static pools were deleted after they were prepared", after_preparation=world(_deleted)),
)
