"""Text to a tree of YAML nodes, with limits that hold while the text is read: a hostile file ends early.

Reads the parser's events itself, because a composer that builds the whole tree first can be made to build billions of
nodes (aliases) or to exceed Python's stack (nesting). Knows nothing of Kubernetes.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.manifests.tree import shown
from airflow_llm_provisioning.exceptions import ManifestError

MAX_TEXT_BYTES: Final = 5_000_000
MAX_NODES: Final = 200_000
MAX_ALIASES: Final = 100
MAX_DEPTH: Final = 100

STR_TAG: Final = "tag:yaml.org,2002:str"
INT_TAG: Final = "tag:yaml.org,2002:int"
FLOAT_TAG: Final = "tag:yaml.org,2002:float"

# Secrets are longer texts, and are not remembered.
_SHORT: Final = 12
# YAML 1.1 wants a point in every float; the parser behind kubectl and KubeRay (go-yaml) does not.
# YAML 1.2's octal numbers, which that parser takes too.
_OCTAL: Final = re.compile(r"[-+]?0o[0-7_]+")
# Templates of Helm and Jinja that were not rendered.
_TEMPLATE: Final = re.compile(r"^\s*\{[{%]|:\s+\{\{", re.MULTILINE)
_EXPONENT: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
# A string that is not closed ends with the text, so that a search over any text is linear.
_STRING_OR_SEPARATOR: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{,]', re.DOTALL)
_RESOLVER: Final[Any] = yaml.resolver.Resolver()
_NO_KEY: Final = object()


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as it is written, and the tag that YAML 1.1 gives it."""

    tag: str
    text: str


class Pairs(list[tuple[Any, Any]]):
    """A mapping as it is written: duplicates and merge keys are still in it."""


def compose(text: str, where: str) -> list[Any]:
    """Return the documents of a text, each a tree of `Pairs`, lists and `Scalar`s (or plain values, from JSON).

    Raises ManifestError, beginning with `where`, for what is no YAML and for what exceeds a limit.
    """
    _check_size(text, where)
    if text.lstrip()[:1] in ("{", "[") and _few_values(text):
        try:
            return [_json(text)]
        except RecursionError:
            raise _too_deep(where) from None
        except ValueError:
            pass  # Flow YAML begins alike.
    composer = _Composer(where)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            composer.take(event)
    except (yaml.YAMLError, ValueError) as error:
        hint = " If it is a template, render it first (`helm template`)." if _TEMPLATE.search(text) else ""
        raise ManifestError(f"{where} is no YAML: {_problem(error)}.{hint}") from error
    return composer.documents


def _check_size(text: str, where: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ManifestError(f"{where} holds characters that are no Unicode text; allowed is UTF-8.") from None
    if size > MAX_TEXT_BYTES:
        raise ManifestError(f"{where} has {size:,} bytes; allowed are {MAX_TEXT_BYTES:,}.")


def _few_values(text: str) -> bool:
    """Say whether JSON text is within the limit, before anything is built of it. What is not ends early as YAML."""
    separators = (match for match in _STRING_OR_SEPARATOR.finditer(text) if match[0][0] != '"')
    return next(islice(separators, MAX_NODES, None), None) is None


def _json(text: str) -> Any:
    return json.loads(
        text,
        object_pairs_hook=Pairs,
        parse_int=lambda digits: Scalar(INT_TAG, digits),
        parse_constant=lambda name: Scalar(FLOAT_TAG, name),
    )


def _problem(error: Exception) -> str:
    """Return what the parser says and where. Never the text around it: that may be a secret."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return "it holds a character that YAML does not allow"
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + " ".join((error.problem or error.context or "not understood").split())[:160]


def _too_deep(where: str) -> ManifestError:
    return ManifestError(f"{where} is nested deeper than {MAX_DEPTH} levels; allowed are {MAX_DEPTH}.")


class _Frame:
    """A collection that is not closed yet. `before`: how many nodes were counted when it began."""

    __slots__ = ("anchor", "before", "key", "node")

    def __init__(self, node: Any, anchor: str | None, before: int) -> None:
        self.node, self.anchor, self.before = node, anchor, before
        self.key: Any = _NO_KEY

    def add(self, node: Any) -> None:
        if not isinstance(self.node, Pairs):
            self.node.append(node)
        elif self.key is _NO_KEY:
            self.key = node
        else:
            self.node.append((self.key, node))
            self.key = _NO_KEY


class _Composer:
    """Builds the documents event by event. An alias counts as many nodes as it stands for."""

    def __init__(self, where: str) -> None:
        self.documents: list[Any] = []
        self._where = where
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = self._aliases = 0

    def take(self, event: Any) -> None:
        """Take one event of the parser."""
        if isinstance(event, yaml.ScalarEvent):
            self._count(1)
            self._place(_scalar(event), event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            frame = self._stack.pop()
            self._place(frame.node, frame.anchor, self._nodes - frame.before)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor))
        elif isinstance(event, yaml.DocumentStartEvent):
            self._count(1)
            self._anchors = {}

    def _open(self, event: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _too_deep(self._where)
        if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise ManifestError(
                f"{self._where} holds the tag {shown(event.tag)} in line {event.start_mark.line + 1}; "
                "allowed are plain mappings and lists."
            )
        node = Pairs() if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Frame(node, event.anchor, self._nodes))
        self._count(1)

    def _alias(self, anchor: str) -> None:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise ManifestError(f"{self._where} holds more than {MAX_ALIASES} aliases; allowed are {MAX_ALIASES}.")
        if anchor not in self._anchors:
            raise ManifestError(
                f"{self._where} uses the alias {shown('*' + anchor)}, and no complete value before it has that anchor."
            )
        node, size = self._anchors[anchor]
        self._count(size)
        self._place(node, None, size)

    def _count(self, size: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise ManifestError(
                f"{self._where} stands for more than {MAX_NODES:,} values; allowed are {MAX_NODES:,}, "
                "aliases counted as what they stand for."
            )

    def _place(self, node: Any, anchor: str | None, size: int) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)
        if self._stack:
            self._stack[-1].add(node)
        else:
            self.documents.append(node)


def _scalar(event: Any) -> Scalar:
    if event.tag not in (None, "!"):
        return Scalar(str(event.tag), event.value)
    resolved = _resolved if len(event.value) <= _SHORT else _resolved.__wrapped__
    return resolved(event.value, event.implicit)


@lru_cache(maxsize=8192)
def _resolved(value: str, implicit: tuple[bool, bool]) -> Scalar:
    """Return a scalar without a tag as YAML 1.1 resolves it. Texts repeat keys and numbers, so they are remembered."""
    tag = str(_RESOLVER.resolve(yaml.ScalarNode, value, implicit))
    if tag == STR_TAG and implicit[0] and _EXPONENT.fullmatch(value):
        tag = FLOAT_TAG
    elif tag == STR_TAG and implicit[0] and _OCTAL.fullmatch(value):
        tag = INT_TAG
    return Scalar(tag, value)
