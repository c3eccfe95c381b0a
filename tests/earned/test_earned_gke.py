"""GKE: the gain of Image Streaming is there when every step was made; gone, and said to be gone, without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from earned_lab import EXACT, Laboratory, disbelieved, laboratory, pulls_s, seconds_of, verdict
from operator_harness import run

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import plan_deployment, resolved
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.operators import BuildServingImage, EnableStreaming
from airflow_llm_provisioning.report.tables import results_rows

pytestmark = pytest.mark.gke


NODES = "nodes@simulated-project.iam.gserviceaccount.com"
CONSUMER = "roles/serviceusage.serviceUsageConsumer"
# A streaming cluster of its own whose node pools GKE makes itself.
AUTO = Target(
    name="gke-auto",
    cluster="gke-auto",
    conn_id="simulated_gke_auto",
    cloud_conn_id="simulated_google",
    cluster_name="gke-auto",
    region="us-central1",
    registry="us-central1-docker.pkg.dev/simulated-project",
    variants=("improved",),
    nodes=NodeProfile(
        "gke-auto",
        "gke",
        "native",
        "1.34",
        gpu_skus=("L4",),
        features={"image_streaming": True},
        options={"auto_provisioning": True},
    ),
    options={"project": "simulated-project"},
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory("gke", AUTO) as found:
        yield found


def said_no(lab: Laboratory, row: TrialResult) -> str:
    """Return why streaming was not believed, of a trial that pulled in full and says so."""
    why = disbelieved(lab, row, "gke_image_streaming")
    assert "is backed by image streaming" not in why
    return why


@pytest.mark.parametrize("setup", ["static", "dynamic"])
def test_everything_prepared_is_applied_cold_and_mounts_in_seconds(lab: Laboratory, setup: str) -> None:
    """Image, nodes, API, cluster, one warming pull: both nodes say that they stream."""
    target = lab.target("fast")
    lab.prepare(target)
    row = lab.trial(target, setup=setup, speed=EXACT)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert len(pulls_s(row)) == 2
    assert max(pulls_s(row)) < 25
    assert seconds_of(row, "image_pull", "pull_wait") < 30


def test_the_api_is_off(lab: Laboratory) -> None:
    """Everything was prepared, and then the project's streaming API was switched off."""
    target = lab.target("fast")
    lab.prepare(target)
    world = lab.simulator.world
    lab.call(lambda: setattr(world, "gke_streaming_api_enabled", False))
    try:
        row = lab.trial(target)
    finally:
        lab.call(lambda: setattr(world, "gke_streaming_api_enabled", True))
    assert "API containerfilesystem.googleapis.com is off" in said_no(lab, row)


def test_the_clusters_streaming_is_off(lab: Laboratory) -> None:
    """The image is streamed elsewhere in the region, this cluster never got the setting."""
    lab.prepare(lab.target("fast"))
    plain = lab.target("plain")
    target = replace(lab.target("fast"), cluster=plain.cluster, conn_id=plain.conn_id, cluster_name=plain.cluster_name)
    lab.prepare(target, without={"enable_streaming"})
    row = lab.trial(target)
    assert "Cluster gke-plain has image streaming off" in said_no(lab, row)


def test_nobody_has_pulled_it_before(lab: Laboratory) -> None:
    """The head's pull is the region's first."""
    target = lab.target("fast")
    with unwarmed(lab):
        lab.prepare(target, without={"warm_image"})
        row = lab.trial(target)
    said_no(lab, row)


def test_the_registry_is_in_another_region(lab: Laboratory) -> None:
    """The preparation refuses such an image; served all the same, it is pulled in full."""
    target = lab.target("fast")
    lab.prepare(target)
    far = replace(target, region="europe-west4", options={**target.options, "location": "europe-west4"})
    recipe = plan_deployment(builtin_workload(), resolved(BUILTIN_VARIANTS["improved"], "gke")).recipe
    built = run(
        BuildServingImage(task_id="b", cloud=far.cloud_reference(), target=target.name, recipe=recipe.as_dict())
    )
    assert built["image"].startswith("europe-west4-")
    with pytest.raises((CloudError, ConfigurationError), match="europe-west4"):
        run(
            EnableStreaming(
                task_id="e", cloud=target.cloud_reference(), image=built, cluster_name=str(target.cluster_name)
            )
        )
    row = lab.trial(target)
    said_no(lab, row)


