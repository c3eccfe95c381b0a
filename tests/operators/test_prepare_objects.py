"""Objects prepared through the Kubernetes API of a simulated cluster: found again, replaced, looked at by a trial."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import run

from airflow_llm_provisioning.connections import open_cluster, open_store
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.core.prepared_objects import PreparedObjects
from airflow_llm_provisioning.exceptions import ClusterError, ConflictError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.prepared_objects import prepared_now
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import PrepareObjects
from airflow_llm_provisioning.preparation.objects import _price, begin_objects
from airflow_llm_provisioning.triggers.prepared_objects import ObjectsReadyWait

NOTE = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"at": "{name}"}}
POOL = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Open the default results connection."""
    opened = open_store()
    yield opened
    opened.close()


def prepare(*objects: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Run the operator through the triggerer's way."""
    target = simulated_target().as_dict()
    operator = PrepareObjects(task_id="p", target=target, treatment="kept_warm", objects=list(objects), **fields)
    result: dict[str, Any] = run(operator)
    return result


def maps(simulated: BackgroundCluster) -> list[str]:
    """Return the names of our ConfigMaps."""
    return [name for name in simulated.names("configmaps") if name.startswith("llm-kept-warm")]


def release(simulated: BackgroundCluster, name: str) -> None:
    """Take a ConfigMap's finalizers off."""

    def change(item: dict[str, Any]) -> None:
        item["metadata"].pop("finalizers", None)

    namespace = simulated_target().namespace
    simulated.call(
        lambda: simulated.simulated.store.mutate("configmaps", name, namespace, change, manager="its-controller")
    )


@pytest.mark.usefixtures("store")
def test_the_same_objects_are_found_again(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """The ledger has an intent for each, the row says what is there, a second run makes nothing new."""
    done = prepare(NOTE, POOL)
    again = prepare(NOTE, POOL)
    assert (done["reused"], again["reused"]) == (False, True)
    assert [item["uid"] for item in done["objects"]] == [item["uid"] for item in again["objects"]]
    (name,) = maps(simulated)
    assert {entry.name for entry in store.ledger.open_entries()} == {name}
    rows = store.preparations("plain", "prepare_kept_warm")
    assert [(row.origin, row.reused, row.price_usd) for row in rows] == [
        ("simulated", False, 0.0),
        ("simulated", True, 0.0),
    ]


def test_another_content_replaces_what_was_there(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """What the earlier preparation made and this one does not want is deleted."""
    prepare(NOTE)
    (first,) = maps(simulated)
    prepare({**NOTE, "data": {"at": "elsewhere"}})
    assert first not in maps(simulated)
    assert len(maps(simulated)) == 1
    assert {entry.name for entry in store.ledger.open_entries()} == set(maps(simulated))


def test_what_was_replaced_is_seen_to_be_gone(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """The ledger's entry of an earlier content is closed when its object is gone, and not when that was requested."""
    held = {**NOTE, "metadata": {"finalizers": ["example.com/hold"]}}
    prepare(held)
    (first,) = maps(simulated)
    with pytest.raises(ClusterError, match="never comes"):
        prepare({**NOTE, "data": {"at": "elsewhere"}}, ready={"ConfigMap": "never comes"}, timeout_s=60)
    began_at = simulated.clock.now()
    done = prepare({**NOTE, "data": {"at": "elsewhere"}}, timeout_s=1200)
    waited_s = (simulated.clock.now() - began_at).total_seconds()
    assert waited_s >= 1200
    assert done["seconds"] < waited_s
    assert first in maps(simulated)
    assert first in {entry.name for entry in store.ledger.open_entries()}
    release(simulated, first)
    prepare({**NOTE, "data": {"at": "elsewhere"}}, timeout_s=60)
    assert first not in {entry.name for entry in store.ledger.open_entries()}


def test_what_was_deleted_by_hand_is_closed(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """An earlier content that is not there any more is recorded as gone."""
    prepare(NOTE)
    (first,) = maps(simulated)
    simulated.call(lambda: simulated.simulated.store.delete("configmaps", first, simulated_target().namespace))
    prepare({**NOTE, "data": {"at": "elsewhere"}})
    assert {entry.name for entry in store.ledger.open_entries()} == set(maps(simulated))


@pytest.mark.usefixtures("store")
def test_an_object_of_another_owner_is_refused(simulated: BackgroundCluster) -> None:
    """An object of that name that we did not make is not changed."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": "default"}}
    simulated.create("configmaps", other)
    with pytest.raises(ConflictError, match="was not made by this preparation"):
        prepare({**NOTE, "metadata": {"name": "theirs"}})


@pytest.mark.usefixtures("store")
def test_what_does_not_become_ready_says_what_it_waits_for(simulated: BackgroundCluster) -> None:
    """A condition that never comes ends at the limit, with object and condition."""
    with pytest.raises(ClusterError, match=r"not ready after 60 s: Service llm-kept-warm-\w+: it has no condition Up"):
        prepare(POOL, ready={"Service": "Up"}, timeout_s=60)


def test_a_trial_sees_what_is_there_now(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """Untouched: no problem. Deleted by hand: a sentence, so that no verdict believes it."""
    prepare(NOTE)

    async def look() -> dict[str, Any]:
        async with open_cluster(simulated_target().cluster_reference()) as cluster:
            return await prepared_now(cluster, store.preparations("plain"))

    assert asyncio.run(look())["prepare_kept_warm"]["problems"] == []
    (name,) = maps(simulated)
    simulated.call(lambda: simulated.simulated.store.delete("configmaps", name, simulated_target().namespace))
    assert asyncio.run(look())["prepare_kept_warm"]["problems"] == [f"ConfigMap {name} is gone."]


@pytest.mark.usefixtures("store")
def test_a_pod_that_cannot_pull_ends_the_wait_early(simulated: BackgroundCluster) -> None:
    """An image that does not exist passes by no waiting: the pod's own reason, long before the limit."""
    target = simulated_target()
    marks = AUTOSCALERS[target.nodes.autoscaler].placement(target.nodes, "head")
    container = {"name": "c", "image": "registry.invalid/no/such:1", "resources": {"requests": {"cpu": "1"}}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": dict(marks.labels), "annotations": dict(marks.annotations)},
        "spec": {"containers": [container], "nodeSelector": dict(marks.node_selector)},
    }
    began_at = simulated.clock.now()
    with pytest.raises(ClusterError, match=r"will not be ready: .*no/such:1"):
        prepare(pod, ready={"Pod": "Ready"}, timeout_s=36000)
    assert (simulated.clock.now() - began_at).total_seconds() < 18000


def a_job() -> dict[str, Any]:
    """Return a Job on a node of its own that downloads a model and tells what it has."""
    nodes = simulated_target().nodes
    marks = AUTOSCALERS[nodes.autoscaler].placement(nodes, "head")
    container = {
        "name": "c",
        "image": "busybox",
        "command": ["python", "-c", "snapshot_download()"],
        "args": ["microsoft/Phi-3-mini-4k-instruct", "main", "/weights"],
        "resources": {"requests": {"cpu": "1"}},
    }
    spec = {"containers": [container], "restartPolicy": "Never", "nodeSelector": dict(marks.node_selector)}
    metadata = {"labels": dict(marks.labels), "annotations": dict(marks.annotations)}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"metadata": metadata, "spec": spec}}}


# An empty node goes after five minutes, half a second at the usual speed.
@pytest.mark.simulated_speed(150.0)
def test_the_preparation_ends_when_its_jobs_nodes_are_gone(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """A trial that met such a node would not start cold; the node is paid for until then. Its pod goes with it, and
    what it told is found again all the same.
    """
    before = set(simulated.names("nodes"))
    done, again = prepare(a_job()), prepare(a_job())
    assert set(simulated.names("nodes")) <= before
    assert done["nodes"] == []
    assert done["facts"]["files"] == 2
    assert (again["reused"], again["facts"]) == (True, done["facts"])
    row = store.preparations("plain", "prepare_kept_warm")[0]
    assert row.price_usd is not None
    assert row.price_usd > 0
    one, ten = (held_price(hours) for hours in (1, 10))
    assert ten == pytest.approx(10 * one, rel=0.01)


def held_price(hours: int) -> float:
    """Return the price of a preparation whose Job's node ran this long; it was ready after a minute."""
    node = {"region": "us-west-2", "instance_type": "m5.large", "held_s": 3600.0 * hours}
    event = {"reused": False, "objects": [], "nodes": [], "seconds": 60.0, "job_nodes": [node], "unseen": []}
    return float(_price(simulated_target(), event)["price_usd"])


@pytest.mark.parametrize(
    ("kinds", "nodes", "known"),
    [
        (["ConfigMap"], [], True),
        (["Job"], [], False),
        (["Deployment"], [{"region": "x", "instance_type": "none"}], False),
    ],
)
def test_a_price_that_is_not_known_is_not_free(kinds: list[str], nodes: list[Any], known: bool) -> None:
    """A Job's node that is gone, and a node of a type without a price, are no preparation for nothing."""
    event = {"reused": False, "job_nodes": [], "nodes": nodes, "seconds": 60.0, "unseen": []}
    found = _price(simulated_target(), event | {"objects": [{"kind": kind} for kind in kinds]})
    assert (found["price_usd"] == 0.0) is known
    assert (found["price_usd"] is None) is not known


@pytest.mark.usefixtures("store")
@pytest.mark.simulated_speed(150.0)
@pytest.mark.parametrize("lost", ["pods", "nodes"])
def test_the_price_is_not_known_without_one_of_several_jobs(simulated: BackgroundCluster, lost: str) -> None:
    """Two Jobs ran, and the node of one is gone, or its pod: the other's price is not the price of both."""
    target, second = simulated_target(), a_job()
    second["spec"]["template"]["spec"]["containers"][0]["args"][2] = "/elsewhere"
    wanted = PreparedObjects(treatment="kept_warm", objects=(a_job(), second), ready={})
    began = asyncio.run(begin_objects(target.as_dict(), wanted, 36000.0, DEFAULT_STORE))
    simulated.until(lambda: sum(map(is_complete, simulated.objects("jobs"))) == 2)
    pod = simulated.objects("pods")[0]
    job = next(owner["name"] for owner in pod["metadata"]["ownerReferences"])
    name, namespace = (pod["metadata"]["name"], target.namespace) if lost == "pods" else (pod["spec"]["nodeName"], None)
    simulated.call(lambda: simulated.simulated.store.delete(lost, name, namespace))
    event = asyncio.run(ObjectsReadyWait(**{**began, "nodes_gone_s": 0.0}).outcome())
    assert any(told in (f"1 pod of Job {job}", f"node {name}") for told in event["unseen"])
    found = _price(target, event)
    assert found["price_usd"] is None
    assert "before it could be looked at" in found["price_basis"]


def is_complete(job: dict[str, Any]) -> bool:
    """Return whether a Job has ended well."""
    return bool((job.get("status") or {}).get("succeeded"))
