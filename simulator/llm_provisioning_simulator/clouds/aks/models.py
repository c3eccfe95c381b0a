"""Are the bodies that arrive, and those that are answered, what Azure's SDK says they are?

The stand-in must not agree only with itself: every body is held against the models of the SDK packages (their wire
names and types). Where those are not installed, bodies pass unchecked.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
}


def problems(package: str, model: str, body: Any) -> list[str]:
    """Return what in `body` is not as the model `model` of `azure.mgmt.<package>` has it, by path."""
    try:
        models = importlib.import_module(f"azure.mgmt.{package}.models")
    except ImportError:
        return []
    if not isinstance(body, Mapping):
        return [f"{model} is no object"]
    return list(_walk(getattr(models, model)(dict(body)), body, model))


def _walk(instance: Any, body: Mapping[str, Any], path: str) -> list[str]:
    fields = {field._rest_name: name for name, field in type(instance)._attr_to_rest_field.items()}  # noqa: SLF001 - the only place where the SDK keeps its wire names
    found = [f"{path}.{key} is unknown" for key in body if key not in fields]
    types = _annotations(type(instance))
    for key, value in body.items():
        if key not in fields or value is None:
            continue
        found += _wrong_type(types.get(fields[key], ""), value, f"{path}.{key}")
        nested = getattr(instance, fields[key])
        if isinstance(value, Mapping) and hasattr(type(nested), "_attr_to_rest_field"):
            found += _walk(nested, value, f"{path}.{key}")
        elif isinstance(value, Sequence) and not isinstance(value, str) and isinstance(nested, Sequence):
            for index, (item, raw) in enumerate(zip(nested, value, strict=False)):
                if isinstance(raw, Mapping) and hasattr(type(item), "_attr_to_rest_field"):
                    found += _walk(item, raw, f"{path}.{key}[{index}]")
    return found


def _annotations(kind: type) -> dict[str, str]:
    merged: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for name, annotation in getattr(base, "__annotations__", {}).items():
            merged[name] = annotation if isinstance(annotation, str) else str(annotation)
    return merged


def _wrong_type(annotation: str, value: Any, path: str) -> list[str]:
    for word, kinds in _PLAIN.items():
        if annotation in (word, f"Optional[{word}]", f"typing.Optional[{word}]", f"<class '{word}'>"):
            wrong = not isinstance(value, kinds) or (isinstance(value, bool) and word != "bool")
            return [f"{path} is {value!r}, and must be {word}"] if wrong else []
    return []