def test_the_nodes_have_no_account_of_their_own(lab: Laboratory) -> None:
    """Luna was told of no service account, so its nodes may not read the registry's stream."""
    target = lab.target("fast")
    with pytest.raises(ConfigurationError, match="service account"):
        lab.prepare(replace(target, nodes=replace(target.nodes, options={})), without={"build_image", "warm_image"})
    lab.prepare(replace(target, nodes=replace(target.nodes, options={}, features={})))
    row = lab.trial(target)
    said_no(lab, row)


def test_the_nodes_account_lost_its_role(lab: Laboratory) -> None:
    """Prepared with it, and then the streaming role was removed: the next preparation says so."""
    target = lab.target("fast")
    lab.prepare(target)
    policy = lab.simulator.world.gke_policy
    before = list(policy["bindings"])
    lab.call(lambda: policy.update(bindings=[b for b in before if b["role"] != CONSUMER]))
    try:
        with pytest.raises(ConfigurationError, match=f"{NODES} lacks {CONSUMER}"):
            lab.prepare(target, without={"warm_image"})
        row = lab.trial(target)
    finally:
        lab.call(lambda: policy.update(bindings=before))
    said_no(lab, row)


def test_pools_that_gke_makes_itself_stream_as_their_cluster_does(lab: Laboratory) -> None:
    """No pool is named or set up: the cluster's setting alone, and the driver that the pods ask for."""
    done = lab.prepare(AUTO)
    assert done["enable_streaming"]["enabled"] == ["cluster gke-auto"]
    row = lab.trial(AUTO, speed=EXACT)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert max(pulls_s(row)) < 25
    assert seconds_of(row, "gpu_setup") > 0


def test_what_was_not_pulled_is_read_after_the_container_started(lab: Laboratory) -> None:
    """A slow stream leaves the pull short and comes back in the phases after it: nothing is hidden."""
    target = lab.target("fast")
    lab.prepare(target)
    context = lab.simulator.clusters[target.cluster]._ctx
    given = context.profile
    rate = 5e6
    lab.call(lambda: setattr(context, "profile", given.with_values(stream_first_touch_bytes_s=rate)))
    try:
        row = lab.trial(target, speed=EXACT)
    finally:
        lab.call(lambda: setattr(context, "profile", given))
    assert row.applied == "applied"
    assert max(pulls_s(row)) < 25
    # The engine's own part of the image, and no stream that is faster than told.
    assert after_start_s(row) > 0.9 * given.value("vllm_content_bytes") / rate


def after_start_s(row: TrialResult) -> float:
    """Return how long the deciding path took from the last container's start on."""
    last = max(index for index, phase in enumerate(row.phases) if "container_start" in phase.name)
    return sum(phase.duration_s for phase in row.phases[last + 1 :])


def test_what_preparation_took_and_cost_is_kept_in_the_results(lab: Laboratory) -> None:
    """Every step of the target has its row with seconds; build and warming have a price, and it is no bill."""
    target = lab.target("fast")
    lab.prepare(target)
    store = open_store()
    try:
        rows = {row.verb: row for row in store.preparations(target.name)}
        listed = results_rows(store, "preparations", {})
    finally:
        store.close()
    assert set(rows) == {"build_image", "set_up_nodes", "enable_streaming", "warm_image"}
    assert all(row.seconds > 0 and row.origin == "simulated" for row in rows.values())
    warm = rows["warm_image"]
    assert warm.price_usd is not None
    assert warm.price_usd > 0
    assert "list price" in str(warm.price_basis)
    assert {row["verb"] for row in listed} == set(rows)


@contextmanager
def unwarmed(lab: Laboratory) -> Iterator[None]:
    """Let the region forget what it has cached."""
    lab.call(lab.simulator.world.gke_warm_cache.clear)
    yield
    lab.call(lab.simulator.world.gke_warm_cache.clear)


def test_huggingface_hub_ignores_the_fast_download(lab: Laboratory) -> None:
    """Since 1.0 the hub's client does not know hf_transfer: installed, switched on, and without effect."""
    newer = tuple("huggingface_hub==1.0.1" if "huggingface" in item else item for item in PHI3_2025.runtime_pip)
    changed = builtin_workload("phi3-2025", "phi3-2025", replace(PHI3_2025, runtime_pip=newer))
    target: Target = lab.target("fast")
    lab.prepare(target, workload=changed)
    row = lab.trial(target, speed=EXACT, workload=changed)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "not applied")
    assert verdict(row, "gke_image_streaming")[0] == "yes"
    value, why = verdict(row, "fast_download")
    assert value == "no"
    assert "ignores hf_transfer since 1.0" in why
