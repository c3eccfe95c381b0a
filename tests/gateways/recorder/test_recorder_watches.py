"""The recorder over real HTTP: everything that belongs to a trial is recorded, once, also from a server with faults."""

import asyncio

import pytest
from kube_fake_api import FakeApi, Fault
from recorder_builders import Recording, deploy, fast_clock, make_ready, owned_metadata

from airflow_llm_provisioning.gateways import recorder
from airflow_llm_provisioning.gateways.recording import subject_watch
from airflow_llm_provisioning.gateways.recording.turns import Turns, turns


async def test_events_are_kept_by_uid_and_wait_for_their_objects(api: FakeApi) -> None:
    """An event that arrives before its pod is stored; one of an earlier RayService of the same name is not."""
    await deploy(api)
    owner = api.objects["rayclusters", "ml", "llm-abc"]["metadata"]["uid"]
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await api.put("events", "old", "ml", involvedObject={"kind": "RayService", "name": "llm", "uid": "older"})
    await api.put("events", "early", "ml", involvedObject={"kind": "Pod", "name": "llm-abc-head", "uid": "uid-pod"})
    await api.put("events", "node", "default", involvedObject={"kind": "Node", "name": "n1", "uid": "n1"})
    await recording.until(lambda r: bool(r.of("events")))
    await api.replay(
        "ADDED",
        "pods",
        {
            "metadata": {
                "name": "llm-abc-head",
                "namespace": "ml",
                "uid": "uid-pod",
                "resourceVersion": "900",
                "ownerReferences": [{"uid": owner}],
            }
        },
    )
    await recording.until(lambda r: len(r.of("events")) == 2)
    await make_ready(api)
    await recording.task
    assert sorted(one["object"]["metadata"]["name"] for one in recording.of("events")) == ["early", "node"]


async def test_faults_lose_and_repeat_nothing(api: FakeApi) -> None:
    """With interrupted watches, 410, 500 and resets during a deployment, each version of each object is stored once."""
    await deploy(api)
    owner = {"ownerReferences": [{"uid": api.objects["rayclusters", "ml", "llm-abc"]["metadata"]["uid"]}]}
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    for number in range(12):
        await api.put("pods", f"llm-abc-w{number}", "ml", metadata=owner)
        if number % 3 == 0:
            api.faults.append(Fault("pods", status=500))
            await api.drop_watches()
        if number % 4 == 1:
            api.faults.append(Fault("watch=true", cut=True))
            await api.compact()
    await recording.until(lambda r: len(r.of("pods")) >= 12)
    await make_ready(api)
    await recording.task
    kept = sorted(one["object"]["metadata"]["name"] for one in recording.of("pods"))
    assert kept == sorted(f"llm-abc-w{number}" for number in range(12))
    assert recording.marks("watch_interrupted")


