"""KubeRay's annotation that bounds how long a RayService may take to become ready (since 1.5)."""

import re
from collections.abc import Mapping
from typing import Final

ANNOTATION: Final = "ray.io/initializing-timeout"
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")


def initializing_timeout(annotations: Mapping[str, str]) -> float | None:
    """Return the bound in seconds: a Go duration (`1h30m`, `75s`) or whole seconds; None for none or nonsense."""
    text = annotations.get(ANNOTATION, "").strip()
    if text.isdigit():
        return float(text) or None
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts) or None
