"""Images and models that the simulated registries and the hub are told of, besides the public ones that they know.

A user's own image or model has sizes that the simulator cannot know, and it guesses none: without an entry here a
registry answers "not found" (ErrImagePull) and the hub 404, as the real ones do. docs/simulator.md describes the file.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.hub_models import HubModel
from llm_provisioning_simulator.world import UNLISTED, Image, World, digest_of, normalise

# transformers' save_pretrained cuts weights into files of at most this size (max_shard_size, "5GB").
SHARD_BYTES: Final = 5_000_000_000
MAX_FILE_BYTES: Final = 5_000_000
_PUSHED_AT: Final = datetime(2025, 1, 1, tzinfo=UTC)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_KEYS: Final = {
    "": {"images", "models"},
    "images": {"size_bytes", "layers", "pip", "env", "ray", "shell", "architecture"},
    "models": {"revision", "weight_bytes", "files", "gated"},
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a world is told of: images by reference, models by id."""

    images: Mapping[str, Image] = field(default_factory=dict)
    models: Mapping[str, HubModel] = field(default_factory=dict)

    def seed(self, world: World) -> None:
        """Put everything into a world; what it knows already under the same name is replaced."""
        for image in self.images.values():
            world.push(image)
        world.models.update(self.models)


def read_catalogue(path: Path) -> Catalogue:
    """Read a catalogue file (YAML). Raises ConfigurationError with the file and the key."""
    data = _checked(_loaded(path), str(path), "")
    images, models = (_section(data, name, str(path)) for name in ("images", "models"))
    return Catalogue(
        {reference: _image(reference, entry, where) for reference, entry, where in images},
        {model: _model(model, entry, where) for model, entry, where in models},
    )


def models_of_experiment(experiment: Experiment) -> Catalogue:
    """Return the models that an experiment's workloads declare with their size.

    A model without `weight_bytes` is left to the hub, which knows only its own.
    """
    found = {}
    for workload in experiment.workloads:
        model = workload.model
        if model is not None and model.source == "declared" and model.weight_bytes:
            entry: dict[str, Any] = {"weight_bytes": model.weight_bytes}
            if model.revision:
                entry["revision"] = model.revision
            where = f"{experiment.where}: workloads.{workload.name}.model"
            found[model.model_id] = _model(model.model_id, entry, where)
    return Catalogue({}, found)


def _loaded(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"The file {path} is larger than {MAX_FILE_BYTES} bytes: it is no catalogue.")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error}.") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigurationError(f"The file {path} holds {type(data).__name__}; a mapping is needed.")
    return data


def _section(data: Mapping[str, Any], name: str, file: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    section = data.get(name) or {}
    if not isinstance(section, Mapping):
        raise ConfigurationError(f"{file}: {name} is {section!r}; a mapping is needed.")
    for key, entry in section.items():
        where = f"{file}: {name}.{key}"
        yield str(key), _checked(entry, where, name), where


def _checked(entry: Any, where: str, kind: str) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} is {entry!r}; a mapping is needed.")
    unknown = sorted(map(str, entry.keys() - _KEYS[kind]))
    if unknown:
        raise ConfigurationError(
            f"{where}: {', '.join(unknown)} is unknown; allowed are {', '.join(sorted(_KEYS[kind]))}."
        )
    return entry


def _size(entry: Mapping[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{where}.{key} is {value!r}; a number of bytes above 0 is needed.")
    return value


def _image(reference: str, entry: Mapping[str, Any], where: str) -> Image:
    """Return an image. A reference by digest has that digest, so that a pinned manifest finds it."""
    known = normalise(reference)
    digest = known.partition("@")[2] or digest_of("catalogue", known, sorted(map(str, entry.items())))
    packages = dict(_package(text, where) for text in entry.get("pip") or ())
    if _flag(entry, "ray", where):
        # An entry need not list everything; an image that serves with Ray holds Ray.
        packages.setdefault("ray", UNLISTED)
    return Image(
        reference=known,
        digest=digest,
        layer_bytes=_layers(_size(entry, "size_bytes", where), entry.get("layers", 1), where),
        packages=packages,
        env={str(key): str(value) for key, value in (entry.get("env") or {}).items()},
        region=None,
        pushed_at=_PUSHED_AT,
        shell=_flag(entry, "shell", where),
        architecture=str(entry.get("architecture", "amd64")),
    )


def _flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    value = entry.get(key, True)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where}.{key} is {value!r}; true or false is needed.")
    return value


def _layers(size: int, layers: Any, where: str) -> tuple[int, ...]:
    """Return the layers' bytes: as listed, or so many of equal size."""
    if isinstance(layers, list):
        if not all(isinstance(item, int) and item > 0 for item in layers) or sum(layers) != size:
            raise ConfigurationError(
                f"{where}.layers is {layers!r}; numbers of bytes that add up to {size} are needed."
            )
        return tuple(layers)
    if not isinstance(layers, int) or isinstance(layers, bool) or not 1 <= layers <= min(size, 127):
        raise ConfigurationError(f"{where}.layers is {layers!r}; a count from 1 to 127, or a list of bytes, is needed.")
    return (size // layers + size % layers, *[size // layers] * (layers - 1))


def _package(text: Any, where: str) -> tuple[str, str]:
    try:
        wanted = Requirement(str(text))
    except InvalidRequirement as error:
        raise ConfigurationError(f"{where}.pip has {text!r}, which is no requirement: {error}.") from error
    pinned = [item.version for item in wanted.specifier if item.operator == "=="]
    if len(pinned) != 1:
        raise ConfigurationError(f"{where}.pip has {text!r}; the installed version is needed, as `vllm==0.22.0`.")
    return str(canonicalize_name(wanted.name)), pinned[0]


def _model(model_id: str, entry: Mapping[str, Any], where: str) -> HubModel:
    weights = _size(entry, "weight_bytes", where)
    revision = entry.get("revision") or hashlib.sha1(model_id.encode(), usedforsecurity=False).hexdigest()
    if not _COMMIT.fullmatch(str(revision)):
        raise ConfigurationError(f"{where}.revision is {revision!r}; a commit of 40 hexadecimal digits is needed.")
    files = entry.get("files") or _shards(weights)
    if not isinstance(files, Mapping) or not all(isinstance(size, int) and size > 0 for size in files.values()):
        raise ConfigurationError(f"{where}.files is {files!r}; a mapping of file names to bytes is needed.")
    model = HubModel(model_id, str(revision), dict(files), bool(entry.get("gated", False)))
    if model.weight_bytes != weights:
        raise ConfigurationError(
            f"{where}.files has {model.weight_bytes} bytes of .safetensors files, and weight_bytes says {weights}."
        )
    return model


def _shards(weights: int) -> dict[str, int]:
    count = -(-weights // SHARD_BYTES)
    sizes = [SHARD_BYTES] * (count - 1) + [weights - SHARD_BYTES * (count - 1)]
    names = [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
    return {"config.json": 1_000, "tokenizer.json": 2_000_000, **dict(zip(names, sizes, strict=True))}
