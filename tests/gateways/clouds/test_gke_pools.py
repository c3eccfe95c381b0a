"""Node pools on GKE: what the calls leave in the world, and what every fault leaves behind."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_streaming_world import IMAGE, POOLS, SET_UP, STREAM, error_of, fail, push
from gke_world import POOL, GoogleProject, finish, follow, google_project

from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.world import NodePool

pytestmark = pytest.mark.gke


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        project.cluster()
        push(project, IMAGE)
        yield project


def test_pool_has_what_was_asked_for(google: GoogleProject) -> None:
    """Machine, GPU, limits, labels, taints, driver and streaming arrive; the world's autoscaler can use it."""
    ended = finish(google.cloud(), "set_up_node_pool", SET_UP)
    assert ended.error is None
    assert ended.result is not None
    assert (ended.result["pool"], ended.result["reused"], ended.result["price_usd"]) == ("gpu-streaming", False, 0.0)
    pool = google.world.clusters["main"].pools["gpu-streaming"]
    assert isinstance(pool, NodePool)
    assert (pool.instance_type, pool.gpu, pool.min_nodes, pool.max_nodes) == ("g2-standard-12", {"L4": 1}, 0, 2)
    assert pool.streaming
    assert pool.driver_installed
    assert pool.labels["llm-provisioning/nodes"] == "gpu-streaming"
    assert {"key": "sku", "value": "gpu", "effect": "NoSchedule"} in pool.taints


def test_plain_pool_stays_plain_in_a_streaming_cluster(google: GoogleProject) -> None:
    """A baseline's pool says so itself and does not follow the cluster's default."""
    google.world.clusters["main"].streaming = True
    finish(google.cloud(), "set_up_node_pool", {**SET_UP, "pool": {**POOL, "streaming": False}})
    assert not google.world.clusters["main"].pools["gpu-streaming"].streaming


def test_pool_is_intended_before_and_created_once(google: GoogleProject) -> None:
    """Killed in mid-creation, a new life adopts the create; the ledger knew of it before."""
    first = google.cloud().start("set_up_node_pool", SET_UP)
    assert [what for what, _, _ in google.ledger.calls] == ["intend"]
    assert google.calls("container", "nodePools.create") == 0
    follow(google.cloud(), first, until=lambda operation: "pool" in operation.progress)
    ended = follow(google.cloud(), first)
    assert ended.result is not None
    assert ended.result["reused"] is False
    assert google.calls("container", "nodePools.create") == 1
    assert google.ledger.states() == {"node_pool": "created"}


def test_pool_of_the_same_description_is_reused(google: GoogleProject) -> None:
    """The second set-up finds it."""
    finish(google.cloud(), "set_up_node_pool", SET_UP)
    again = finish(google.cloud(), "set_up_node_pool", SET_UP)
    assert again.result is not None
    assert again.result["reused"] is True


@pytest.mark.parametrize("kind", ["lost_reply", "operation_vanishes"])
def test_pool_whose_create_went_silent_is_still_found(google: GoogleProject, kind: str) -> None:
    """Lost reply or forgotten operation: the pool itself says when it runs."""
    fail(google, f"{POOLS}create", kind=kind)
    ended = finish(google.cloud(), "set_up_node_pool", SET_UP)
    assert ended.error is None
    assert google.calls("container", "nodePools.create") == 1


def test_quota_refused_leaves_no_pool(google: GoogleProject) -> None:
    """A create that ends for want of quota is one sentence with advice, and the pool it left is deleted."""
    message = "Insufficient quota to satisfy the request: resource GPUS_ALL_REGIONS requires 1.0 and is short 1.0"
    fail(google, f"{POOLS}create", kind="operation_error", code="RESOURCE_EXHAUSTED", message=message)
    error = error_of(finish(google.cloud(), "set_up_node_pool", SET_UP))
    assert message in error
    assert "Ask for more quota" in error
    assert "gpu-streaming" not in google.world.clusters["main"].pools
    assert google.ledger.states() == {"node_pool": "gone"}


def test_pool_in_error_is_cleaned_up_by_a_new_life_too(google: GoogleProject) -> None:
    """Killed after the failure, a life that knows only the first operation deletes the broken pool and says why."""
    fail(google, f"{POOLS}create", kind="operation_error", code="INTERNAL", message="stockout in us-central1-a")
    fail(google, f"{POOLS}delete", kind="http", code="UNAVAILABLE", message="later")
    first = google.cloud().start("set_up_node_pool", SET_UP)
    seen = follow(google.cloud(), first, until=lambda operation: operation.step == "cleaning up")
    assert seen.state == "running"
    error = error_of(follow(google.cloud(), first))
    assert "gpu-streaming is in ERROR: stockout in us-central1-a" in error
    assert "gpu-streaming" not in google.world.clusters["main"].pools


