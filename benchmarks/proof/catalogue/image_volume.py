"""Image volumes without effect: dropped, mounted and not read, or of another artifact."""

from typing import Any, Final

from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.hub_models import PHI3
from llm_provisioning_simulator.instant_trial import Stage
from llm_provisioning_simulator.world import Image
from proof.catalogue.edits import with_loader
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import world
from proof.catalogue.weights_stream import OTHER, with_source
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_CURRENT

OTHER_ARTIFACT: Final = "registry.example/weights/phi-3-mini@sha256:" + "b2" * 32


def from_the_hub(manifest: Manifest) -> None:
    """Let every engine read the hub's model, though the volume is mounted."""
    with_source(PHI3.model_id)(manifest)


def gate_off(on: Stage) -> None:
    """An API server without the gate ImageVolume."""
    on.cluster.store.image_volumes = False


def push_other(on: Stage) -> None:
    """Put another checkpoint into the registry, as an artifact of its own."""
    digest = OTHER_ARTIFACT.partition("@")[2]
    layers = tuple(OTHER.files.values())
    on.world.push(Image(OTHER_ARTIFACT, digest, layers, {}, {}, None, on.clock.now(), shell=False))
    on.world.weight_images[digest] = OTHER


def other_artifact(manifest: Manifest) -> None:
    """Mount another artifact in every pod."""
    cluster = manifest["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for volume in group["template"]["spec"]["volumes"]:
            if "image" in volume:
                volume["image"]["reference"] = OTHER_ARTIFACT


def _volume(name: str, cloud: str = "eks", **fields: Any) -> NoOp:
    fields = {
        "target": target(cloud, "image_volume", kubernetes_minor="1.35"),
        "declared": SERVED_CURRENT,
        "variant": "image_volume",
        **fields,
    }
    return NoOp(name=name, scenario=Scenario(**fields), claim="image_volume")


IMAGE_VOLUMES: Final = (
    _volume("the weights are mounted and the hub's are read", manifest=from_the_hub),
    _volume(
        "the API server drops the volume, and the engine reads the hub's model",
        "gke",
        manifest=from_the_hub,
        after_preparation=world(gate_off),
        setup=ScalingSetup.DYNAMIC,
    ),
    _volume("another artifact is mounted", manifest=other_artifact, after_preparation=world(push_other)),
    _volume("the weights are mounted and random ones are served", "aks", manifest=with_loader("dummy")),
)
