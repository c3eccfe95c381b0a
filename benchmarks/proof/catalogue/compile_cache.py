"""Compile caches without effect: of another engine, GPU or configuration, not brought to a pod, empty, or unused."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.builtin_profiles import PHI3_CURRENT
from airflow_llm_provisioning.core.treatments.compile_cache import COPY, INIT
from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.app.volumes import Archive
from llm_provisioning_simulator.instant_trial import Stage
from llm_provisioning_simulator.prepared import Prepared
from llm_provisioning_simulator.world import digest_of, normalise
from proof.catalogue.edits import EditedApplications, in_runtime_env
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import world
from proof.catalogue.shared_weights import recreated
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_CURRENT

_NEWER: Final = "docker.io/rayproject/ray-llm:2.57.0-py312-cu130"


def not_unpacked(manifest: Manifest) -> None:
    """Take the init container from every pod."""
    for spec in _worker_specs(manifest):
        spec["initContainers"] = [item for item in spec["initContainers"] if item["name"] != INIT]


def not_led_there(manifest: Manifest) -> None:
    """Take the variable from every Ray container: the engine keeps its cache in its home."""
    for spec in _worker_specs(manifest):
        for container in spec["containers"]:
            container["env"] = [item for item in container["env"] if item["name"] != "VLLM_CACHE_ROOT"]


def unpacked_elsewhere(manifest: Manifest) -> None:
    """Let the init container unpack into its own file system, which ends with it."""
    for spec in _worker_specs(manifest):
        for init in spec["initContainers"]:
            init["volumeMounts"] = [item for item in init["volumeMounts"] if item["name"] != COPY]


def second_group_without(manifest: Manifest) -> None:
    """Add a worker group without the cache, and a second replica."""
    groups = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    other: Manifest = {**groups[0], "groupName": "more-gpus", "template": _copied(groups[0]["template"])}
    beside: Manifest = {"spec": {"rayClusterConfig": {"workerGroupSpecs": [other]}}}
    not_unpacked(beside)
    not_led_there(beside)
    groups.append(other)
    for application in EditedApplications(manifest):
        for config in application["args"]["llm_configs"]:
            config["deployment_config"] = {**(config.get("deployment_config") or {}), "num_replicas": 2}
            config["deployment_config"].pop("autoscaling_config", None)


def engine(**arguments: Any) -> Callable[[Manifest], None]:
    """Set arguments of the engine after the cache was made."""

    def change(manifest: Manifest) -> None:
        for application in EditedApplications(manifest):
            for config in application["args"]["llm_configs"]:
                config["engine_kwargs"] |= arguments

    return change


def on_another_gpu(manifest: Manifest) -> None:
    """Let the workers run on another GPU than the Job did."""
    for group in manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        group["template"]["metadata"]["annotations"]["node.elotl.co/instance-gpu-skus"] = "A10G"


def no_archive(objects: list[Manifest]) -> list[Manifest]:
    """Let the Job do nothing, so that the claim is there and empty."""
    for item in objects:
        if item["kind"] == "Job":
            (container,) = item["spec"]["template"]["spec"]["containers"]
            container |= {"command": ["true"], "args": []}
    return objects


def newer_engine(on: Stage, _prepared: Prepared) -> None:
    """Push an image with the next release of vLLM."""
    base = on.world.images[normalise(PHI3_CURRENT.image.base)]
    packages = {**base.packages, "vllm": "0.23.0"}
    on.world.push(replace(base, reference=_NEWER, digest=digest_of("newer", base.digest), packages=packages))


def overwritten(on: Stage) -> None:
    """Let something else write the same graphs into the archive once more."""
    held = on.cluster.application.runtime.volumes.archives
    for place, archive in list(held.items()):
        held[place] = Archive(archive.entries, archive.size_bytes + 512)


def _worker_specs(manifest: Manifest) -> Iterator[Manifest]:
    for group in manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        yield group["template"]["spec"]


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _cache(name: str, cloud: str = "eks", **fields: Any) -> NoOp:
    given = {"target": target(cloud, "compile_cache"), "declared": SERVED_CURRENT, "variant": "compile_cache"}
    return NoOp(name=name, scenario=Scenario(**{**given, **fields}), claim="compile_cache")


COMPILE_CACHES: Final = (
    _cache("the cache is of an older vLLM", after_preparation=newer_engine, image=lambda _prepared: _NEWER),
    _cache("the cache is of another GPU", manifest=on_another_gpu),
    _cache(
        "the engine is configured in another way than when its cache was made",
        "gke",
        manifest=engine(max_model_len=2048),
    ),
    _cache(
        "the engine's variables are others than when its cache was made",
        manifest=in_runtime_env(VLLM_USE_FLASHINFER_SAMPLER="1"),
    ),
    _cache("one of two worker groups has no cache", manifest=second_group_without),
    _cache(
        "the claim of the cache was made anew", "aks", after_preparation=world(recreated), setup=ScalingSetup.DYNAMIC
    ),
    _cache("the claim of the cache is empty", objects=no_archive),
    _cache("the cache is unpacked where no engine looks", manifest=unpacked_elsewhere),
    _cache("the compile cache is switched off by a variable", manifest=in_runtime_env(VLLM_DISABLE_COMPILE_CACHE="1")),
    _cache("the engine keeps its cache elsewhere", manifest=in_runtime_env(VLLM_CACHE_ROOT="/home/ray/mine")),
    _cache("the engine is eager and its cache is unused", manifest=engine(enforce_eager=True)),
    _cache("the archive was written anew after its preparation", "aks", after_preparation=world(overwritten)),
)
