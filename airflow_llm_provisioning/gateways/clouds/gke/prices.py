"""What preparing on Google costs: a Cloud Build by what it says of itself, a node by its list price."""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.prices import HOURS_A_MONTH
from airflow_llm_provisioning.gateways.clouds.prices import NodePrices
from airflow_llm_provisioning.gateways.prices import list_prices

_LIST: Final = list_prices()
# USD a minute of working build, default pool.
PRICE_USD_MIN: Final[Mapping[str, float]] = _LIST.amounts("gke", "build")
MACHINE: Final = "E2_HIGHCPU_8"
NODE_PRICES: Final = NodePrices(_LIST.regions("gke", "node"), _LIST.amounts("gke", "node"))

# USD a GiB and month: a builder's balanced disk, and a stored disk image.
DISK_GIB_MONTH_USD: Final = _LIST.amounts("gke", "disk")["pd-balanced"]
IMAGE_GIB_MONTH_USD: Final = _LIST.amounts("gke", "snapshot")["standard"]


def build_phases(build: Any) -> dict[str, float]:
    """Return what Cloud Build timed itself: {queue, fetchsource, setupbuild, build, push}, seconds."""
    if build is None:
        return {}
    spans = {key.lower(): (span.start_time, span.end_time) for key, span in build.timing.items()}
    spans["queue"] = (build.create_time, build.start_time)
    return {
        key: round((end - start).total_seconds(), 3) for key, (start, end) in sorted(spans.items()) if start and end
    }


def build_price(machine: str, worked_s: float | None, reused: bool) -> tuple[float | None, str]:
    """Return dollars and where they come from; None where Cloud Build did not say how long it worked."""
    if reused:
        return 0.0, "found in the registry, nothing was built"
    if worked_s is None:
        return None, "Cloud Build said nothing of how long it worked"
    minutes = worked_s / 60
    basis = f"{minutes:.2f} min of {machine} at {PRICE_USD_MIN[machine]} USD (list, default pool); storage not included"
    return round(minutes * PRICE_USD_MIN[machine], 4), basis


def disk_image_price(region: str, machine: str, seconds: float, disks_gib: int) -> tuple[float | None, str]:
    """Return (USD or None, basis) of a builder and its disks; keeping the image is named but not counted."""
    found = _LIST.price("gke", "node", machine, region)
    if found is None:
        return None, f"no list price of {machine} in {region} is known here"
    hours = seconds / 3600
    price = hours * found.amount + hours / HOURS_A_MONTH * disks_gib * DISK_GIB_MONTH_USD
    basis = (
        f"{hours:.2f} h of {machine} at {found.amount} USD and {disks_gib} GiB of balanced disks (list price, "
        f"{region}); keeping the disk image costs up to {IMAGE_GIB_MONTH_USD} USD per stored GiB and month on top"
    )
    return round(price, 4), basis


def worked_s(build: Any) -> float | None:
    """Return how long a build worked, in seconds, None where Cloud Build does not say."""
    if build is None or not (build.start_time and build.finish_time):
        return None
    return float((build.finish_time - build.start_time).total_seconds())
