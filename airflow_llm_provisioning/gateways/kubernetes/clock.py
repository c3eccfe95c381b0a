"""Clock of a cluster: UTC, or the virtual time that a simulated cluster declares in its /version."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from airflow_llm_provisioning.core.origin import MEASURED, declared_origin


@dataclass(frozen=True, slots=True)
class ClusterClock:
    """`speed`: cluster seconds per real second. At the real time `wall_epoch` (time.time()) the cluster time was
    `epoch_at`.
    """

    speed: float = 1.0
    wall_epoch: float = 0.0
    epoch_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    origin: str = MEASURED

    @classmethod
    def declared(cls, version: Mapping[str, Any]) -> Self:
        """Read the clock from the answer of /version. The clock of a cluster that declares none is UTC."""
        simulated = version.get("simulated")
        if simulated is None:
            return cls()
        clock = simulated.get("clock") if isinstance(simulated, Mapping) else None
        if not isinstance(clock, Mapping):
            return cls(origin=declared_origin(version))
        return cls(
            float(clock["speed"]),
            float(clock["wall_epoch"]),
            datetime.fromisoformat(clock["virtual_epoch"]).astimezone(UTC),
            declared_origin(version),
        )

    def now(self) -> datetime:
        """Return the cluster's time."""
        return self.at(time.time())

    def at(self, wall: float) -> datetime:
        """Return the cluster's time at a real time (`time.time()`)."""
        return self.epoch_at + timedelta(seconds=(wall - self.wall_epoch) * self.speed)

    def real_seconds(self, cluster_seconds: float) -> float:
        """Return how many real seconds to sleep for that much cluster time."""
        return max(0.0, cluster_seconds) / self.speed
