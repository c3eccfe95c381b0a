"""Image streaming on GKE: what the calls leave in the world, and what every fault leaves behind."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_streaming_world import DIGEST, ENABLE, IMAGE, POOLS, SET_UP, STREAM, UPDATE_CLUSTER, error_of, fail, push
from gke_world import PROJECT, REGION, GoogleProject, finish, follow, google_project

from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.gke import steps as gke_steps

pytestmark = pytest.mark.gke


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        project.cluster()
        push(project, IMAGE)
        yield project


def test_cluster_level_streaming_turns_on_api_and_cluster_and_asks_for_a_warming(google: GoogleProject) -> None:
    """Without pools named: the API and the cluster's default, which new pools follow; no pool is touched."""
    ended = finish(google.cloud(), "enable_streaming", STREAM)
    assert ended.error is None
    assert ended.result is not None
    assert google.world.gke_streaming_api_enabled
    assert google.world.clusters["main"].streaming
    assert not google.world.clusters["main"].pools["gpu"].streaming
    assert ended.result["enabled"] == ["cluster main"]
    assert ended.result["warm_needed"] is True
    assert ended.result["reused"] is False
    assert set(ended.result["phases"]) == {"api", "cluster"}
    assert ended.result["price_usd"] == 0.0


def test_pool_level_streaming_leaves_the_rest_of_the_cluster_plain(google: GoogleProject) -> None:
    """A streaming and a plain pool live in one cluster."""
    ended = finish(google.cloud(), "enable_streaming", {**STREAM, "pools": ["gpu"]})
    assert ended.result is not None
    assert ended.result["enabled"] == ["pool gpu"]
    cluster = google.world.clusters["main"]
    assert (cluster.pools["gpu"].streaming, cluster.pools["cpu"].streaming, cluster.streaming) == (True, False, False)


def test_streaming_that_is_on_is_found(google: GoogleProject) -> None:
    """The second time nothing is changed, and it says so."""
    finish(google.cloud(), "enable_streaming", STREAM)
    again = finish(google.cloud(), "enable_streaming", STREAM)
    assert again.result is not None
    assert again.result["reused"] is True
    assert google.calls("container", "clusters.update") == 1
    assert google.calls("serviceusage", "services.enable") == 1


def test_prewarming_on_request_needs_no_pull(google: GoogleProject) -> None:
    """Asked to prewarm, Google's cache is filled by the registry itself; then no warming pull is needed."""
    ended = finish(google.cloud(), "enable_streaming", {**STREAM, "prewarm": True})
    assert ended.result is not None
    assert ended.result["warm_needed"] is False
    (until,) = google.world.gke_prewarmed_until.values()
    assert timedelta(days=2) < until - google.clock.now() < timedelta(days=4)


def test_prewarming_lasts_as_long_as_asked_and_is_then_needed_again(google: GoogleProject) -> None:
    """`prewarm_days` travels; once they are over Google knows of no prewarmed image any more."""
    assert finish(google.cloud(), "enable_streaming", {**STREAM, "prewarm": True, "prewarm_days": 30}).error is None
    (until,) = google.world.gke_prewarmed_until.values()
    assert timedelta(days=29) < until - google.clock.now() < timedelta(days=31)
    assert google.cloud().warm_needed(IMAGE, DIGEST) is False
    google.world.gke_prewarmed_until = dict.fromkeys(google.world.gke_prewarmed_until, google.clock.now())
    assert google.cloud().warm_needed(IMAGE, DIGEST) is True


def test_prewarming_that_failed_is_one_sentence(google: GoogleProject) -> None:
    """Google's own reason, and that a pull does the same."""
    registry = google.stand_in.registry
    google.world.gke_prewarmed_until[REGION, DIGEST] = google.clock.now() + timedelta(days=1)
    registry.prewarmed[REGION, DIGEST] = {"state": "FAILED", "errorMessage": "the image is too large."}
    error = error_of(finish(google.cloud(), "enable_streaming", {**STREAM, "prewarm": True}))
    assert "the image is too large" in error
    assert "Leave `prewarm` out" in error


@pytest.mark.parametrize("stop_at", ["enable API", "enable image streaming"])
def test_new_process_continues_streaming_from_the_first_operation(google: GoogleProject, stop_at: str) -> None:
    """Killed while an operation runs, a new life adopts it: the cluster is updated once."""
    first = google.cloud().start("enable_streaming", STREAM)
    seen = follow(google.cloud(), first, until=lambda operation: operation.step.startswith(stop_at))
    assert seen.step.startswith(stop_at)
    ended = follow(google.cloud(), first)
    assert ended.error is None
    assert ended.result is not None
    assert ended.result["reused"] is False
    assert google.calls("container", "clusters.update") == 1