async def test_what_waits_for_its_turn_at_the_end_is_recorded(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ready endpoint passes versions that came before it; the recording ends after they are taken."""
    real, free = turns(), asyncio.Event()
    free.set()

    class Held(Turns):
        async def turn(self, holder: object = None) -> None:
            await free.wait()
            await real.turn(holder)

    held = Held()
    monkeypatch.setattr(subject_watch, "turns", lambda: held)
    await deploy(api)
    owner = {"ownerReferences": [{"uid": api.objects["rayclusters", "ml", "llm-abc"]["metadata"]["uid"]}]}
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    free.clear()
    await api.put("pods", "llm-abc-late", "ml", metadata=owner)
    await make_ready(api)
    await recording.until(lambda r: bool(r.marks("endpoint_ready_seen")))
    assert recording.of("pods") == []
    asyncio.get_running_loop().call_later(0.1, free.set)
    await recording.task
    assert [one["object"]["metadata"]["name"] for one in recording.of("pods")] == ["llm-abc-late"]
    assert not [mark for mark in recording.marks("not_collected") if mark["what"] == "versions before the end"]


async def test_what_others_do_in_the_namespace_does_not_hold_up_the_end(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A namespace in which much goes on is never quiet, and this process is not behind for that."""
    await deploy(api)
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    monkeypatch.setattr(subject_watch, "CATCH_UP_S", 1.0)

    async def others() -> None:
        for number in range(10_000):
            await api.put("pods", f"other-{number % 5}", "ml", metadata={"labels": {"n": str(number)}})
            await asyncio.sleep(0.01)

    busy = asyncio.create_task(others())
    await make_ready(api)
    await recording.task
    busy.cancel()
    assert not [mark for mark in recording.marks("not_collected") if mark["what"] == "versions before the end"]


async def test_what_is_not_taken_in_time_at_the_end_is_told(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is far behind ends the recording all the same, because GPU nodes run on; the trace says so."""

    class Never(Turns):
        async def turn(self, holder: object = None) -> None:
            await asyncio.Event().wait()

    never = Never()
    await deploy(api)
    owner = {"ownerReferences": [{"uid": api.objects["rayclusters", "ml", "llm-abc"]["metadata"]["uid"]}]}
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    monkeypatch.setattr(subject_watch, "turns", lambda: never)
    monkeypatch.setattr(subject_watch, "CATCH_UP_S", 0.2)
    await api.put("pods", "llm-abc-late", "ml", metadata=owner)
    await make_ready(api)
    outcome = await recording.task
    assert outcome.outcome == "ready"
    (told,) = [mark for mark in recording.marks("not_collected") if mark["what"] == "versions before the end"]
    assert "behind the cluster by more than 0.2 s" in told["why"]


WATCHED = ("rayservices", "rayclusters", "pods", "services", "endpointslices", "nodes", "nodeclaims")


@pytest.mark.parametrize("resource", WATCHED)
async def test_every_resource_is_listed_and_then_watched(api: FakeApi, resource: str) -> None:
    """Existing objects are LISTED in the trace, and later changes follow in order."""
    api.absent = set()
    await deploy(api)
    name, namespace = {"rayservices": "llm", "rayclusters": "llm-abc"}.get(resource, "llm-x"), "ml"
    if resource in ("nodes", "nodeclaims"):
        namespace = ""
    metadata = {} if resource == "rayservices" else owned_metadata(api, resource)
    await api.put(resource, name, namespace or None, metadata=dict(metadata), spec={"n": 1})
    api.objects[resource, namespace, name]["metadata"]["uid"] = "uid-rs" if resource == "rayservices" else "uid-x"
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of(resource)))
    await api.put(resource, name, namespace or None, metadata=dict(metadata), spec={"n": 2})
    await recording.until(lambda r: len(r.of(resource)) > 1)
    await make_ready(api)
    await recording.task
    versions = [one for one in recording.of(resource) if one["object"]["metadata"]["name"] == name]
    assert [one["object"]["spec"]["n"] for one in versions] == [1, 2]
    assert versions[0]["type"] == "LISTED"


@pytest.mark.parametrize("events", ["events", "events.events.k8s.io"])
@pytest.mark.parametrize("namespace", ["ml", "default"])
async def test_events_of_either_api_are_listed_and_then_watched(api: FakeApi, events: str, namespace: str) -> None:
    """Events are recorded in the RayService's namespace and in that of node events: by the older API, and by the newer
    one where a role allows only that.
    """
    await deploy(api)
    if events != "events":
        api.faults.append(Fault("/api/v1/namespaces/[^/]+/events", status=403, times=999))
    about = {"kind": "RayService", "name": "llm", "uid": "uid-rs"}
    if namespace == "default":
        about = {"kind": "Node", "name": "n1", "uid": "n1"}
    involved = {"involvedObject" if events == "events" else "regarding": about}
    await api.put(events, "before", namespace, **involved)
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of(events)))
    await api.put(events, "after", namespace, **involved)
    await recording.until(lambda r: len(r.of(events)) > 1)
    await make_ready(api)
    await recording.task
    assert [one["object"]["metadata"]["name"] for one in recording.of(events)] == ["before", "after"]
    assert recording.marks("not_recorded") == []
    assert any("/apis/events.k8s.io" in line for line in api.requests) == (events != "events")


async def test_a_late_event_is_still_taken(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are sent in the background: one that comes after the endpoint is in the trace."""
    monkeypatch.setattr(recorder, "LATE_CLUSTER_S", 20.0)
    api.version = {"simulated": {"clock": fast_clock(10)}}
    await deploy(api)
    recording = Recording(api, limit_s=600)
    await recording.until(lambda r: bool(r.of("rayclusters")))
    await make_ready(api)
    await recording.until(lambda r: bool(r.marks("endpoint_ready_seen")))
    await api.put("events", "late", "ml", involvedObject={"kind": "RayService", "name": "llm", "uid": "uid-rs"})
    assert (await recording.task).outcome == "ready"
    assert [one["object"]["metadata"]["name"] for one in recording.of("events")] == ["late"]


async def test_without_any_event_the_objects_are_enough(api: FakeApi) -> None:
    """All events may be lost or forbidden: the recording still ends, and the trace names the gap."""
    await deploy(api)
    api.faults.append(Fault("/events", status=403, times=999))
    await make_ready(api)
    recording = Recording(api)
    assert (await recording.task).outcome == "ready"
    assert {mark["what"] for mark in recording.marks("not_recorded")} == {"events", "events.events.k8s.io"}


async def test_a_repeated_version_is_stored_once(api: FakeApi) -> None:
    """Repeated versions, and versions after newer ones of the same object, are not stored."""
    await deploy(api)
    pod = await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"))
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("pods")))
    newer = await api.put(
        "pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"), status={"phase": "Running"}
    )
    for again in (newer, pod, newer):
        await api.replay("MODIFIED", "pods", again)
    await api.put("nodes", "n1", None)
    await recording.until(lambda r: bool(r.of("nodes")))
    await make_ready(api)
    await recording.task
    assert [one["object"]["metadata"]["resourceVersion"] for one in recording.of("pods")] == [
        pod["metadata"]["resourceVersion"],
        newer["metadata"]["resourceVersion"],
    ]


