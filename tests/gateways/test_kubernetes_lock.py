"""The trial lock: one holder, for every timing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from kube_fake_api import FakeApi, Fault, fake_api

from airflow_llm_provisioning.exceptions import LockHeldError
from airflow_llm_provisioning.gateways.kubernetes import Cluster

LEASE = ("leases", "llm-provisioning-trial", "ml")


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        yield server


@pytest.fixture
async def cluster(api: FakeApi) -> AsyncIterator[Cluster]:
    async with Cluster.from_access(api.access(), name="test") as opened:
        yield opened


async def test_a_held_lock_names_holder_and_end(cluster: Cluster) -> None:
    """The message for the second trial names the holder and the expiry."""
    ends_at = await cluster.acquire_lock("trial-a", namespace="ml", duration_s=600)
    with pytest.raises(LockHeldError, match=rf"'trial-a' until {ends_at:%Y-%m-%d %H:%M}"):
        await cluster.acquire_lock("trial-b", namespace="ml", duration_s=600)


async def test_the_same_holder_acquires_again_and_extends(cluster: Cluster) -> None:
    """A restarted trial acquires its own lock again, with a later expiry."""
    first = await cluster.acquire_lock("trial-a", namespace="ml", duration_s=60)
    again = await cluster.acquire_lock("trial-a", namespace="ml", duration_s=600)
    assert again - first > timedelta(seconds=500)
    lease = await cluster.get(*LEASE)
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 0


async def test_an_expired_lock_is_taken_over(cluster: Cluster) -> None:
    """A holder that stopped renewing loses the lock, and its next renewal fails."""
    await cluster.acquire_lock("dead", namespace="ml", duration_s=600)
    lease = await cluster.get(*LEASE)
    assert lease is not None
    lease["spec"]["renewTime"] = "2020-01-01T00:00:00.000000Z"
    await cluster.replace(lease)
    await cluster.acquire_lock("alive", namespace="ml", duration_s=60)
    with pytest.raises(LockHeldError, match="no longer held by 'dead': found 'alive'"):
        await cluster.renew_lock("dead", namespace="ml", duration_s=60)
    taken = await cluster.get(*LEASE)
    assert taken is not None
    assert taken["spec"]["leaseTransitions"] == 1


async def test_renewal_moves_the_end(cluster: Cluster) -> None:
    """A renewal counts from now."""
    first = await cluster.acquire_lock("trial-a", namespace="ml", duration_s=60)
    assert await cluster.renew_lock("trial-a", namespace="ml", duration_s=120) > first


async def test_release_deletes_only_the_holders_lease(cluster: Cluster) -> None:
    """A release deletes the Lease; the release of another holder changes nothing."""
    await cluster.acquire_lock("trial-a", namespace="ml", duration_s=60)
    assert await cluster.release_lock("trial-b", namespace="ml") is False
    assert await cluster.get(*LEASE) is not None
    assert await cluster.release_lock("trial-a", namespace="ml") is True
    assert await cluster.get(*LEASE) is None
    assert await cluster.release_lock("trial-a", namespace="ml") is False


async def test_of_many_contenders_exactly_one_wins(api: FakeApi) -> None:
    """For a new and for an expired lease, exactly one contender gets it and the others get an error."""
    async with AsyncExitStack() as stack:
        clusters = [await stack.enter_async_context(Cluster.from_access(api.access())) for _ in range(8)]
        for _ in range(2):
            outcomes = await asyncio.gather(
                *(c.acquire_lock(f"trial-{n}", namespace="ml", duration_s=600) for n, c in enumerate(clusters)),
                return_exceptions=True,
            )
            assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, LockHeldError) for outcome in outcomes) == 7
            lease = await clusters[0].get(*LEASE)
            assert lease is not None
            lease["spec"] |= {"renewTime": "2020-01-01T00:00:00.000000Z", "holderIdentity": "dead"}
            await clusters[0].replace(lease)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_lost_reply_does_not_lose_the_lock(api: FakeApi, cluster: Cluster, method: str) -> None:
    """The write reached the server but its reply was lost: the holder finds itself in the lease."""
    if method == "PUT":
        await cluster.acquire_lock("trial-a", namespace="ml", duration_s=60)
    api.faults.append(Fault(method, lost=True))
    await cluster.acquire_lock("trial-a", namespace="ml", duration_s=60)
    lease = await cluster.get(*LEASE)
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "trial-a"


async def test_a_late_task_of_an_earlier_trial_does_not_release_the_lock(cluster: Cluster) -> None:
    """A DAG run holds the lock for one trial after the other: it is released for the one that it was taken for."""
    await cluster.acquire_lock("run", namespace="ml", duration_s=60, trial="second")
    assert await cluster.release_lock("run", namespace="ml", trial="first") is False
    # Renewed without a word about the trial, as by a wait for the lock, it stays the second one's.
    await cluster.acquire_lock("run", namespace="ml", duration_s=60)
    assert await cluster.release_lock("run", namespace="ml", trial="first") is False
    assert await cluster.release_lock("run", namespace="ml", trial="second") is True


async def test_a_lock_that_changes_hands_forgets_the_trial(cluster: Cluster) -> None:
    """The expired lease of another run said for which of its trials it was taken."""
    await cluster.acquire_lock("dead", namespace="ml", duration_s=60, trial="first")
    lease = await cluster.get(*LEASE)
    assert lease is not None
    lease["spec"]["renewTime"] = "2020-01-01T00:00:00.000000Z"
    await cluster.replace(lease)
    await cluster.acquire_lock("alive", namespace="ml", duration_s=60)
    assert await cluster.release_lock("alive", namespace="ml", trial="second") is True
