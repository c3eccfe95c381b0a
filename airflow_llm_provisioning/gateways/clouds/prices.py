"""What a node costs while it runs, from list prices; a type or region that is not in the table costs an unknown amount.

It needs no SDK, because warming goes through the Kubernetes API alone. Estimates for comparing preparations, no bill:
disks, discounts and the cluster's own fee are not in them.
"""

from collections.abc import Mapping
from typing import Final

# On-demand list prices of 2026 in USD an hour, the same in these regions: cloud.google.com/compute/vm-instance-pricing
# Only types that a Ray head or a warming pod lands on.
_GKE_REGIONS: Final = ("us-central1", "us-east1", "us-west1")
_HOUR_USD: Final[Mapping[str, float]] = {
    "e2-standard-2": 0.0670,
    "e2-standard-4": 0.1340,
    "e2-standard-8": 0.2680,
    "n1-standard-2": 0.0950,
    "n1-standard-4": 0.1900,
    "n1-standard-8": 0.3800,
    "n2-standard-2": 0.0971,
    "n2-standard-4": 0.1942,
}


def node_price(
    cloud: str, region: str | None, instance_type: str | None, seconds: float | None
) -> tuple[float | None, str]:
    """Return (USD or None, basis) of one node for so many seconds; None where nobody saw for how long it ran."""
    if seconds is None:
        return None, f"how long {instance_type or 'the node'} ran is not known"
    hour = _HOUR_USD.get(instance_type or "") if cloud == "gke" and region in _GKE_REGIONS else None
    if hour is None:
        what = f"{instance_type or 'a node of unknown type'} in {region or 'an unknown region'}"
        return None, f"{seconds / 60:.1f} min of {what}, whose list price is not known here"
    price = round(seconds / 3600 * hour, 4)
    return (
        price,
        f"{seconds / 60:.1f} min of {instance_type} at {hour} USD an hour (list price, {region}); disk not included",
    )
