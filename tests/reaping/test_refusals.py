"""What a cloud refuses to delete for a while, over its wire: a sentence, left, never clean, and gone the next time."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from simulator_in_background import BackgroundSimulator, simulator_in_background

from airflow_llm_provisioning.connections import open_store, store_url
from airflow_llm_provisioning.connections.cloud import opened_cloud
from airflow_llm_provisioning.core.names import DEFAULT_STORE, preparation_tags
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.dag_factory import load_experiment
from airflow_llm_provisioning.reaping.places import places_of
from airflow_llm_provisioning.reaping.reap import Reaped, reap

FILE = (
    Path(__file__).resolve().parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
)
POOL = {
    "cluster": "gke-fast",
    "pool": {
        "name": "gpu-streaming",
        "machine_type": "g2-standard-12",
        "gpu_sku": "L4",
        "gpu_count": 1,
        "min_nodes": 0,
        "max_nodes": 2,
        "labels": {"llm-provisioning/nodes": "gpu-streaming"},
        "taints": [],
        "streaming": False,
    },
    "target": "gke-fast",
}


@contextmanager
def cloud_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[BackgroundSimulator, list[Target]]]:
    """Run a cloud's simulator, and lead the connections to it."""
    experiment = load_experiment(FILE).on_clouds([name])
    with simulator_in_background(experiment, speed=40.0, seed=1) as running:
        for key, value in running.environment().items():
            monkeypatch.setenv(key, value)
        yield running, list(experiment.targets)


def take_down(targets: list[Target], told: list[str], **fields: Any) -> Reaped:
    """Reap what the cloud has of ours."""
    places = [place for place in places_of(targets) if place["kind"] == "cloud"]
    given = {"everything": True, "pause_s": 0.2, "wait_s": 60.0, "log": told.append, **fields}
    return asyncio.run(reap(targets, store_url(), places=places, **given))


@pytest.mark.eks
@pytest.mark.usefixtures("results_db")
def test_a_snapshot_that_an_image_uses_is_left_with_awss_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another owner registered an AMI of it: AWS refuses (InvalidSnapshot.InUse). It goes when the AMI is gone."""
    with cloud_of("eks", monkeypatch) as (running, targets), closing(open_store()) as store:
        stand_in: Any = running.simulator.cloud("eks")
        reference = targets[0].cloud_reference()
        expires_at = datetime(2027, 1, 1, tzinfo=UTC)
        tags = preparation_tags("made-of-this", expires_at, targets[0].name)
        with opened_cloud(reference) as cloud:
            entry = store.ledger.intend("snapshot", "in-use", cloud.place, tags, expires_at)

        def make() -> tuple[Any, Any]:
            ec2 = stand_in.compute._moto.backend("ec2", stand_in.region)
            volume = ec2.create_volume(size=1, zone_name=f"{stand_in.region}a")
            snapshot = ec2.create_snapshot(volume.id, "in-use")
            ec2.create_tags([snapshot.id], tags)
            # moto refuses by itself then (moto 5, EBSBackend.delete_snapshot).
            snapshot.from_ami = "ami-of-another-owner"
            ec2.amis[snapshot.from_ami] = object()
            return ec2, snapshot

        ec2, snapshot = running.call(make)
        store.ledger.created(entry, snapshot.id)
        told: list[str] = []
        done = take_down(targets, told, wait_s=1.0)
        assert not done.clean
        (left,) = done.left
        assert (left.kind, left.name) == ("snapshot", snapshot.id)
        assert "is currently in use by" in left.why
        assert snapshot.id in ec2.snapshots
        running.call(lambda: setattr(snapshot, "from_ami", None))
        done = take_down(targets, told)
        assert done.clean, done.sentence()
        assert snapshot.id not in ec2.snapshots
        assert store.ledger.open_entries() == []


@pytest.mark.gke
@pytest.mark.usefixtures("results_db")
def test_a_half_created_pool_and_a_throttled_delete_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preparation was killed while Google made its pool: the operation under way, then too many requests, then it
    is deleted and seen to be gone.
    """
    with cloud_of("gke", monkeypatch) as (running, targets), closing(open_store()) as store:
        reference = next(target for target in targets if target.name == "gke-fast").cloud_reference()
        before = set(running.simulator.world.clusters["gke-fast"].pools)
        with opened_cloud(reference, results_conn_id=DEFAULT_STORE) as cloud:
            operation = cloud.start("set_up_node_pool", POOL)
            for _ in range(200):
                operation = Operation.from_dict(cloud.poll(operation).as_dict())
                if any(item.kind == "node_pool" for item in cloud.list_owned()):
                    break
                time.sleep(0.05)
        assert operation.state == "running"
        stand_in: Any = running.simulator.cloud("gke")
        name = "container.projects.locations.clusters.nodePools.delete"
        refusal = {"kind": "http", "code": "RESOURCE_EXHAUSTED", "message": "Quota exceeded for requests per minute."}
        running.call(lambda: stand_in.faults.update({name: refusal}))
        told: list[str] = []
        done = take_down(targets, told)
        assert done.clean, done.sentence()
        assert [item.kind for item in done.deleted] == ["node_pool"]
        assert any(line.startswith("Not deleted: ") and "Quota exceeded" in line for line in told), told
        assert set(running.simulator.world.clusters["gke-fast"].pools) == before
        assert store.ledger.open_entries() == []
