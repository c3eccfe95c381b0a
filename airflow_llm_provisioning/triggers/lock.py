"""The wait for a cluster that another trial holds: until the lock is taken, or the time limit has passed."""

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.exceptions import LockHeldError
from airflow_llm_provisioning.triggers.base import Wait
from airflow_llm_provisioning.triggers.deadline import Deadline

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster
    from airflow_llm_provisioning.triggers.progress_row import ProgressRow

log = logging.getLogger(__name__)

# Cluster seconds between two tries, and the shortest pause however fast a simulated clock is.
TRY_EVERY_S: Final = 10.0
MIN_PAUSE_S: Final = 0.5
# The trigger takes the lock for so long; the task that resumes prolongs it. If it does not, the lock ends by itself.
HANDOVER_CLUSTER_S: Final = 600.0
HANDOVER_REAL_S: Final = 120.0


class LockWait(Wait):
    """Takes the lock of a cluster as soon as it is free. Trials that wait for it get it in no particular order.

    An outage of the API server is outlasted until the time limit.

    :param cluster: the cluster's reference.
    :param holder: who takes the lock: the DAG run and cluster (`core.trial.Slot.lock_holder`).
    :param started_at: ISO instant in the cluster's clock; `timeout_s` counts from there, also after a restart.
    :param trial_id: of the trial that waits; with `results_conn_id` readers of the store see whom it waits for.
    """

    def __init__(
        self,
        *,
        cluster: dict[str, Any],
        namespace: str,
        holder: str,
        started_at: str,
        timeout_s: float,
        trial_id: str | None = None,
        results_conn_id: str | None = None,
    ) -> None:
        super().__init__(
            cluster=cluster,
            namespace=namespace,
            holder=holder,
            started_at=started_at,
            timeout_s=timeout_s,
            trial_id=trial_id,
            results_conn_id=results_conn_id,
        )
        self.trial_id = trial_id
        self.results_conn_id = results_conn_id
        self.cluster = cluster
        self.namespace = namespace
        self.holder = holder
        self.started_at = datetime.fromisoformat(started_at)
        self.timeout_s = timeout_s

    async def outcome(self) -> dict[str, Any]:
        """Return {acquired, reason, started_at, at, origin}; `reason`: who held the lock at the time limit, or None."""
        from airflow_llm_provisioning.connections import open_cluster
        from airflow_llm_provisioning.gateways.kubernetes.outage import through_outages
        from airflow_llm_provisioning.triggers.progress_row import open_progress_row

        async with open_progress_row(self.results_conn_id, self.trial_id, "lock") as row:
            return await through_outages(
                lambda: open_cluster(self.cluster), lambda cluster: self._taken(cluster, row), limit_s=self.timeout_s
            )

    async def _taken(self, cluster: "Cluster", row: "ProgressRow") -> dict[str, Any]:
        from airflow_llm_provisioning.core.progress import Standing

        deadline, standing = Deadline(cluster, self.started_at, self.timeout_s), Standing(self.started_at)
        while (held := await self._held_by(cluster)) is not None:
            if deadline.left_s() <= 0:
                break
            if line := standing.due(cluster.clock(), f"waits for the cluster: {held}"):
                log.info("%s (for up to %.0f s more)", line, deadline.left_s())
                row.tell("waits for its cluster", held, deadline.waited_s())
            await asyncio.sleep(max(MIN_PAUSE_S, cluster.real_seconds(min(TRY_EVERY_S, deadline.left_s()))))
        return {
            "acquired": held is None,
            "reason": held and f"It waited for {deadline.waited_s():.0f} s. {held}",
            "started_at": self.started_at.isoformat(),
            "at": cluster.clock().isoformat(),
            "origin": cluster.origin(),
        }

    async def _held_by(self, cluster: "Cluster") -> str | None:
        """Take the lock and return None, or return who holds it, in a sentence."""
        duration_s = max(HANDOVER_CLUSTER_S, HANDOVER_REAL_S / max(cluster.real_seconds(1.0), 1e-9))
        try:
            await cluster.acquire_lock(self.holder, namespace=self.namespace, duration_s=duration_s)
        except LockHeldError as error:
            return str(error)
        return None