@pytest.mark.parametrize("method", [ENABLE, UPDATE_CLUSTER, f"{POOLS}update"])
@pytest.mark.parametrize("kind", ["lost_reply", "operation_vanishes", "unavailable", "too_many"])
def test_streaming_survives(google: GoogleProject, method: str, kind: str) -> None:
    """A lost reply, an operation Google forgot, a 503 and a 429 all end with streaming on."""
    codes = {"unavailable": "UNAVAILABLE", "too_many": "RESOURCE_EXHAUSTED"}
    fault = {"kind": "http", "code": codes[kind], "message": "later"} if kind in codes else {"kind": kind}
    fail(google, method, **fault)
    request = {**STREAM, "pools": ["gpu"]} if method.endswith("nodePools.update") else STREAM
    ended = finish(google.cloud(), "enable_streaming", request)
    assert ended.error is None
    cluster = google.world.clusters["main"]
    assert cluster.streaming or cluster.pools["gpu"].streaming


@pytest.mark.parametrize("method", [ENABLE, UPDATE_CLUSTER])
def test_operation_done_with_an_error_is_no_success(google: GoogleProject, method: str) -> None:
    """The official waiter takes DONE for success; this one reads the error."""
    fail(google, method, kind="operation_error", code="FAILED_PRECONDITION", message="the cluster is being repaired")
    error = error_of(finish(google.cloud(), "enable_streaming", STREAM))
    assert "the cluster is being repaired" in error
    assert not google.world.clusters["main"].streaming


def test_operation_that_vanished_without_effect_is_one_sentence(google: GoogleProject) -> None:
    """An operation that Google forgot and whose effect never comes ends after a bounded wait."""
    google.stand_in.clusters._durations_s = {**google.stand_in.clusters._durations_s, "update_cluster": 1e6}
    fail(google, UPDATE_CLUSTER, kind="operation_vanishes")
    cloud = google.cloud()
    lagging = follow(
        cloud,
        cloud.start("enable_streaming", STREAM),
        until=lambda o: "ended_at" in (o.progress.get("cluster") or {}),
    )
    google.ahead = timedelta(seconds=gke_steps.SETTLE_S + 1)
    assert "no longer known" in error_of(follow(cloud, lagging))


@pytest.mark.parametrize(
    ("method", "code", "message", "advised"),
    [
        (ENABLE, "PERMISSION_DENIED", "Permission denied to enable service", "role"),
        (UPDATE_CLUSTER, "PERMISSION_DENIED", 'Required "container.clusters.update" permission(s)', "role"),
    ],
)
def test_permission_denied_is_one_sentence(
    google: GoogleProject, method: str, code: str, message: str, advised: str
) -> None:
    """What was attempted, what Google said, what to do."""
    fail(google, method, kind="http", code=code, message=message)
    error = error_of(finish(google.cloud(), "enable_streaming", STREAM))
    assert message in error
    assert advised in error
    assert "enable" in error


def test_busy_cluster_is_waited_for(google: GoogleProject) -> None:
    """While another operation of the cluster runs, the update waits its turn instead of failing."""
    cloud = google.cloud()
    pool = follow(cloud, cloud.start("set_up_node_pool", SET_UP), until=lambda o: "pool" in o.progress)
    assert finish(google.cloud(), "enable_streaming", STREAM).error is None
    assert follow(cloud, pool).error is None


# What is checked before money is spent


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (f"asia-east1-docker.pkg.dev/{PROJECT}/ray-serving/ray-serving:r-1", "lies in asia-east1"),
        ("quay.io/somebody/ray:1", "not in Artifact Registry"),
    ],
)
def test_image_out_of_reach_is_refused(google: GoogleProject, reference: str, said: str) -> None:
    """Another region's registry, or another owner's, cannot stream here."""
    if "pkg.dev" in reference:
        push(google, reference)
    with pytest.raises(ConfigurationError, match=said):
        google.cloud().start("enable_streaming", {**STREAM, "image": reference, "digest": None})


def test_image_that_does_not_exist_is_refused(google: GoogleProject) -> None:
    """A tag that was never pushed is told at once."""
    with pytest.raises(ConfigurationError, match="does not exist: build it first"):
        google.cloud().start("enable_streaming", {**STREAM, "image": IMAGE.replace("r-1", "r-2"), "digest": None})


