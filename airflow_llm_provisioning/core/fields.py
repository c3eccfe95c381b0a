"""Reads plain dicts from the wire. Absent, null and wrongly typed values are missing, never an error.

This module does not know the meaning of the fields.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

_NOTHING: Final[Mapping[str, Any]] = {}


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, else an empty one."""
    # A dict first: the check with an abstract class costs ten times as much.
    return value if value is not None and isinstance(value, (dict, Mapping)) else _NOTHING


def items(value: Any) -> Sequence[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, (list, tuple)) else ()


def text(value: Any) -> str:
    """Return `value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """Return `value` as a float if it is a finite number, else None. A boolean is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def dig(value: Any, *path: str) -> Any:
    """Return the value at `path` in nested mappings, or None."""
    for key in path:
        # What is absent is asked for as often as what is there.
        if value is None or not isinstance(value, (dict, Mapping)):
            return None
        value = value.get(key)
    return value


def objects(value: Any, *path: str) -> list[Mapping[str, Any]]:
    """Return the mappings of the list at `path`."""
    return [item for item in items(dig(value, *path)) if isinstance(item, (dict, Mapping))]
