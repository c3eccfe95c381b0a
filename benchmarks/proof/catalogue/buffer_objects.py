"""CapacityBuffers whose nodes the trial's pods did not get, or got without their image."""

from collections.abc import Callable
from typing import Any, Final

from airflow_llm_provisioning.core.prepared_objects import NODES
from llm_provisioning_simulator.instant_trial import Stage
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import world
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_2025

GATES: Final = frozenset({"CapacityBuffer"})
_WORKERS: Final = "{name}-2"


def _each(kind: str, change: Callable[[Manifest], object]) -> Callable[[list[Manifest]], list[Manifest]]:
    def changed(objects: list[Manifest]) -> list[Manifest]:
        for item in objects:
            if item["kind"] == kind:
                change(item)
        return objects

    return changed


def _for_nodes(daemonset: Manifest, nodes: str) -> None:
    daemonset["metadata"]["annotations"][NODES] = nodes


def head_only(objects: list[Manifest]) -> list[Manifest]:
    """Keep no room for workers, and wait for one node."""
    _each("DaemonSet", lambda item: _for_nodes(item, "1-1"))(objects)
    return [item for item in objects if item["kind"] == "DaemonSet" or item["metadata"]["name"] != _WORKERS]


def another_image(daemonset: Manifest) -> None:
    """Pull another image."""
    for container in daemonset["spec"]["template"]["spec"]["containers"]:
        container["image"] = "rayproject/ray-ml:2.33.0.914af0-py311"


def kept_off_gpu_nodes(daemonset: Manifest) -> None:
    """Leave the tolerations out, and do not wait for the GPU's node."""
    daemonset["spec"]["template"]["spec"]["tolerations"] = []
    _for_nodes(daemonset, "1-2")


def _deleted(on: Stage) -> None:
    """Take the buffers away after they were prepared: the nodes are empty then."""
    store = on.cluster.store
    for item in store.list("capacitybuffers", "default"):
        store.delete("capacitybuffers", item["metadata"]["name"], "default")


def _without_template(on: Stage) -> None:
    """Delete the template that the buffers refer to."""
    store = on.cluster.store
    for item in store.list("podtemplates", "default"):
        store.delete("podtemplates", item["metadata"]["name"], "default")


def _buffer(name: str, cloud: str = "eks", autoscaler: str = "karpenter", **fields: Any) -> NoOp:
    scenario = Scenario(
        target=target(cloud, "capacity_buffer_object", autoscaler),
        declared=SERVED_2025,
        variant="capacity_buffer_object",
        gates=GATES,
        **fields,
    )
    return NoOp(name=name, scenario=scenario, claim="capacity_buffer_object")


BUFFER_OBJECTS: Final = (
    _buffer("the CapacityBuffer keeps room for the head only", objects=head_only),
    _buffer("the pre-pull DaemonSet pulled another image", objects=_each("DaemonSet", another_image)),
    _buffer(
        "the pre-pull DaemonSet does not tolerate the taint of GPU nodes",
        objects=_each("DaemonSet", kept_off_gpu_nodes),
    ),
    _buffer("the CapacityBuffer was deleted after it was prepared", after_preparation=world(_deleted)),
    _buffer(
        "the template of the CapacityBuffer was deleted after it was prepared",
        after_preparation=world(_without_template),
    ),
)
