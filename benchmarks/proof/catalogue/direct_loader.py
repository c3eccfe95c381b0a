"""Direct loaders without effect: another loader was configured, or it read where nothing is gained."""

from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.workload import DirectLoading, ScalingSetup
from proof.catalogue.edits import in_runtime_env, with_loader
from proof.catalogue.entry import NoOp
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_CURRENT

FASTSAFETENSORS: Final = replace(
    SERVED_CURRENT, direct_loader=DirectLoading("fastsafetensors", ("fastsafetensors==0.5.0",), {})
)


def without_the_backend(manifest: Manifest) -> None:
    """Take the loader's variable from the workers, which load the weights."""
    for group in manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        for container in group["template"]["spec"]["containers"]:
            container["env"] = [item for item in container["env"] if item["name"] != "INSTANTTENSOR_BACKEND"]


def _direct(name: str, **fields: Any) -> NoOp:
    fields = {"target": target("eks", "plain"), "declared": SERVED_CURRENT, "variant": "direct_loader", **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim="direct_loader")


DIRECT_LOADERS: Final = (
    _direct("the engine's load format is the default one", manifest=with_loader("auto"), variant="direct_loader_baked"),
    _direct(
        "the engine's load format is safetensors, dynamic",
        manifest=with_loader("safetensors"),
        setup=ScalingSetup.DYNAMIC,
        target=target("gke", "plain"),
    ),
    _direct("InstantTensor reads around the page cache on the workers", manifest=without_the_backend),
    _direct(
        "the runtime environment names a backend of direct reads",
        manifest=in_runtime_env(INSTANTTENSOR_BACKEND="URING,AIO"),
        target=target("aks", "plain"),
    ),
    _direct(
        "a backend of direct reads stands before the buffered ones",
        manifest=in_runtime_env(INSTANTTENSOR_BACKEND="AIO,BUFFERED"),
    ),
    _direct("fastsafetensors has no GPUDirect Storage", declared=FASTSAFETENSORS),
    _direct("the direct loader is replaced by random weights", manifest=with_loader("dummy")),
)
