"""Where an application's weights come from, and which of its inputs may change without a new name.

The source is Serve's configuration as it was submitted.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.trace.view import TraceView

# vLLM 0.33 model_loader: these formats read other files; all other formats read a hub model's safetensors.
_OWN_FILES: Final = frozenset({"tensorizer", "sharded_state", "runai_streamer_sharded", "ipc_cache", "modelexpress"})
_MADE_UP: Final = "dummy"
_FORMAT_KEYS: Final = frozenset({"load_format", "load-format"})
_SOURCE_KEYS: Final = frozenset({"model", "model_source", "model-source"})
_BUCKETS: Final = ("s3://", "gs://", "az://")
# An `az://` address names a container; its storage account is in the environment (vLLM's page of the streamer).
ACCOUNT: Final = "AZURE_STORAGE_ACCOUNT_NAME"
# A commit or another content hash as a part of an address.
_HASH = re.compile(r"(?=.*\d)[0-9a-f]{7,64}", flags=re.IGNORECASE)
_ARCHIVES: Final = (".tar.gz", ".tgz", ".zip", ".jar", ".whl")


def not_from_the_hub(view: TraceView) -> str | None:
    """Return why the weights are not downloaded by the hub's client, in one sentence.

    None if they are, or if the configuration does not state it.
    """
    for application in view.applications:
        for key, value in _walk(application.get("args")):
            found = _format(value) if key in _FORMAT_KEYS else _source(value) if key in _SOURCE_KEYS else None
            if found:
                return found
    return None


def bucket_of(view: TraceView) -> str | None:
    """Return the address of the bucket that an engine reads its weights from (`s3://`, `gs://`, `az://`), or None."""
    return next((source for source in _sources(view) if source.lower().startswith(_BUCKETS)), None)


def account_of(view: TraceView) -> str | None:
    """Return the storage account of an `az://` address: of an application's environment, which Ray puts over the
    container's, else of an engine's pod; None where none is named.
    """
    over = [dig(application, "runtime_env", "env_vars", ACCOUNT) for application in view.applications]
    named = [*over, *(view.env_of(pod).get(ACCOUNT) for pod in view.engine_pods)]
    return next((text(name) for name in named if text(name)), None)


def weight_path_of(view: TraceView) -> str | None:
    """Return the folder that an engine reads its weights from, or None."""
    return next((source for source in _sources(view) if source.startswith("/")), None)


def _sources(view: TraceView) -> Iterator[str]:
    for application in view.applications:
        for key, value in _walk(application.get("args")):
            if key in _SOURCE_KEYS:
                yield text(mapping(value).get("bucket_uri") or value)


def unpinned_inputs(view: TraceView) -> tuple[str, ...]:
    """Return a sentence for each input of the applications that may change under the same name: code at the address of
    a branch or tag, or a model without a commit.
    """
    found = [
        f"The application's {key} {address} names no commit: its content may change between trials."
        for application in view.applications
        for key in ("working_dir", "py_modules")
        for address in _addresses(dig(application, "runtime_env", key))
        if not _pinned(address)
    ]
    revision = PlannedFacts.of(view.trial).model_revision
    if revision and not re.fullmatch(r"[0-9a-f]{40}", revision):
        found.append(f"The model's revision {revision!r} is not a commit: its content may change between trials.")
    return tuple(found)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of a nested configuration with its value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from _walk(inner)
    for inner in items(value):
        yield from _walk(inner)


def _format(value: Any) -> str | None:
    if value == _MADE_UP:
        return "The engine's load_format is dummy: it generates random weights and reads none."
    if value in _OWN_FILES:
        return f"The engine's load_format is {value}: it reads other files than the hub's."
    return None


def _source(value: Any) -> str | None:
    source = text(mapping(value).get("bucket_uri") or value)
    if source.startswith(("/", "./")) or "://" in source:
        return f"The weights are read from {source}, not from the hub."
    return None


def _addresses(value: Any) -> list[str]:
    """Return the addresses among the values; other values are already in the image."""
    given = [value] if isinstance(value, str) else [item for item in items(value) if isinstance(item, str)]
    return [item for item in given if "://" in item]


def _pinned(address: str) -> bool:
    parts = address.partition("://")[2].partition("?")[0].split("/")
    return any(_HASH.fullmatch(_stem(part)) for part in parts)


def _stem(part: str) -> str:
    for ending in _ARCHIVES:
        part = part.removesuffix(ending)
    # An archive may be named after its repository and its commit.
    return part.rpartition("-")[2] or part
