"""What preparing on AWS costs, from the price list; a region that is not in the list costs an unknown amount.

They are estimates for comparing preparations, no bill: free tiers, discounts and taxes are not in them.
"""

from typing import Final

from airflow_llm_provisioning.core.prices import HOURS_A_MONTH
from airflow_llm_provisioning.gateways.clouds.prices import NodePrices
from airflow_llm_provisioning.gateways.prices import list_prices

_LIST: Final = list_prices()
REGIONS: Final = _LIST.regions("eks", "node")
INSTANCE_HOUR_USD: Final = _LIST.amounts("eks", "node")
NODE_PRICES: Final = NodePrices(REGIONS, INSTANCE_HOUR_USD)
GP3_GIB_MONTH_USD: Final = _LIST.amounts("eks", "disk")["gp3"]
GP3_EXTRA_IOPS_MONTH_USD: Final = _LIST.amounts("eks", "volume_iops")["gp3"]
GP3_EXTRA_MIB_S_MONTH_USD: Final = _LIST.amounts("eks", "volume_mib_s")["gp3"]
SNAPSHOT_GIB_MONTH_USD: Final = _LIST.amounts("eks", "snapshot")["standard"]
BUILD_MINUTE_USD: Final = _LIST.amounts("eks", "build")


def build_price(region: str, compute_type: str, seconds: float) -> tuple[float | None, str]:
    """Return (USD or None, basis) of a CodeBuild run; started minutes are charged whole."""
    rate = BUILD_MINUTE_USD.get(compute_type)
    if region not in REGIONS or rate is None:
        return None, f"no list price of {compute_type} in {region} is known here"
    minutes = -(-seconds // 60)
    return round(minutes * rate, 4), f"{minutes:.0f} min of {compute_type} at {rate} USD (list price, {region})"


def snapshot_price(
    region: str, instance_type: str, seconds: float, volume_gib: int, iops: int, throughput_mib_s: int
) -> tuple[float | None, str]:
    """Return (USD or None, basis) of the builder and its volume; keeping the snapshot is named but not counted."""
    hour = INSTANCE_HOUR_USD.get(instance_type)
    if region not in REGIONS or hour is None:
        return None, f"no list price of {instance_type} in {region} is known here"
    hours = seconds / 3600
    month = (
        volume_gib * GP3_GIB_MONTH_USD
        + max(0, iops - 3000) * GP3_EXTRA_IOPS_MONTH_USD
        + max(0, throughput_mib_s - 125) * GP3_EXTRA_MIB_S_MONTH_USD
    )
    price = hours * hour + hours / HOURS_A_MONTH * month
    basis = (
        f"{hours:.2f} h of {instance_type} at {hour} USD and its {volume_gib} GiB gp3 volume (list price, {region}); "
        f"keeping the snapshot costs up to {SNAPSHOT_GIB_MONTH_USD} USD per stored GiB and month on top"
    )
    return round(price, 4), basis


def initialization_basis(region: str, volume_gib: int, rate_mib_s: int) -> str:
    """Return what a provisioned initialization rate costs every node that restores the volume, in words: it is paid
    by the trials, and not in the preparation's price.
    """
    each = f"every node whose volume is initialized at {rate_mib_s} MiB/s costs"
    found = _LIST.price("eks", "initialization", "provisioned", region)
    if found is None:
        return f"{each} an amount on top that is not known here for {region}"
    price = found.amount
    return f"{each} at most {volume_gib * price:.2f} USD on top ({price} USD per stored GiB, {region})"
