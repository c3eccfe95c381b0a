"""What the models of an experiment file refuse, as sentences: file, key, what was found, what is allowed.

Pydantic's own messages name list entries by number, show whole inputs, and know no nearest name.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from airflow_llm_provisioning.core.experiment_schema import (
    EXPERIMENT_NAME,
    GIVEN,
    NAME,
    ZONE,
    AmountSection,
    BudgetSection,
    CompletionSection,
    DirectLoaderSection,
    ExpectedChangeSection,
    ExperimentFile,
    FastDownloadSection,
    GateSection,
    ModelSection,
    NodesSection,
    Section,
    StopEarlySection,
    TargetSection,
    WeightsStreamSection,
    WorkloadSection,
)
from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.manifests.tree import shown
from airflow_llm_provisioning.core.names import nearest

Location = tuple[str | int, ...]

# Where each section stands: `*` is any name or number.
_PLACES: Final[Mapping[tuple[str, ...], type[Section]]] = {
    (): ExperimentFile,
    ("targets", "*"): TargetSection,
    ("targets", "*", "nodes"): NodesSection,
    ("stop_early",): StopEarlySection,
    ("budget",): BudgetSection,
    ("budget", "*"): AmountSection,
    ("gates", "*"): GateSection,
    ("expected_changes", "*"): ExpectedChangeSection,
    ("workloads", "*"): WorkloadSection,
    ("workloads", "*", "model"): ModelSection,
    ("workloads", "*", "completion"): CompletionSection,
    ("workloads", "*", "fast_download"): FastDownloadSection,
    ("workloads", "*", "direct_loader"): DirectLoaderSection,
    ("workloads", "*", "weights_stream"): WeightsStreamSection,
}
# Keys of version 0.1, and what replaced them.
_REPLACED: Final[Mapping[tuple[type[Section], str], str]] = {
    (ExperimentFile, "profile"): "write `workloads: {NAME: {profile: ...}}` instead",
    (NodesSection, "snapshot"): "leave it out: the variant's treatments decide it",
    (NodesSection, "streaming"): "leave it out: the variant's treatments decide it",
}
# Values under these keys may be secrets and are never shown.
_HIDDEN: Final = frozenset({"env", "body", "manifest", "options"})
_PATTERNS: Final[Mapping[str, str]] = {
    EXPERIMENT_NAME: "at most 40 lower-case letters, digits and inner hyphens, because it is part of Kubernetes names",
    NAME: "at most 63 letters, digits, `.`, `_` and `-`, with a letter or digit at both ends",
    r"^1\.\d{1,3}$": 'a minor version of Kubernetes in quotes, as "1.34"',
    r"^/": "a path that begins with `/`",
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": "a Kubernetes namespace: lower-case letters, digits and inner hyphens",
    ZONE: "a zone: at most 63 lower-case letters, digits and inner hyphens",
    GIVEN: "text without blanks around it and without braces; leave the key out where there is none",
}


def problems_of(error: ValidationError, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for everything the models refuse in `data`."""
    for item in error.errors(include_url=False):
        yield _sentence(item, data)


def found_text(value: object) -> str:
    """Return what was found, short; of a mapping or list only that it is one, because it may hold anything."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return "nothing" if value is None else shown(value)


def _sentence(item: ErrorDetails, data: Mapping[str, Any]) -> str:
    location, kind = item["loc"], item["type"]
    if kind == "extra_forbidden":
        return _unknown_key(location, data)
    key = _key(location, data)
    if kind == "missing":
        return f"`{key}` is missing{_meaning(location)}."
    if location[-1:] == ("[key]",):
        return f"`{_key(location[:-2], data)}` has the name {found_text(item['input'])}; allowed are {_allowed(item)}."
    return f"`{key}` {_wrong(item)}"


def _wrong(item: ErrorDetails) -> str:
    kind, value = item["type"], item["input"]
    hidden = not _HIDDEN.isdisjoint(item["loc"])
    told = f"found {_kind(value) if hidden else found_text(value)}"
    if kind == "literal_error":
        known = item["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"is {found_text(value)}, which is unknown{nearest(value if isinstance(value, str) else '', known)}."
    if kind == "too_short":
        return f"is empty; at least {item['ctx']['min_length']} is needed."
    if kind == "too_long":
        return f"has more than {item['ctx']['max_length']} entries; at most as many are allowed."
    if kind == "string_type" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"must be text, in quotes; {told}."
    return f"must be {_allowed(item)}; {told}."


def _allowed(item: ErrorDetails) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"text of the form {context['pattern']}")
    if kind in _KINDS:
        return _KINDS[kind].format(**context)
    message = item["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{message[:1].lower()}{message[1:]}".rstrip(".")


_KINDS: Final[Mapping[str, str]] = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else found_text(value)


def _unknown_key(location: Location, data: Mapping[str, Any]) -> str:
    name, section = str(location[-1]), _section_at(location[:-1])
    key = _key(location, data)
    if section is not None and (section, name) in _REPLACED:
        return f"`{key}` is a key of version 0.1: {_REPLACED[section, name]}."
    return f"`{key}` is no key of an experiment file{nearest(name, section.model_fields if section else ())}."


def _meaning(location: Location) -> str:
    section = _section_at(location[:-1])
    info = section.model_fields.get(str(location[-1])) if section is not None else None
    return f" ({info.description.rstrip('.')})" if info is not None and info.description else ""


def _section_at(location: Location) -> type[Section] | None:
    for place, section in _PLACES.items():
        if len(place) == len(location) and all(want in ("*", got) for want, got in zip(place, location, strict=True)):
            return section
    return None


def _key(location: Location, data: Mapping[str, Any]) -> str:
    """Return a key path as a user reads it: a target by its name, where it has one, other entries by number from 0."""
    parts = [_part(item) for item in location]
    if location[:1] == ("targets",) and len(location) > 1 and isinstance(location[1], int):
        target = data["targets"][location[1]]
        if isinstance(name := dig(target, "name"), str) and name and _part(name) == name and location[2:] != ("name",):
            parts[1] = name
    return ".".join(parts)


def _part(item: str | int) -> str:
    text = str(item)
    return text if text.isprintable() and text.isascii() and 0 < len(text) <= 63 and "`" not in text else shown(text)