@pytest.mark.parametrize(("kind", "said"), [("empty_layer", "empty layer"), ("duplicate_layer", "same layer twice")])
def test_manifest_that_would_not_stream_is_refused(google: GoogleProject, kind: str, said: str) -> None:
    """Empty and duplicate layers make GKE download instead, silently: told before."""
    fail(google, "registry.manifest", kind=kind)
    with pytest.raises(ConfigurationError, match=said):
        google.cloud().start("enable_streaming", STREAM)


def test_all_problems_of_a_cluster_are_named_at_once(google: GoogleProject) -> None:
    """A pool of another node image and one that is not there, in one sentence."""
    pools = google.world.clusters["main"].pools
    pools["gpu"] = replace(pools["gpu"], image_type="UBUNTU_CONTAINERD")
    with pytest.raises(ConfigurationError, match=r"gpu runs UBUNTU_CONTAINERD.*no node pool missing"):
        google.cloud().start("enable_streaming", {**STREAM, "pools": ["gpu", "missing"]})


def test_auto_provisioned_pools_of_another_node_image_are_refused(google: GoogleProject) -> None:
    """Auto-provisioning's own image type is checked where no pool is named."""
    google.stand_in.clusters.extras["main"] = {
        "autoscaling": {
            "enableNodeAutoprovisioning": True,
            "autoprovisioningNodePoolDefaults": {"imageType": "UBUNTU_CONTAINERD"},
        }
    }
    with pytest.raises(ConfigurationError, match="auto-provisioned pools run UBUNTU_CONTAINERD"):
        google.cloud().start("enable_streaming", STREAM)


def test_auto_provisioning_that_is_off_is_told_before(google: GoogleProject) -> None:
    """A target that counts on it would wait for nodes without end."""
    with pytest.raises(ConfigurationError, match="auto-provisioning is off: switch it on"):
        google.cloud().start("enable_streaming", {**STREAM, "auto_provisioning": True})
    google.world.clusters["main"].auto_provisioning = True
    assert google.cloud().start("enable_streaming", {**STREAM, "auto_provisioning": True}).state == "running"


ACCOUNT = "nodes@my-project.iam.gserviceaccount.com"


def own_account(google: GoogleProject, *roles: str) -> None:
    google.stand_in.clusters._pools["main", "gpu"] = {
        "name": "gpu",
        "config": {"machineType": "g2-standard-12", "imageType": "COS_CONTAINERD", "serviceAccount": ACCOUNT},
    }
    google.world.gke_policy = {"bindings": [{"role": role, "members": [f"serviceAccount:{ACCOUNT}"]} for role in roles]}


def test_node_account_without_its_roles_is_refused(google: GoogleProject) -> None:
    """Both roles a node account of one's own needs are named when they are missing."""
    own_account(google, "roles/logging.logWriter")
    with pytest.raises(ConfigurationError, match=r"artifactregistry\.reader.*serviceusage\.serviceUsageConsumer"):
        google.cloud().start("enable_streaming", STREAM)


def test_account_that_luna_will_give_its_nodes_is_checked_too(google: GoogleProject) -> None:
    """An account that no pool has yet is checked where the request names it."""
    with pytest.raises(ConfigurationError, match="node service account luna@p"):
        google.cloud().start("enable_streaming", {**STREAM, "node_service_account": "luna@p.iam.gserviceaccount.com"})


def test_node_account_with_its_roles_passes_and_the_check_can_be_skipped(google: GoogleProject) -> None:
    """With the roles it starts; without them too, where the user says that they come from elsewhere."""
    own_account(google, "roles/artifactregistry.reader", "roles/serviceusage.serviceUsageConsumer")
    assert google.cloud().start("enable_streaming", STREAM).state == "running"
    own_account(google)
    assert google.cloud().start("enable_streaming", {**STREAM, "assume": ["node_roles"]}).state == "running"


def test_unreadable_policy_is_not_taken_for_missing_roles(google: GoogleProject) -> None:
    """Who may not read the project's policy is not told that roles are missing."""
    own_account(google)
    fail(google, "cloudresourcemanager.projects.getIamPolicy", kind="http", code="PERMISSION_DENIED", message="no")
    assert google.cloud().start("enable_streaming", STREAM).state == "running"


def test_unknown_cluster_is_told_with_its_place(google: GoogleProject) -> None:
    """A wrong name or location reads as such."""
    with pytest.raises(CloudError, match=rf"no cluster 'other' in projects/{PROJECT}/locations/{REGION}"):
        google.cloud().start("enable_streaming", {**STREAM, "cluster": "other"})
