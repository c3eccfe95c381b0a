"""What a Cloud Build took and what it costs, from what Cloud Build says of it."""

from collections.abc import Mapping
from typing import Any, Final

# USD a minute of working build, default pool, list price: cloud.google.com/build/pricing (read November 2026).
PRICE_USD_MIN: Final[Mapping[str, float]] = {
    "E2_MEDIUM": 0.003,
    "E2_STANDARD_2": 0.006,
    "E2_HIGHCPU_8": 0.016,
    "E2_HIGHCPU_32": 0.064,
    "N1_HIGHCPU_8": 0.016,
    "N1_HIGHCPU_32": 0.064,
}
MACHINE: Final = "E2_HIGHCPU_8"


def build_phases(build: Any) -> dict[str, float]:
    """Return what Cloud Build timed itself: {queue, fetchsource, setupbuild, build, push}, seconds."""
    if build is None:
        return {}
    spans = {key.lower(): (span.start_time, span.end_time) for key, span in build.timing.items()}
    spans["queue"] = (build.create_time, build.start_time)
    return {
        key: round((end - start).total_seconds(), 3) for key, (start, end) in sorted(spans.items()) if start and end
    }


def build_price(machine: str, build: Any, reused: bool) -> tuple[float | None, str]:
    """Return dollars and where they come from; None where Cloud Build did not say how long it worked."""
    if reused:
        return 0.0, "found in the registry, nothing was built"
    if build is None or not (build.start_time and build.finish_time):
        return None, "Cloud Build said nothing of how long it worked"
    minutes = (build.finish_time - build.start_time).total_seconds() / 60
    basis = f"{minutes:.2f} min of {machine} at {PRICE_USD_MIN[machine]} USD (list, default pool); storage not included"
    return round(minutes * PRICE_USD_MIN[machine], 4), basis
