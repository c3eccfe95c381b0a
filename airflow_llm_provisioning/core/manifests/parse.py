"""The one RayService of a text or dict, and the names of what else is in it.

Published manifests often hold a Secret, a ConfigMap or an Ingress beside the RayService. These are named, so that a
caller can tell the user, and left alone. Pure: reading a file is the caller's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.manifests.compose import MAX_TEXT_BYTES, Pairs, Scalar, compose
from airflow_llm_provisioning.core.manifests.tree import Path, kind_of, path_text, shown
from airflow_llm_provisioning.core.manifests.values import json_value
from airflow_llm_provisioning.exceptions import ManifestError

_NAMED_AT_MOST: Final = 10


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    """What a text holds. `others`: the other objects as `Kind/name`, in order; they are left to the user."""

    ray_service: dict[str, Any]
    others: tuple[str, ...] = ()


def parse_documents(source: Mapping[str, Any] | str | bytes, *, where: str) -> ParsedManifest:
    """Return the one RayService in YAML or JSON text, or in a dict, and the names of the other objects.

    `where`: names the source in every refusal. Several documents and items of a `List` are allowed if exactly one is a
    RayService. Null labels and annotations count as absent. Raises ManifestError for everything else, with key path;
    the source is not changed.
    """
    objects = list(_objects(source, where))
    services = [item for item in objects if _field(item, "kind") == "RayService"]
    if len(services) != 1:
        raise _not_one(objects, len(services), where)
    others = tuple(_title(item) for item in objects if item is not services[0])
    service: dict[str, Any] = json_value(services[0], where=where, dates=True)
    _tidy_metadata(service, (), where)
    return ParsedManifest(service, others)


def _objects(source: Any, where: str) -> Iterator[Any]:
    documents = [source] if isinstance(source, Mapping) else _documents(source, where)
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, (Pairs, Mapping)):
            raise _no_object(document, number, len(documents), where)
        items = _raw(document, "items")
        if str(_field(document, "kind")).endswith("List") and isinstance(items, list):
            for index, item in enumerate(items):
                if not isinstance(item, (Pairs, Mapping)):
                    raise ManifestError(f"{where}: items[{index}]: found {_kind(item)}; allowed are objects.")
                yield item
        else:
            yield document


def _documents(source: Any, where: str) -> list[Any]:
    if isinstance(source, (bytes, bytearray)):
        if len(source) > MAX_TEXT_BYTES:
            raise ManifestError(f"{where} has {len(source):,} bytes; allowed are {MAX_TEXT_BYTES:,}.")
        try:
            source = bytes(source).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ManifestError(f"{where} is no text; allowed is YAML or JSON in UTF-8.") from None
    if not isinstance(source, str):
        raise ManifestError(f"{where} must be one RayService; found {kind_of(source)}, allowed is a mapping or text.")
    return [item for item in compose(source, where) if not _empty(item)]


def _empty(document: Any) -> bool:
    if isinstance(document, Scalar):
        return document.tag == "tag:yaml.org,2002:null" or not document.text
    return document is None or (isinstance(document, list) and not document)


def _no_object(document: Any, number: int, count: int, where: str) -> ManifestError:
    if count == 1 and isinstance(document, Scalar):
        return ManifestError(
            f"{where} must be one RayService; found the text {shown(document.text)}. The path of a file must end in "
            ".yaml, .yml or .json, and Airflow looks for it in the DAG's template search path."
        )
    place = f"document {number}: " if count > 1 else ""
    return ManifestError(f"{where}: {place}found {_kind(document)}; it must be one RayService, which is a mapping.")


def _not_one(objects: list[Any], services: int, where: str) -> ManifestError:
    if not objects:
        return ManifestError(f"{where} must be one RayService; the text holds 0 documents.")
    if len(objects) == 1:
        version, kind = _field(objects[0], "apiVersion"), _field(objects[0], "kind")
        return ManifestError(
            f"{where} must be one RayService: it is a {_word(version)} {_word(kind)}, not a ray.io RayService."
        )
    told = ", ".join(_title(item) for item in objects[:_NAMED_AT_MOST])
    told += ", ..." if len(objects) > _NAMED_AT_MOST else ""
    return ManifestError(
        f"{where} holds {len(objects)} documents and {services} of them are a RayService; allowed is 1. Found: {told}."
    )


def _title(item: Any) -> str:
    name = _field(_raw(item, "metadata"), "name")
    return f"{_word(_field(item, 'kind'))}/{_word(name)}"


def _word(value: str | None) -> str:
    return value if value and len(value) <= 253 and value.isprintable() else "?"


def _raw(item: Any, key: str) -> Any:
    """Return what stands at a key of an object that is not converted yet."""
    if isinstance(item, Mapping):
        return item.get(key)
    if isinstance(item, Pairs):
        for name, value in item:
            if (name.text if isinstance(name, Scalar) else name) == key:
                return value
    return None


def _field(item: Any, key: str) -> str | None:
    value = _raw(item, key)
    value = value.text if isinstance(value, Scalar) else value
    return value if isinstance(value, str) else None


def _kind(value: Any) -> str:
    if isinstance(value, Pairs):
        return "a mapping"
    return f"the value {shown(value.text)}" if isinstance(value, Scalar) else kind_of(value)


def _tidy_metadata(value: Any, path: Path, where: str) -> None:
    """Drop null labels and annotations, and refuse values that Kubernetes refuses, in every `metadata`."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _tidy_metadata(item, (*path, index), where)
    if not isinstance(value, dict):
        return
    if path and path[-1] == "metadata":
        for key in ("labels", "annotations"):
            _tidy_texts(value, key, path, where)
    for key, item in value.items():
        _tidy_metadata(item, (*path, key), where)


def _tidy_texts(metadata: dict[str, Any], key: str, path: Path, where: str) -> None:
    texts = metadata.get(key)
    if texts is None:
        metadata.pop(key, None)
        return
    if not isinstance(texts, dict):
        raise ManifestError(
            f"{where}: {path_text((*path, key))}: found {kind_of(texts)}; allowed is a mapping of text to text."
        )
    for name, item in texts.items():
        if not isinstance(item, str):
            raise ManifestError(
                f"{where}: {path_text((*path, key, name))}: found {kind_of(item)} ({shown(item)}); Kubernetes allows "
                "text only, so quote it."
            )
