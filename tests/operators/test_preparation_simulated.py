"""Nodes set up and caches warmed through the Kubernetes API of a simulated cluster."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import context, run

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.exceptions import CloudError, ClusterError, ConfigurationError, NotDeletedError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import SetUpNodes, WarmImageCache
from airflow_llm_provisioning.preparation.operations import succeeded
from airflow_llm_provisioning.preparation.warm import begin_warming

IMAGE = {"image": "rayproject/ray-ml:2.33.0.914af0-py311", "digest": None}


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Open the default results connection."""
    opened = open_store()
    yield opened
    opened.close()


def set_up(prepared: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    target = simulated_target(**fields).as_dict()
    result: dict[str, Any] = run(SetUpNodes(task_id="s", target=target, prepared=prepared))
    return result


def test_lunas_configuration_is_applied_and_kept(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """ConfigMap and restarts; the row beside the results says simulated; a second run is the same again."""
    for _ in range(2):
        done = set_up()
    assert done["applied"] == ["ConfigMap/elotl-luna"]
    assert done["restarted"] == ["elotl/elotl-luna-manager", "elotl/elotl-luna-webhook"]
    rows = store.preparations("plain", "set_up_nodes")
    assert [(row.origin, row.price_usd) for row in rows] == [("simulated", 0.0)] * 2
    assert rows[0].content == rows[1].content


def test_the_prepared_snapshot_reaches_the_nodes(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """What the step before made goes into the data volume; without it the step is asked for."""
    nodes = {**simulated_target().as_dict()["nodes"], "features": {"image_snapshot": True}}
    done = set_up({"snapshot_id": "snap-0123"}, nodes=nodes, variants=["improved"])
    assert done["snapshot_id"] == "snap-0123"
    (config,) = [item for item in simulated.objects("configmaps") if item["metadata"]["name"] == "elotl-luna"]
    assert "snap-0123" in config["data"]["aws.blockDeviceMappings"]
    with pytest.raises(ConfigurationError, match="run the preparation"):
        set_up(nodes=nodes, variants=["improved"])


def test_an_autoscaler_that_is_not_installed_is_named(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """Its deployments do not exist: said before anything is restarted."""
    for name in ("elotl-luna-manager", "elotl-luna-webhook"):
        simulated.call(lambda name=name: simulated.simulated.store.delete("deployments", name, "elotl"))
    with pytest.raises(ConfigurationError, match=r"elotl/elotl-luna-manager does not exist .* install the node auto"):
        set_up()


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_cache_is_warmed_and_its_node_is_gone(
    simulated: BackgroundCluster, store: ResultsStore, deferrable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One pod that pulls and ends, on a node that no trial finds afterwards; the ledger is closed. The task's log tells
    what it waits for.
    """
    caplog.set_level("INFO")
    set_up()
    before = set(simulated.names("nodes"))
    operator = WarmImageCache(
        task_id="w", target=simulated_target().as_dict(), image=IMAGE, deferrable=deferrable, timeout_s=3600
    )
    done = run(operator, context())
    assert done["pulled_s"] > 1
    assert done["node_s"] > done["pulled_s"]
    assert done["instance_type"] in done["price_basis"]
    assert done["node"] not in simulated.names("nodes")
    assert set(simulated.names("nodes")) == before
    assert simulated.objects("pods", "default") == []
    assert store.ledger.open_entries() == []
    assert [row.result["pod"] for row in store.preparations("plain", "warm_image")] == [done["pod"]]
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("+")]
    assert any(f" waits for node {done['node']} to go" in line for line in told)
    assert len(told) == len(set(told))


def test_an_image_that_cannot_be_pulled_is_an_error_and_leaves_no_pod(
    simulated: BackgroundCluster, store: ResultsStore
) -> None:
    """The pod is deleted, and the kubelet's own sentence is told."""
    set_up()
    simulated.fault("image_pull_backoff", True)
    operator = WarmImageCache(task_id="w", target=simulated_target().as_dict(), image=IMAGE, timeout_s=600)
    with pytest.raises(ClusterError, match=r"cannot pull .*: ImagePullBackOff: Back-off pulling image"):
        run(operator, context())
    assert simulated.objects("pods", "default") == []
    assert store.ledger.open_entries() == []


def test_a_warming_pod_that_is_created_late_has_an_open_entry(
    simulated: BackgroundCluster, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was taken for dead before its create goes on. Its successor has closed the entry meanwhile."""
    create = Cluster.create

    async def late(self: Cluster, manifest: dict[str, Any]) -> dict[str, Any]:
        (entry,) = store.ledger.open_entries()
        store.ledger.gone(entry.entry_id)
        return await create(self, manifest)

    monkeypatch.setattr(Cluster, "create", late)
    begun = asyncio.run(begin_warming(simulated_target().as_dict(), IMAGE, 600.0, DEFAULT_STORE))
    assert begun["name"] in simulated.names("pods")
    assert [(entry.entry_id, entry.name) for entry in store.ledger.open_entries()] == [
        (begun["ledger_entry"], begun["name"])
    ]


def test_a_warming_pod_that_stays_fails_the_task(simulated: BackgroundCluster, store: ResultsStore) -> None:
    """The image was pulled, and the pod does not go: no success, and the ledger's entry stays open."""
    set_up()
    stays: dict[str, Any] = {"metadata": {"finalizers": ["example.com/stays"]}}
    operator = WarmImageCache(task_id="w", target=simulated_target().as_dict(), image=IMAGE, timeout_s=1200)

    def change(item: dict[str, Any]) -> None:
        item["metadata"] |= stays["metadata"]

    def hold() -> None:
        simulated.until(lambda: bool(simulated.objects("pods", "default")))
        name = simulated.objects("pods", "default")[0]["metadata"]["name"]
        simulated.call(lambda: simulated.simulated.store.mutate("pods", name, "default", change, manager="somebody"))

    holding = threading.Thread(target=hold)
    holding.start()
    with pytest.raises(NotDeletedError, match=r"pod llm-warm-\S+ is not gone, so its node \S+ may cost money"):
        run(operator, context())
    holding.join()
    assert [entry.kind for entry in store.ledger.open_entries()] == ["pod"]
    assert store.preparations("plain", "warm_image") == []


def test_an_operation_that_failed_is_the_tasks_error() -> None:
    """In the gateway's own words; one that ended without a result too."""
    failed = {"verb": "build_image", "request": {}, "state": "failed", "error": "The build failed: see the log."}
    with pytest.raises(CloudError, match="The build failed: see the log"):
        succeeded({"operations": [failed]})
    with pytest.raises(CloudError, match="build_image ended without a result"):
        succeeded({"operations": [{"verb": "build_image", "request": {}, "state": "running"}]})
