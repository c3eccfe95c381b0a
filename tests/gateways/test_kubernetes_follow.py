"""Following a resource through every interruption of a watch."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from kube_fake_api import FakeApi, Fault, fake_api

from airflow_llm_provisioning.exceptions import ForbiddenError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes import follow as module
from airflow_llm_provisioning.gateways.kubernetes.credentials import from_access
from airflow_llm_provisioning.gateways.kubernetes.follow import Listener, ObservedVersion, ResumePoint, follow


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        yield server


@pytest.fixture(params=["alone", "shared"])
async def cluster(api: FakeApi, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """Whether its watches may be shared makes no difference to one follower."""
    shared_as = "test" if request.param == "shared" else None
    async with Cluster(from_access(api.access()), name="test", shared_as=shared_as) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every silence short unless a test says otherwise, however slow the machine is."""
    monkeypatch.setattr(module, "PROMPT_S", 30.0)
    monkeypatch.setattr(module, "CATCH_UP_S", 30.0)


class Follower:
    """Collects what `follow` yields in the background."""

    def __init__(self, cluster: Cluster, resource: str = "pods", known: ResumePoint | None = None) -> None:
        self.seen: list[ObservedVersion] = []
        self.gaps: list[str] = []
        self.silences: list[float] = []
        self._more = asyncio.Event()
        listener = Listener(lambda _, why: self.gaps.append(why), lambda _, silent_s: self.silences.append(silent_s))
        self._follow = follow(cluster, resource, "default", known=known, listener=listener)
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for seen in self._follow:
            self.seen.append(seen)
            self._more.set()

    async def until(self, count: int) -> list[tuple[str, str]]:
        async with asyncio.timeout(60):
            while len(self.seen) < count:
                self._more.clear()
                await self._more.wait()
        return [(seen.type, seen.object["metadata"]["name"]) for seen in self.seen]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_existing_objects_and_changes_come_in_order(api: FakeApi, cluster: Cluster) -> None:
    """The list comes first, then every change once, with its version."""
    await api.put("pods", "a")
    follower = Follower(cluster)
    await follower.until(1)
    await api.put("pods", "b")
    await api.put("pods", "a", status={"phase": "Running"})
    await api.remove("pods", "b")
    assert await follower.until(4) == [("LISTED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    await follower.stop()


async def test_a_dropped_watch_loses_and_repeats_nothing(api: FakeApi, cluster: Cluster) -> None:
    """After an interruption the watch continues where it stopped."""
    follower = Follower(cluster)
    for number in range(6):
        await api.put("pods", f"p{number}")
        if number % 2:
            await api.drop_watches()
    assert [name for _, name in await follower.until(6)] == [f"p{number}" for number in range(6)]
    await asyncio.sleep(0.3)
    assert len(follower.seen) == 6
    await follower.stop()


async def test_after_410_it_lists_again_and_reports_vanished_objects(api: FakeApi, cluster: Cluster) -> None:
    """The history is gone: new versions are LISTED, unchanged ones are not repeated, and the lost deletion is found."""
    await api.put("pods", "stays")
    await api.put("pods", "goes")
    follower = Follower(cluster)
    await follower.until(2)
    api.faults.append(Fault("watch=true", cut=True, times=1))
    await api.drop_watches()
    await api.remove("pods", "goes")
    await api.put("pods", "comes")
    await api.compact()
    told = await follower.until(4)
    assert sorted(told[2:]) == [("LISTED", "comes"), ("VANISHED", "goes")]
    assert any("too old" in why for why in follower.gaps)
    await follower.stop()


@pytest.mark.parametrize("fault", [Fault("GET.*pods", status=500, times=6), Fault("GET.*pods", cut=True, times=6)])
async def test_faults_of_a_server_are_retried(
    api: FakeApi, cluster: Cluster, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500s and resets on list and watch delay the changes and lose none; late versions are marked as possibly old."""
    monkeypatch.setattr(module, "PROMPT_S", 0.0)
    follower = Follower(cluster)
    await api.put("pods", "a")
    await follower.until(1)
    api.faults.append(fault)
    await api.drop_watches()
    await api.put("pods", "b")
    assert (await follower.until(2))[1:] == [("LISTED", "b")]
    await follower.stop()


async def test_an_interruption_and_its_end_are_reported_once(api: FakeApi, cluster: Cluster) -> None:
    """However often the server refuses, one beginning and one end are reported, with the silence in seconds."""
    await api.put("pods", "a")
    follower = Follower(cluster)
    await follower.until(1)
    api.faults.append(Fault("watch=true", status=500, times=4))
    await api.drop_watches()
    await api.put("pods", "b")
    await follower.until(2)
    assert len(follower.gaps) == len(follower.silences) == 1
    assert 0 < follower.silences[0] < 20
    await follower.stop()


async def test_versions_after_a_short_interruption_are_prompt(api: FakeApi, cluster: Cluster) -> None:
    """The end of a watch is normal: the versions of the next one are prompt."""
    await api.put("pods", "a")
    follower = Follower(cluster)
    await follower.until(1)
    await api.drop_watches()
    await api.put("pods", "b")
    assert (await follower.until(2))[1:] == [("ADDED", "b")]
    await follower.stop()


async def test_it_continues_at_the_position_of_another_process(api: FakeApi, cluster: Cluster) -> None:
    """Without a list, every version since then is yielded, deletions too, each marked as possibly old."""
    await api.put("pods", "stays")
    gone = await api.put("pods", "goes")
    last = gone["metadata"]
    known = ResumePoint(last["resourceVersion"], {last["uid"]: (last["resourceVersion"], "goes", "default")})
    await api.put("pods", "comes")
    await api.put("pods", "comes", status={"phase": "Running"})
    await api.remove("pods", "goes")
    follower = Follower(cluster, known=known)
    assert await follower.until(3) == [("LISTED", "comes"), ("LISTED", "comes"), ("DELETED", "goes")]
    assert not [request for request in api.requests if "watch" not in request and "pods" in request]
    assert follower.gaps == []
    await follower.stop()


async def test_an_expired_position_lists_again_and_reports_the_gap(api: FakeApi, cluster: Cluster) -> None:
    """The history is gone: the gap and the objects that vanished in it are reported."""
    gone = (await api.put("pods", "goes"))["metadata"]
    known = ResumePoint(gone["resourceVersion"], {gone["uid"]: (gone["resourceVersion"], "goes", "default")})
    await api.remove("pods", "goes")
    await api.put("pods", "comes")
    await api.compact()
    follower = Follower(cluster, known=known)
    assert sorted(await follower.until(2)) == [("LISTED", "comes"), ("VANISHED", "goes")]
    assert len(follower.gaps) == 1
    await follower.stop()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_refusals_of_a_starting_server_are_retried(api: FakeApi, cluster: Cluster, status: int) -> None:
    """The authorizer and the CRDs load after the port opens: a refusal is retried if requests succeeded before."""
    await api.put("pods", "a")
    follower = Follower(cluster)
    await follower.until(1)
    api.faults.append(Fault("pods", status=status, times=3))
    await api.drop_watches()
    await api.put("pods", "b")
    assert [name for _, name in await follower.until(2)] == ["a", "b"]
    await follower.stop()


async def test_a_refusal_that_stays_is_raised(api: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removed permission does not return by waiting."""
    monkeypatch.setattr(module, "REFUSED_S", 0.0)
    await api.put("pods", "a")
    following = follow(cluster, "pods", "default")
    await anext(following)
    api.faults.append(Fault("pods", status=403, times=99))
    await api.drop_watches()
    with pytest.raises(ForbiddenError):
        await anext(following)


async def test_a_server_behind_the_client_is_listed_again(api: FakeApi, cluster: Cluster) -> None:
    """A server restored from a backup answers the client's version with 504 permanently; a new list solves it."""
    await api.put("pods", "a")
    follower = Follower(cluster)
    await follower.until(1)
    behind = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
    api.faults.append(Fault("watch=true", status=504, details=behind))
    await api.drop_watches()
    await api.put("pods", "b")
    await follower.until(2)
    lists = [request for request in api.requests if "pods" in request and "watch" not in request]
    assert len(lists) == 2
    await follower.stop()


async def test_a_resource_that_is_not_served_ends_quietly(api: FakeApi, cluster: Cluster) -> None:
    """Without Karpenter there is nothing to follow."""
    api.absent = {"nodeclaims"}
    assert [seen async for seen in follow(cluster, "nodeclaims")] == []


async def test_forbidden_is_raised(api: FakeApi, cluster: Cluster) -> None:
    """Errors that waiting does not fix are raised at once."""
    api.faults.append(Fault("pods", status=403))
    with pytest.raises(ForbiddenError):
        await anext(follow(cluster, "pods", "default"))
