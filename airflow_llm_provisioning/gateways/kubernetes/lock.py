"""The trial lock: a Lease in the cluster, because every DAG and every Airflow can see the cluster.

Changes are guarded by resourceVersion, so only one of two holders can take over an expired lease. The holder is a DAG
run, which has many trials one after the other; the annotation says for which of them it was taken, so that a task of an
earlier one that comes late does not release it.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, LABEL_TRIAL, OWNER
from airflow_llm_provisioning.exceptions import ClusterUnreachableError, ConflictError, LockHeldError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes.cluster import Cluster

LOCK_NAME: Final = "llm-provisioning-trial"
# coordination.k8s.io/v1 MicroTime: six digits.
_MICRO: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_TRIES: Final = 5


async def acquire(
    cluster: "Cluster", holder: str, *, namespace: str, name: str, duration_s: float, trial: str | None = None
) -> datetime:
    """Acquire the lock, or renew the holder's own lock; return its expiry (cluster time). Raises LockHeldError.

    `trial`: for which trial of the holder; None: the lease keeps what it says.
    """
    for _ in range(_TRIES):
        try:
            return await _take(cluster, holder, trial, namespace=namespace, name=name, duration_s=duration_s)
        except (ConflictError, ClusterUnreachableError) as error:
            # Another holder was faster, or the reply was lost: the state of the lease decides.
            failure: Exception = error
    raise failure


async def _take(
    cluster: "Cluster", holder: str, trial: str | None, *, namespace: str, name: str, duration_s: float
) -> datetime:
    lease = await cluster.get("leases", name, namespace)
    now = cluster.clock()
    if lease is None:
        fresh = _fresh(holder, namespace, name, now, duration_s)
        _annotate(fresh, trial)
        await cluster.create(fresh)
        return now + timedelta(seconds=duration_s)
    spec = lease.get("spec") or {}
    owner, expires_at = spec.get("holderIdentity") or "", expiry(lease)
    if owner not in ("", holder) and expires_at > now:
        raise LockHeldError(
            f"Lock {namespace}/{name} is held by {owner!r} until {expires_at:%Y-%m-%d %H:%M:%S} (cluster time): "
            "wait for that trial to end, or delete the Lease if it is dead."
        )
    lease["spec"] = {**spec, "holderIdentity": holder, **_times(now, duration_s)}
    if owner != holder:
        lease["spec"] |= {
            "acquireTime": now.strftime(_MICRO),
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1,
        }
        (lease["metadata"].get("annotations") or {}).pop(LABEL_TRIAL, None)
    _annotate(lease, trial)
    await cluster.replace(lease)
    return now + timedelta(seconds=duration_s)


async def check(cluster: "Cluster", holder: str, *, namespace: str, name: str, trial: str | None = None) -> None:
    """Raise LockHeldError if `holder` does not hold the lock (any more), or holds it for another trial than `trial`."""
    lease = await cluster.get("leases", name, namespace)
    owner = ((lease or {}).get("spec") or {}).get("holderIdentity")
    if owner != holder:
        raise LockHeldError(
            f"Lock {namespace}/{name} is no longer held by {holder!r}: found {owner or 'no holder'!r}. "
            "It expired and was taken over or released, so another trial may use the cluster."
        )
    held_for = taken_for(lease) if lease else None
    if trial is not None and held_for not in (None, trial):
        raise LockHeldError(
            f"Lock {namespace}/{name} is no longer held for trial {trial!r} by {holder!r}: it is now held for trial "
            f"{held_for!r}."
        )


async def renew(cluster: "Cluster", holder: str, *, namespace: str, name: str, duration_s: float) -> datetime:
    """Renew a lock that `holder` still holds. Raises LockHeldError if it was lost."""
    await check(cluster, holder, namespace=namespace, name=name)
    return await acquire(cluster, holder, namespace=namespace, name=name, duration_s=duration_s)


async def release(cluster: "Cluster", holder: str, *, namespace: str, name: str, trial: str | None = None) -> bool:
    """Release the lock; False if `holder` does not hold it (any more). The lock of another holder stays unchanged.

    `trial`: release it only if it was taken for this trial, or for none that is named.
    """
    for _ in range(_TRIES):
        lease = await cluster.get("leases", name, namespace)
        if lease is None or (lease.get("spec") or {}).get("holderIdentity") != holder:
            return False
        if trial is not None and taken_for(lease) not in (None, trial):
            return False
        metadata = lease["metadata"]
        try:
            await cluster.delete(
                "leases", name, namespace, uid=metadata["uid"], resource_version=metadata["resourceVersion"]
            )
        except ConflictError:
            continue
        return True
    return False


def taken_for(lease: dict[str, Any]) -> str | None:
    """Return for which trial of its holder a lease was taken, None if it does not say."""
    found = (lease["metadata"].get("annotations") or {}).get(LABEL_TRIAL)
    return str(found) if found else None


def _annotate(lease: dict[str, Any], trial: str | None) -> None:
    if trial is not None:
        lease["metadata"]["annotations"] = {**(lease["metadata"].get("annotations") or {}), LABEL_TRIAL: trial}


def expiry(lease: dict[str, Any]) -> datetime:
    """Return when a lease expires; a lease without a renewal time has expired."""
    spec = lease.get("spec") or {}
    renewed = spec.get("renewTime") or "1970-01-01T00:00:00Z"
    return datetime.fromisoformat(renewed) + timedelta(seconds=float(spec.get("leaseDurationSeconds") or 0))


def _times(now: datetime, duration_s: float) -> dict[str, Any]:
    return {"renewTime": now.strftime(_MICRO), "leaseDurationSeconds": max(1, round(duration_s))}


def _fresh(holder: str, namespace: str, name: str, now: datetime, duration_s: float) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL_MANAGED_BY: OWNER}},
        "spec": {
            "holderIdentity": holder,
            "acquireTime": now.strftime(_MICRO),
            "leaseTransitions": 0,
            **_times(now, duration_s),
        },
    }
