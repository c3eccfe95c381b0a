"""Waiting for objects to vanish, with a limit that outlives the process that waits.

Knows no trial: which objects, and since when the limit counts, is said by the wait that uses it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster


@dataclass(frozen=True, slots=True)
class Patience:
    """`limit_s` seconds from `started_at`, in the cluster's clock: a triggerer that begins again grants no new ones."""

    cluster: "Cluster"
    started_at: datetime
    limit_s: float

    def waited_s(self) -> float:
        """Return how long it has been."""
        return (self.cluster.clock() - self.started_at).total_seconds()

    def left_s(self) -> float:
        """Return how much is left, at least 0."""
        return max(0.0, self.limit_s - self.waited_s())

    async def gone(self, resource: str, named: Mapping[str, str | None], namespace: str | None = None) -> bool:
        """Wait until all objects are gone; return False when the limit was reached before.

        `named`: name -> uid; None: whatever has that name.
        """
        waits = (
            self.cluster.wait_gone(resource, name, namespace, uid=uid, timeout_s=self.left_s())
            for name, uid in named.items()
        )
        return all(await asyncio.gather(*waits))