def test_new_life_that_meets_the_deletion_begins_again(google: GoogleProject) -> None:
    """Killed while the broken pool is being deleted, a new life waits for that and makes the pool once more."""
    fail(google, f"{POOLS}create", kind="operation_error", code="INTERNAL", message="broken")
    first = google.cloud().start("set_up_node_pool", SET_UP)
    follow(google.cloud(), first, until=lambda _: google.calls("container", "nodePools.delete") > 0)
    ended = follow(google.cloud(), first)
    assert ended.error is None
    assert google.world.clusters["main"].pools["gpu-streaming"].max_nodes == 2
    assert google.ledger.states() == {"node_pool": "created"}


def test_pool_past_its_deadline_is_deleted(google: GoogleProject) -> None:
    """A pool that never becomes ready is deleted once its create lets go."""
    google.stand_in.clusters._durations_s = {**google.stand_in.clusters._durations_s, "create_node_pool": 40.0}
    cloud = google.cloud()
    creating = follow(cloud, cloud.start("set_up_node_pool", SET_UP), until=lambda o: "pool" in o.progress)
    google.ahead = timedelta(hours=1)
    error = error_of(follow(cloud, creating))
    assert "did not end within 2400 s" in error
    assert "gpu-streaming" not in google.world.clusters["main"].pools


def test_what_cannot_be_deleted_is_said(google: GoogleProject) -> None:
    """Where the clean-up itself is refused for long, the sentence says that something stays."""
    fail(google, f"{POOLS}create", kind="operation_error", code="INTERNAL", message="broken")
    fail(google, f"{POOLS}delete", kind="http", code="PERMISSION_DENIED", message="no deletes", times=0)
    cloud = google.cloud()
    cleaning = follow(cloud, cloud.start("set_up_node_pool", SET_UP), until=lambda o: o.step == "cleaning up")
    google.ahead = timedelta(hours=1)
    error = error_of(follow(cloud, cleaning))
    assert "broken" in error
    assert "no deletes" in error
    assert "delete it by hand" in error


def test_foreign_pool_of_that_name_is_never_touched(google: GoogleProject) -> None:
    """A pool without our label keeps its name."""
    with pytest.raises(ConfigurationError, match="not ours"):
        google.cloud().start("set_up_node_pool", {**SET_UP, "pool": {**POOL, "name": "gpu"}})


def test_own_pool_of_another_description_is_not_taken_for_it(google: GoogleProject) -> None:
    """A changed description needs a new name or a deletion."""
    finish(google.cloud(), "set_up_node_pool", SET_UP)
    with pytest.raises(ConfigurationError, match="another description"):
        google.cloud().start("set_up_node_pool", {**SET_UP, "pool": {**POOL, "max_nodes": 9}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "GPU Pool"}, "name"),
        ({"gpu_sku": "A10G"}, "A10G is not offered by GKE"),
        ({"machine_type": "n1-standard-8"}, "L4 needs a g2-"),
        ({"machine_type": ""}, "machine_type is missing"),
        ({"min_nodes": 3}, "do not fit"),
        ({"image_type": "UBUNTU_CONTAINERD"}, "streaming needs COS_CONTAINERD"),
        ({"taints": [{"key": "a", "effect": "Sometimes"}]}, "taint effect 'Sometimes'"),
        ({"spotty": True}, "unknown fields spotty"),
    ],
)
def test_bad_pool_is_named(google: GoogleProject, change: dict[str, Any], said: str) -> None:
    """Every field that Google would refuse is refused first."""
    with pytest.raises(ConfigurationError, match=said):
        google.cloud().start("set_up_node_pool", {**SET_UP, "pool": {**POOL, **change}})


def test_autopilot_has_no_pools_to_set_up(google: GoogleProject) -> None:
    """An Autopilot cluster makes its own nodes, and streams by itself."""
    google.stand_in.clusters.extras["main"] = {"autopilot": {"enabled": True}}
    with pytest.raises(ConfigurationError, match="Autopilot"):
        google.cloud().start("set_up_node_pool", SET_UP)
    google.world.gke_streaming_api_enabled = True
    ended = finish(google.cloud(), "enable_streaming", STREAM)
    assert ended.result is not None
    assert ended.result["reused"] is True
