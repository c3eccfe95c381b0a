"""Buffers whose nodes the trial's pods did not get, or got without their image."""

from collections.abc import Callable
from typing import Any, Final

from airflow_llm_provisioning.core.treatments.kept_nodes import GROUP_LABEL
from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.instant_trial import Stage
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import world
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_2025

HEAD: Final = "headgroup"


def _of_workers(change: Callable[[Manifest], None]) -> Callable[[list[Manifest]], list[Manifest]]:
    """Change the Deployments that hold the workers' nodes."""

    def changed(objects: list[Manifest]) -> list[Manifest]:
        for item in objects:
            labels = item.get("spec", {}).get("selector", {}).get("matchLabels", {})
            if item["kind"] == "Deployment" and labels[GROUP_LABEL] != HEAD:
                change(item)
        return objects

    return changed


def _without_replicas(deployment: Manifest) -> None:
    deployment["spec"]["replicas"] = 0


def _with_another_image(deployment: Manifest) -> None:
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        container["image"] = "rayproject/ray-ml:2.33.0.914af0-py311"


def _without_gpu(deployment: Manifest) -> None:
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        container["resources"] = {"requests": {"cpu": "1", "memory": "2Gi"}}


def _as_important(objects: list[Manifest]) -> list[Manifest]:
    return [{**item, "value": 0} if item["kind"] == "PriorityClass" else item for item in objects]


def _deleted(on: Stage) -> None:
    """Take the buffer away after it was prepared, as a clean-up does."""
    store = on.cluster.store
    for item in store.list("deployments", "default"):
        store.delete("deployments", item["metadata"]["name"], "default")


def _scaled_down(on: Stage) -> None:
    """Scale the buffer to nothing, as by hand: the objects are there, and hold no node."""

    def change(item: Manifest) -> None:
        item["spec"]["replicas"] = 0

    store = on.cluster.store
    for item in store.list("deployments", "default"):
        store.mutate("deployments", item["metadata"]["name"], "default", change, manager="kubectl")


def _buffer(name: str, cloud: str = "eks", autoscaler: str = "karpenter", **fields: Any) -> NoOp:
    scenario = Scenario(
        target=target(cloud, "capacity_buffer", autoscaler),
        declared=SERVED_2025,
        variant="capacity_buffer",
        **fields,
    )
    return NoOp(name=name, scenario=scenario, claim="capacity_buffer")


CAPACITY_BUFFERS: Final = (
    _buffer("the buffer holds the head's node only", objects=_of_workers(_without_replicas)),
    _buffer("the workers' placeholder pulled another image", objects=_of_workers(_with_another_image)),
    _buffer(
        "the workers' placeholder asks for no GPU",
        objects=_of_workers(_without_gpu),
        setup=ScalingSetup.DYNAMIC,
    ),
    _buffer("the placeholders are as important as the trial's pods", objects=_as_important),
    _buffer("the buffer was deleted after it was prepared", after_preparation=world(_deleted)),
    _buffer("the buffer was scaled to nothing after it was prepared", "aks", after_preparation=world(_scaled_down)),
)
LEFTOVER: Final = NoOp(
    name="the worker's node is of the last trial, not of the buffer",
    scenario=Scenario(
        target=target("eks", "capacity_buffer"),
        declared=SERVED_2025,
        variant="capacity_buffer",
        objects=_of_workers(_without_replicas),
        earlier=1,
    ),
    claim="cold_start",
    truth="excluded",
    reason="start warm",
)
