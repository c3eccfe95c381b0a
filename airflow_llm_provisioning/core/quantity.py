"""Reads quantities of Kubernetes: cores, bytes, counts of devices."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

_SUFFIXES: Final[Mapping[str, Decimal]] = {
    **{letter: Decimal(1000) ** power for power, letter in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate(("K", "M", "G", "T", "P", "E"), 1)},
    "m": Decimal("1e-3"),
    "u": Decimal("1e-6"),
    "n": Decimal("1e-9"),
}
_QUANTITY: Final = re.compile(r"\+?([0-9.]{1,30}(?:[eE][+-]?[0-9]{1,3})?)([A-Za-z]{0,2})", re.ASCII)
_MOST_DEVICES: Final = 10**18


def quantity(value: Any) -> float | None:
    """Return a quantity (`500m`, `20Gi`, `1e3`, 8) in its base unit, None for what is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    found = _read(value)
    return None if found is None else float(found)


def whole_count(value: Any) -> int | None:
    """Return how many of an extended resource a quantity is, None for what the API server refuses.

    It takes whole numbers in any writing: `1000m` and `1.0` are 1, `2k` is 2,000 (kubernetes, pkg/apis/core/validation,
    ValidateResourceQuantityValue).
    """
    found = _read(str(value)) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
    if found is None or found >= _MOST_DEVICES or found != int(found):
        return None
    return int(found)


def _read(value: Any) -> Decimal | None:
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in _SUFFIXES:
        return None
    try:
        return Decimal(found[1]) * _SUFFIXES[found[2]]
    except InvalidOperation:
        return None
