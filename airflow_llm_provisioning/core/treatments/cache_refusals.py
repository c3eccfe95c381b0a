"""What in a manifest keeps vLLM from a compile cache: settings that outweigh it, each named by its place.

Sources: vllm/envs.py (VLLM_DISABLE_COMPILE_CACHE, VLLM_USE_V1 until 0.10), vllm/config/compilation.py (`cache_dir`
replaces VLLM_CACHE_ROOT; mode 0 and `enforce_eager` compile nothing), torch/_dynamo/config.py (TORCHDYNAMO_DISABLE,
TORCH_COMPILE_DISABLE).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.devices import ranks
from airflow_llm_provisioning.core.fields import items, mapping
from airflow_llm_provisioning.core.manifests import EngineArgs, engine_args, engine_groups, ray_container
from airflow_llm_provisioning.core.manifests.groups import accelerators
from airflow_llm_provisioning.core.manifests.serve_config import applications, place_in_config, serve_config
from airflow_llm_provisioning.core.manifests.tree import path_text
from airflow_llm_provisioning.exceptions import ManifestError

_ON: Final = ("1", "true", "yes", "on")
_OFF: Final = ("0", "false", "no", "off")
# Variable -> its values with which nothing is compiled, or nothing kept.
_SWITCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "VLLM_DISABLE_COMPILE_CACHE": _ON,
    "TORCH_COMPILE_DISABLE": _ON,
    "TORCHDYNAMO_DISABLE": _ON,
    "VLLM_USE_V1": _OFF,
}
_EAGER: Final = "None of its graphs are compiled"


def refuse(manifest: Mapping[str, Any]) -> None:
    """Raise ManifestError with the first thing that keeps an engine of this RayService from a compile cache."""
    for told in (*_switched(manifest), *_configured(manifest), *_too_large(manifest)):
        raise ManifestError(told)


def _switched(manifest: Mapping[str, Any]) -> Iterator[str]:
    for place, name, value in _variables(manifest):
        if str(value).strip().lower() in _SWITCHES.get(name, ()):
            yield f"A compile cache has no effect while {place} sets {name} to {value}: remove it."


def _variables(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield place, name and value of every variable that the engine may get."""
    for group in engine_groups(manifest):
        for entry in map(mapping, items(ray_container(manifest, group).get("env"))):
            yield path_text((*group.container_path, "env")), str(entry.get("name")), entry.get("value")
    for path, application in applications(serve_config(manifest)):
        for name, value in mapping(mapping(application.get("runtime_env")).get("env_vars")).items():
            yield place_in_config((*path, "runtime_env", "env_vars")), str(name), value


def _configured(manifest: Mapping[str, Any]) -> Iterator[str]:
    for engine in engine_args(manifest):
        place, values = place_in_config(engine.path), engine.values
        if str(values.get("enforce_eager", False)).lower() not in _OFF:
            yield f"A compile cache has no effect while {place} sets enforce_eager. {_EAGER}: remove it."
        if str(values.get("optimization_level", "")) == "0":
            yield (
                f"A compile cache has no effect while {place} sets optimization_level to 0 (the user's manifest or the "
                f"treatment optimization_level_0). {_EAGER}: leave one of the two out."
            )
        config = _compilation(engine)
        for key in ("mode", "level"):
            if str(config.get(key, "")).upper() in ("0", "NONE"):
                yield f"A compile cache has no effect while {place} sets compilation_config.{key}. {_EAGER}: remove it."
        if config.get("cache_dir"):
            yield (
                f"The engine's cache cannot be led to VLLM_CACHE_ROOT while {place} sets compilation_config.cache_dir: "
                "remove it."
            )


def _compilation(engine: EngineArgs) -> Mapping[str, Any]:
    given = engine.values.get("compilation_config")
    try:
        return mapping(json.loads(given) if isinstance(given, str) else given)
    except ValueError:
        return {}


def _too_large(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield that the engines do not fit into one pod, in which the Job starts them."""
    wanted = sum(_gpus(engine) for engine in engine_args(manifest))
    for group in engine_groups(manifest):
        have = ranks(accelerators(ray_container(manifest, group)))
        if have and wanted > have:
            yield (
                f"A compile cache is filled in one pod of {group.place} (group {group.name}), which has {have} GPUs, "
                f"and the engines of spec.serveConfigV2 take {wanted}."
            )


def _gpus(engine: EngineArgs) -> int:
    product = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        size = str(engine.values.get(name, 1))
        product *= int(size) if size.isdecimal() else 1
    return product
