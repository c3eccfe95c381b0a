"""A tree of YAML nodes, or a dict from Python, to JSON values: what an API server would get.

Refuses what JSON cannot hold (dates, infinities, keys that are no text) and what YAML leaves open (duplicate keys),
each with its key path.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.manifests.compose import (
    FLOAT_TAG,
    INT_TAG,
    MAX_DEPTH,
    MAX_NODES,
    MAX_TEXT_BYTES,
    STR_TAG,
    Pairs,
    Scalar,
)
from airflow_llm_provisioning.core.manifests.tree import Path, path_text, shown
from airflow_llm_provisioning.exceptions import ManifestError

_YAML: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_YAML}merge"
# `=` and `<<` as values are text to every parser but YAML 1.1's specification.
_TEXT_TAGS: Final = frozenset({STR_TAG, f"{_YAML}value", _MERGE})
_TRUE: Final = frozenset({"yes", "true", "on"})
_FALSE: Final = frozenset({"no", "false", "off"})
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def json_value(node: Any, *, where: str, path: Path = (), dates: bool = False, lenient: bool = False) -> Any:
    """Return a node as dict, list, text, number, truth value or None; never an object that the node shares.

    `dates`: a date is kept as it is written, as kubectl keeps it (sigs.k8s.io/yaml). `lenient`: so is a key that is no
    text, as KubeRay keeps it where it turns a Serve configuration into JSON by the same library.
    """
    return _Conversion(where, dates or lenient, lenient).value(node, path)


class _Conversion:
    def __init__(self, where: str, dates: bool, lenient: bool) -> None:
        self._where, self._dates, self._lenient = where, dates, lenient
        self._nodes = self._characters = 0

    def value(self, node: Any, path: Path) -> Any:
        self._count(path)
        if isinstance(node, Scalar):
            return self._scalar(node, path)
        if isinstance(node, Pairs):
            return self._mapping(node, path)
        if isinstance(node, Mapping):
            return self._mapping(node.items(), path)
        if isinstance(node, (list, tuple)):
            return [self.value(item, (*path, index)) for index, item in enumerate(node)]
        return self._plain(node, path)

    def _count(self, path: Path) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ManifestError(f"{self._where} stands for more than {MAX_NODES:,} values; allowed are {MAX_NODES:,}.")
        if len(path) > MAX_DEPTH:
            raise ManifestError(f"{self._where} is nested deeper than {MAX_DEPTH} levels; allowed are {MAX_DEPTH}.")

    def _mapping(self, pairs: Iterable[tuple[Any, Any]], path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        made: dict[str, Any] = {}
        for key_node, node in pairs:
            if isinstance(key_node, Scalar) and key_node.tag == _MERGE:
                self._merge(merged, node, path)
                continue
            key = self._key(key_node, path)
            if key in made:
                raise self._refusal((*path, key), "the key stands there twice; allowed is once")
            made[key] = self.value(node, (*path, key))
        return {**merged, **made}

    def _merge(self, merged: dict[str, Any], node: Any, path: Path) -> None:
        for source in [node] if isinstance(node, Pairs) else node if isinstance(node, list) else [None]:
            if not isinstance(source, Pairs):
                raise self._refusal((*path, "<<"), "found no mapping; allowed is a mapping or a list of mappings")
            self._count((*path, "<<"))
            for key, item in self._mapping(source, path).items():
                merged.setdefault(key, item)

    def _key(self, node: Any, path: Path) -> str:
        if isinstance(node, str):
            return str(self._plain(node, path))
        if isinstance(node, Scalar) and (node.tag in _TEXT_TAGS or self._lenient):
            return self._text(node.text, path)
        found = node.text if isinstance(node, Scalar) else node
        if isinstance(found, Pairs):
            # What YAML makes of `{{ name }}`.
            told = "found a mapping as a key, which is no text. If it is a template, render it first (`helm template`)"
            raise self._refusal(path, told)
        raise self._refusal(path, f"found the key {shown(found)}, which is no text; allowed is text (quote it)")

    def _scalar(self, node: Scalar, path: Path) -> Any:
        if node.tag in _TEXT_TAGS:
            return self._text(node.text, path)
        if node.tag == f"{_YAML}null":
            return None
        if node.tag == f"{_YAML}bool" and (written := node.text.lower()) in _TRUE | _FALSE:
            return written in _TRUE
        if node.tag in (INT_TAG, FLOAT_TAG):
            return self._number(node, path)
        if node.tag == f"{_YAML}timestamp":
            if self._dates:
                return self._text(node.text, path)
            raise self._refusal(path, f"found the date {shown(node.text)}; JSON has none, so quote it")
        tag = node.tag.removeprefix(_YAML)
        raise self._refusal(path, f"found a value tagged {shown(tag)}; allowed are text, numbers and truth values")

    def _number(self, node: Scalar, path: Path) -> Any:
        # YAML 1.1's base 60 (`1:30`) is text to the parsers of Kubernetes (go-yaml, README).
        if ":" in node.text:
            return self._text(node.text, path)
        try:
            number = _integer(node.text) if node.tag == INT_TAG else float(_float_text(node.text))
        except (ValueError, OverflowError):
            raise self._refusal(path, f"found {shown(node.text)}, which is no number") from None
        return self._plain(number, path)

    def _plain(self, value: Any, path: Path) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            if not _SMALLEST <= value <= _LARGEST:
                raise self._refusal(path, "found a whole number beyond 64 bits; quote it")
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise self._refusal(path, f"found the number {value}; JSON has none such")
            return float(value)
        raise self._refusal(
            path, f"found a Python {type(value).__name__}; allowed are text, numbers, truth values, lists and mappings"
        )

    def _text(self, value: str, path: Path) -> str:
        self._characters += len(value)
        if self._characters > MAX_TEXT_BYTES:
            raise ManifestError(f"{self._where} holds more than {MAX_TEXT_BYTES:,} characters; allowed are as many.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self._refusal(path, "found characters that are no Unicode text") from None
        return str.__str__(value)

    def _refusal(self, path: Path, words: str) -> ManifestError:
        return ManifestError(f"{self._where}: {path_text(path)}: {words}.")


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if len(digits) > 70:
        raise OverflowError
    if digits.startswith("0") and digits[1:2].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _float_text(text: str) -> str:
    return text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
