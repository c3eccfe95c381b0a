"""What earlier trials left on a cluster: no trial starts beside it, and a refusal names it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.remains import explained, listed
from airflow_llm_provisioning.core.trial import Opened, Trial
from airflow_llm_provisioning.exceptions import LockHeldError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

# The lock outlives the deployment's time limit by the teardown's.
LOCK_MARGIN_S: Final = 3600


async def holds_lock(cluster: "Cluster", holder: str, namespace: str) -> bool:
    """Return whether `holder` holds the trial lock now."""
    from airflow_llm_provisioning.gateways.kubernetes.lock import LOCK_NAME, expiry

    lease = await cluster.get("leases", LOCK_NAME, namespace)
    owner = ((lease or {}).get("spec") or {}).get("holderIdentity")
    return lease is not None and owner == holder and expiry(lease) > cluster.clock()


async def acquire_or_explain(cluster: "Cluster", trial: Trial) -> None:
    """Take the cluster's lock. A LockHeldError also names what is being deleted and is not gone: the trial that holds
    the lock may wait for that.
    """
    opened = trial.opened
    assert opened is not None  # noqa: S101 - the caller has just opened it
    try:
        await cluster.acquire_lock(
            trial.slot.lock_holder, namespace=opened.namespace, duration_s=trial.timeout_s + LOCK_MARGIN_S
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
