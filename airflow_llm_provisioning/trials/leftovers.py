"""What earlier trials left on a cluster: no trial starts beside it, and a refusal names it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.remains import explained, listed
from airflow_llm_provisioning.core.trial import Opened, Trial
from airflow_llm_provisioning.exceptions import LockHeldError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

# The lock outlives the deployment's time limit by the teardown's.
LOCK_MARGIN_S: Final = 3600


class HeldLock(NamedTuple):
    """A lock that is held: for which trial of its holder, and for how long."""

    trial: str | None
    left_s: float


async def held_lock(cluster: "Cluster", holder: str, namespace: str) -> HeldLock | None:
    """Return what `holder` holds of the trial lock now, None if it does not."""
    from airflow_llm_provisioning.gateways.kubernetes.lock import LOCK_NAME, expiry, taken_for

    lease = await cluster.get("leases", LOCK_NAME, namespace)
    if lease is None or (lease.get("spec") or {}).get("holderIdentity") != holder:
        return None
    left_s = (expiry(lease) - cluster.clock()).total_seconds()
    return HeldLock(taken_for(lease), left_s) if left_s > 0 else None


async def acquire_or_explain(cluster: "Cluster", trial: Trial) -> None:
    """Take the cluster's lock. A LockHeldError also names what is being deleted and is not gone: the trial that holds
    the lock may wait for that.
    """
    opened = trial.opened
    assert opened is not None  # noqa: S101 - the caller has just opened it
    try:
        await cluster.acquire_lock(
            trial.slot.lock_holder,
            namespace=opened.namespace,
            duration_s=trial.timeout_s + LOCK_MARGIN_S,
            trial=opened.labels[LABEL_TRIAL],
        )
    except LockHeldError as error:
        left = await left_by_others(cluster, opened, only_deleted=True)
        if not left:
            raise
        raise LockHeldError(f"{error} Deleted there, and not gone: {left}.") from error


async def left_by_others(cluster: "Cluster", opened: Opened, *, only_deleted: bool = False) -> str:
    """Return what is left of other trials in a trial's namespace, with its reasons; empty where nothing is.

    `only_deleted`: only what its deletion was asked for.
    """
    from airflow_llm_provisioning.gateways.remains import surroundings_of, trials_left

    left: Sequence[Mapping[str, Any]] = await trials_left(cluster, opened.namespace, but=opened.labels[LABEL_TRIAL])
    if only_deleted:
        left = [obj for obj in left if obj["metadata"].get("deletionTimestamp")]
    return listed(explained(left, await surroundings_of(cluster, left))) if left else ""
