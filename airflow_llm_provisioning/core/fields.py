"""Reading plain dicts off the wire: absent, null and of the wrong kind all read as missing, never as an error.

Knows nothing of what the fields mean.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

_NOTHING: Final[Mapping[str, Any]] = {}


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else _NOTHING


def items(value: Any) -> Sequence[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, (list, tuple)) else ()


def text(value: Any) -> str:
    """Return `value` if it is a string, else the empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """Return `value` as a float if it is a finite number, else None; a boolean is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def dig(value: Any, *path: str) -> Any:
    """Return what stands at `path` in nested mappings, or None."""
    for key in path:
        value = mapping(value).get(key)
    return value


def objects(value: Any, *path: str) -> list[Mapping[str, Any]]:
    """Return the mappings of the list at `path`."""
    return [item for item in items(dig(value, *path)) if isinstance(item, Mapping)]
