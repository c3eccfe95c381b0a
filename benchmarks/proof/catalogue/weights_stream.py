"""Streams without effect: the weights are downloaded, are others, or come from far away."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.hub_models import PHI3, HubModel
from llm_provisioning_simulator.instant_trial import Stage
from llm_provisioning_simulator.prepared import Prepared
from proof.catalogue.edits import with_loader
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import world
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_CURRENT

# Half of the model: another checkpoint under the same name.
OTHER: Final = HubModel(PHI3.model_id, "0" * 40, {"model.safetensors": 3_821_090_940})


def with_source(source: str) -> Callable[[Manifest], None]:
    """Change where every engine reads its weights from."""

    def change(manifest: Manifest) -> None:
        config = yaml.safe_load(manifest["spec"]["serveConfigV2"])
        for application in config["applications"]:
            for item in application["args"]["llm_configs"]:
                item["model_loading_config"]["model_source"] = source
        manifest["spec"]["serveConfigV2"] = yaml.safe_dump(config)

    return change


def bucket(**fields: Any) -> Callable[[Stage, Prepared], Prepared | None]:
    """Change the bucket after it was prepared."""

    def change(on: Stage) -> None:
        for address, found in on.world.buckets.items():
            on.world.buckets[address] = replace(found, **fields)

    return world(change)


def other_model(on: Stage) -> None:
    """Put another checkpoint into the bucket's folder."""
    for address, found in on.world.buckets.items():
        models: Mapping[str, HubModel] = dict.fromkeys(found.models, OTHER)
        on.world.buckets[address] = replace(found, models=models)


def _stream(name: str, **fields: Any) -> NoOp:
    fields = {
        "target": target("eks", "weights_stream"),
        "declared": SERVED_CURRENT,
        "variant": "weights_stream",
        **fields,
    }
    return NoOp(name=name, scenario=Scenario(**fields), claim="weights_stream")


STREAMS: Final = (
    _stream("the streamer is given the hub's model", manifest=with_source(PHI3.model_id)),
    _stream(
        "the streamer is given the hub's model, dynamic",
        manifest=with_source(PHI3.model_id),
        target=target("gke", "weights_stream"),
        setup=ScalingSetup.DYNAMIC,
    ),
    _stream("Ray copies the bucket to the disk, because no streaming format is named", manifest=with_loader("auto")),
    _stream("the bucket is in another region", after_preparation=bucket(region="ap-southeast-2")),
    _stream(
        "the storage account of Azure is in another region",
        after_preparation=bucket(region="westeurope"),
        target=target("aks", "weights_stream"),
    ),
    _stream("the bucket holds another checkpoint", after_preparation=world(other_model)),
    _stream(
        "the bucket of another cloud holds another checkpoint",
        after_preparation=world(other_model),
        target=target("aks", "weights_stream"),
    ),
)