@pytest.mark.parametrize("forgets", [False, True])
async def test_an_api_server_restart_is_survived(api: FakeApi, forgets: bool) -> None:
    """The API server is away for a while and returns, with or without its history. The last writes are in the trace
    once, the outage has a beginning and an end in it, and the trial ends ready.
    """
    await deploy(api)
    await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"))
    recording = Recording(api)
    await recording.until(lambda r: bool(r.of("pods")))
    await api.stop()
    # Written through another API server of the same cluster.
    await api.put("pods", "llm-abc-head", "ml", metadata=owned_metadata(api, "pods"), status={"phase": "Running"})
    await api.put("pods", "llm-abc-w", "ml", metadata=owned_metadata(api, "pods"))
    await asyncio.sleep(0.6)
    if forgets:
        await api.compact()
    await api.start()
    await recording.until(lambda r: len(r.of("pods")) >= 3)
    await make_ready(api)
    assert (await recording.task).outcome == "ready"
    names = [one["object"]["metadata"]["name"] for one in recording.of("pods")]
    assert sorted(names) == ["llm-abc-head", "llm-abc-head", "llm-abc-w"]
    assert {one["type"] for one in recording.of("pods")} == {"LISTED"}
    for mark in ("watch_interrupted", "watch_resumed"):
        told = [one["resource"] for one in recording.marks(mark)]
        assert "pods" in told
    assert all(one["silent_s"] > 0.25 for one in recording.marks("watch_resumed") if one["resource"] == "pods")


async def test_old_foreign_nodes_are_recorded_once(api: FakeApi) -> None:
    """In a shared cluster hundreds of nodes report all the time. A node that is older than the RayService is followed
    only after it hosts a pod of the trial; a new one from its first version.
    """
    await deploy(api)
    for name in ("theirs", "host"):
        await api.put("nodes", name, None, n=1)
        api.objects["nodes", "", name]["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    recording = Recording(api)
    await recording.until(lambda r: len(r.of("nodes")) == 2)
    await api.put("pods", "llm-abc-w", "ml", metadata=owned_metadata(api, "pods"), spec={"nodeName": "host"})
    await recording.until(lambda r: bool(r.of("pods")))
    for name in ("theirs", "host", "new"):
        await api.put("nodes", name, None, n=2)
    await recording.until(lambda r: len(r.of("nodes")) >= 4)
    await make_ready(api)
    await recording.task
    assert [(one["object"]["metadata"]["name"], one["object"]["n"]) for one in recording.of("nodes")] == [
        ("host", 1),
        ("theirs", 1),
        ("host", 2),
        ("new", 2),
    ]
