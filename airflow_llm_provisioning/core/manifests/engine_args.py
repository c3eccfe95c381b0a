"""The arguments of vLLM inside Serve's configuration: found, read and changed.

Two forms hold them. `ray.serve.llm` has them in `args.llm_configs[].engine_kwargs`, and the source of the weights in
`model_loading_config.model_source` (ray 2.56, LLMConfig). An application that hands its own `args` to vLLM, as the
origin's does (elotl/skyray, luna-llm-serve/llm.py), has them there beside `model`, as texts of a command line. What the
code of an application sets by itself is not in the configuration: such an application is refused.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.fields import mapping, text
from airflow_llm_provisioning.core.manifests.serve_config import (
    application_name,
    applications,
    changed,
    place_in_config,
    serve_config,
)
from airflow_llm_provisioning.core.manifests.tree import Node, Path, found, section, shown
from airflow_llm_provisioning.exceptions import ManifestError

# Arguments of vLLM (vllm/engine/arg_utils.py, 0.5 to 0.33) that tell `args` for it from any other with a `model`.
_KNOWN: Final = frozenset(
    {
        "dtype",
        "enforce_eager",
        "gpu_memory_utilization",
        "load_format",
        "max_model_len",
        "max_num_batched_tokens",
        "max_num_seqs",
        "pipeline_parallel_size",
        "quantization",
        "revision",
        "served_model_name",
        "tensor_parallel_size",
        "tokenizer",
        "trust_remote_code",
    }
)
_MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class EngineArgs:
    """The arguments of one engine. `path`: where they stand inside the configuration; `values`: normalised name ->
    value; `source`: where its weights come from, empty if that is not stated; `served`: the name under which it serves;
    `builder`: whether `ray.serve.llm` builds it.
    """

    application: str
    path: Path
    values: Mapping[str, Any]
    source: str
    served: str
    builder: bool


def engine_args(manifest: Mapping[str, Any]) -> tuple[EngineArgs, ...]:
    """Return the engines whose arguments Serve's configuration holds, in its order."""
    return tuple(item for path, entry in applications(serve_config(manifest)) for item in _engines(entry, path))


def with_engine_args(manifest: Mapping[str, Any], wanted: Mapping[str, Any]) -> Node:
    """Return the manifest with these arguments for every engine. `wanted`: name with underscores -> value; a mapping is
    merged into the user's.

    Raises ManifestError where no application holds an engine's arguments, or the user sets one to another value.
    """
    _required(manifest)

    def change(config: Node) -> None:
        for item in _found(config):
            holder = found(config, item.path[:-1])
            place = section(holder, str(item.path[-1]), item.path[:-1])
            for name, value in wanted.items():
                _set(place, name, value, item)

    return changed(manifest, change)


def with_weights_from(manifest: Mapping[str, Any], model_id: str, source: str) -> Node:
    """Return the manifest with the weights of the hub's model `model_id` read from `source`, a path or an address. The
    engine keeps the name under which it serves.

    Raises ManifestError where an engine reads another model, or no engine is found.
    """
    _required(manifest)

    def change(config: Node) -> None:
        for item in _found(config):
            if item.source not in (model_id, source):
                raise ManifestError(
                    f"Application {shown(item.application)} cannot read {shown(model_id)} from {shown(source)}: "
                    f"{place_in_config(item.path)} reads {shown(item.source)}."
                )
            _lead(config, item, source)

    return changed(manifest, change)


def _lead(config: Node, item: EngineArgs, source: str) -> None:
    if item.builder:
        found(config, (*item.path[:-1], "model_loading_config"))["model_source"] = source
        return
    place = found(config, item.path)
    place[_spelled(place, _MODEL)] = source
    if "served_model_name" not in item.values:
        place[_spelled(place, "served_model_name")] = item.source


def _required(manifest: Mapping[str, Any]) -> None:
    if not engine_args(manifest):
        names = ", ".join(application_name(entry) for _, entry in applications(serve_config(manifest))) or "none"
        raise ManifestError(
            "spec.serveConfigV2: no application holds vLLM's arguments, neither as args.llm_configs of ray.serve.llm "
            f"nor as args with a model (applications: {names}). What the code of an application sets cannot be changed "
            "from here."
        )


def _found(config: Node) -> Iterator[EngineArgs]:
    for path, entry in applications(config):
        yield from _engines(entry, path)


def _engines(entry: Mapping[str, Any], path: Path) -> Iterator[EngineArgs]:
    args, name = mapping(entry.get("args")), application_name(entry)
    listed = args.get("llm_configs")
    if isinstance(listed, list):
        for index, item in enumerate(listed):
            if isinstance(item, Mapping):
                place = (*path, "args", "llm_configs", index, "engine_kwargs")
                yield EngineArgs(name, place, _normalised(item.get("engine_kwargs")), *_source(item), builder=True)
        return
    values = _normalised(args)
    if isinstance(values.get(_MODEL), str) and values.keys() & _KNOWN:
        model = text(values[_MODEL])
        yield EngineArgs(
            name, (*path, "args"), values, model, text(values.get("served_model_name")) or model, builder=False
        )


def _source(config: Mapping[str, Any]) -> tuple[str, str]:
    loading = mapping(config.get("model_loading_config"))
    source = loading.get("model_source") or loading.get("model_id")
    return text(mapping(source).get("bucket_uri") or source), text(loading.get("model_id"))


def _normalised(args: Any) -> dict[str, Any]:
    return {str(key).replace("-", "_"): value for key, value in mapping(args).items()}


def _set(place: Node, name: str, value: Any, item: EngineArgs) -> None:
    key = _spelled(place, name)
    present = place.get(key)
    if isinstance(value, Mapping):
        present = _parsed(present)
        told = mapping(present)
        if present is not None and not isinstance(present, Mapping):
            raise _conflict(item, key, value, present)
        for inner, given in value.items():
            if inner in told and told[inner] != given:
                raise _conflict(item, f"{key}.{inner}", given, told[inner])
        value = {**told, **value}
    elif present is not None and not _same(present, value):
        raise _conflict(item, key, value, present)
    # A command line has texts only; vLLM reads a mapping there as JSON.
    place[key] = value if item.builder else json.dumps(value) if isinstance(value, Mapping) else str(value)


def _conflict(item: EngineArgs, key: str, value: Any, present: Any) -> ManifestError:
    return ManifestError(
        f"The engine's {key} cannot be {shown(value)} in application {shown(item.application)}: "
        f"{place_in_config(item.path)} sets it to {shown(present)}."
    )


def _spelled(place: Mapping[str, Any], name: str) -> str:
    """Return a name as the user spells it, else as the user spells others."""
    own = next((str(key) for key in place if str(key).replace("-", "_") == name), None)
    return own or (name.replace("_", "-") if any("-" in str(key) for key in place) else name)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _same(one: Any, other: Any) -> bool:
    return one == other or str(one) == str(other)
