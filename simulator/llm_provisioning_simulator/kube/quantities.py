"""Kubernetes quantities: read them, add them up, write them as the API server would."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
}


def quantity(text: object) -> Decimal:
    """Return a quantity as a number; a ValueError for text that is none."""
    written = str(text)
    for suffix, factor in _SUFFIXES.items():
        if written.endswith(suffix):
            return Decimal(written.removesuffix(suffix)) * factor
    return Decimal(written)


def cpu_sum(texts: Iterable[object]) -> str:
    """Return the sum of CPU quantities: `500m` and `500m` are `1`."""
    milli = sum((quantity(text) for text in texts), Decimal(0)) * 1000
    return str(round(milli / 1000)) if milli % 1000 == 0 else f"{round(milli)}m"


def memory_sum(texts: Iterable[object]) -> str:
    """Return the sum of memory quantities with the largest binary suffix that divides it."""
    total = round(sum((quantity(text) for text in texts), Decimal(0)))
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        factor = round(_SUFFIXES[suffix])
        if total and total % factor == 0:
            return f"{total // factor}{suffix}"
    return str(total)


def count_sum(texts: Iterable[object]) -> str:
    """Return the sum of whole numbers, e.g. of GPUs."""
    return str(round(sum((quantity(text) for text in texts), Decimal(0))))
