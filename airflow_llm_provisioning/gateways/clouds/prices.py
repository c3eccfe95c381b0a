"""What a node costs while it runs, from list prices; a type or region that is not in a cloud's table costs unknown.

Each cloud's table is in its own folder. Estimates for comparing preparations, no bill: disks, discounts and the
cluster's own fee are not in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodePrices:
    """A cloud's on-demand list prices: `hour_usd` by instance type, the same in all `regions`."""

    regions: tuple[str, ...] = ()
    hour_usd: Mapping[str, float] = field(default_factory=dict)

    def price(self, region: str | None, instance_type: str | None, seconds: float | None) -> tuple[float | None, str]:
        """Return (USD or None, basis) of one node for so many seconds; None where its time or its price is unknown."""
        if seconds is None:
            return None, f"how long {instance_type or 'the node'} ran is not known"
        hour = self.hour_usd.get(instance_type or "") if region in self.regions else None
        if hour is None:
            what = f"{instance_type or 'a node of unknown type'} in {region or 'an unknown region'}"
            return None, f"{seconds / 60:.1f} min of {what}, whose list price is not known here"
        basis = f"{seconds / 60:.1f} min of {instance_type} at {hour} USD an hour (list price, {region})"
        return round(seconds / 3600 * hour, 4), f"{basis}; disk not included"
