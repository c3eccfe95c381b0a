"""Shared volumes without effect: not read, not the prepared one, or filled with other weights."""

from typing import Any, Final

from airflow_llm_provisioning.core.treatments.shared_weights import VOLUME
from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.hub_models import PHI3
from llm_provisioning_simulator.instant_trial import Stage
from proof.catalogue.edits import with_loader
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import world
from proof.catalogue.weights_stream import with_source
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_CURRENT


def other_revision(objects: list[Manifest]) -> list[Manifest]:
    """Let the Job fill the volume from another revision of the model."""
    for item in objects:
        if item["kind"] == "Job":
            (container,) = item["spec"]["template"]["spec"]["containers"]
            container["args"][1] = "0" * 40
    return objects


def recreated(on: Stage) -> None:
    """Delete the claims after they were filled, and make them anew under their names."""
    store = on.cluster.store
    for item in store.list("persistentvolumeclaims", "default"):
        metadata = item["metadata"]
        store.remove("persistentvolumeclaims", metadata["name"], metadata["namespace"])
        made = {"metadata": {"name": metadata["name"]}, "spec": item["spec"]}
        store.create("persistentvolumeclaims", made, namespace=metadata["namespace"], manager="kubectl")


def from_the_hub(manifest: Manifest) -> None:
    """Let every engine read the hub's model, though the volume is mounted."""
    with_source(PHI3.model_id)(manifest)


def not_mounted(manifest: Manifest) -> None:
    """Take the volume from every pod, and let the engine read the hub's model."""
    cluster = manifest["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] != VOLUME]
        for container in spec["containers"]:
            container["volumeMounts"] = [item for item in container["volumeMounts"] if item["name"] != VOLUME]
    from_the_hub(manifest)


def _shared(name: str, cloud: str = "eks", **fields: Any) -> NoOp:
    fields = {
        "target": target(cloud, "shared_weights"),
        "declared": SERVED_CURRENT,
        "variant": "shared_weights",
        **fields,
    }
    return NoOp(name=name, scenario=Scenario(**fields), claim="shared_weights")


SHARED_WEIGHTS: Final = (
    _shared("the volume is mounted and the hub's weights are read", manifest=from_the_hub),
    _shared("the volume is not mounted", "gke", manifest=not_mounted, setup=ScalingSetup.DYNAMIC),
    _shared("the volume was filled from another revision", objects=other_revision),
    _shared("the claim was made anew after it was filled", "aks", after_preparation=world(recreated)),
    _shared("the volume is mounted and random weights are served", manifest=with_loader("dummy")),
)
