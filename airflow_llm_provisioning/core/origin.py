"""Where a trial ran, as its cluster says at /version: on a real cluster, on a simulated one, or on a simulated one
whose numbers were calibrated to statements. The three never share a stratum.
"""

from collections.abc import Mapping
from typing import Any, Final

MEASURED: Final = "measured"
SIMULATED: Final = "simulated"


def declared_origin(version: Mapping[str, Any]) -> str:
    """Return the origin that the answer of /version declares."""
    simulated = version.get("simulated")
    if simulated is None:
        return MEASURED
    name = simulated.get("calibrated") if isinstance(simulated, Mapping) else None
    return f"{SIMULATED} (calibrated {name})" if name else SIMULATED


def is_simulated(origin: str | None) -> bool:
    """Whether an origin is a simulator, calibrated or not."""
    return origin == SIMULATED or (origin or "").startswith(f"{SIMULATED} (")


def shown_origin(origin: str) -> str:
    """Return an origin as people read it: what is simulated is shouted."""
    return origin.upper() if is_simulated(origin) else origin
