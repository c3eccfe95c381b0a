"""GKE: the gain of Image Streaming is there when every step was made; gone, and said to be gone, without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from earned_lab import EXACT, Laboratory, laboratory, pulled_in_full, pulls_s, seconds_of, verdict
from operator_harness import run

from airflow_llm_provisioning.core import workload
from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.treatments import plan_serving
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.operators.preparation import BuildServingImage, EnableStreaming

pytestmark = pytest.mark.gke


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory("gke") as found:
        yield found


def said_no(lab: Laboratory, row: TrialResult) -> str:
    """Return why streaming was not believed, of a trial that pulled in full and says so."""
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "not applied")
    value, why = verdict(row, "gke_image_streaming")
    assert value == "no"
    assert "is backed by image streaming" not in why
    assert pulled_in_full(lab, row), pulls_s(row)
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
    """Everything was prepared, and then somebody switched the project's streaming API off."""
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
    recipe = plan_serving(workload.PHI3_2025, "improved", "gke").recipe
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
    lab.prepare(replace(target, nodes=replace(target.nodes, options={}, streaming=False)))
    row = lab.trial(target)
    said_no(lab, row)


@contextmanager
def unwarmed(lab: Laboratory) -> Iterator[None]:
    """Let the region forget what it has cached."""
    lab.call(lab.simulator.world.gke_warm_cache.clear)
    yield
    lab.call(lab.simulator.world.gke_warm_cache.clear)


def test_huggingface_hub_ignores_the_fast_download(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since 1.0 the hub's client does not know hf_transfer: installed, switched on, and without effect."""
    newer = tuple(
        "huggingface_hub==1.0.1" if "huggingface" in item else item for item in workload.PHI3_2025.runtime_pip
    )
    changed = replace(workload.PHI3_2025, runtime_pip=newer)
    monkeypatch.setattr(workload, "WORKLOADS", {changed.profile: changed})
    target: Target = lab.target("fast")
    lab.prepare(target)
    row = lab.trial(target, speed=EXACT)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "not applied")
    assert verdict(row, "gke_image_streaming")[0] == "yes"
    value, why = verdict(row, "fast_download")
    assert value == "no"
    assert "ignores hf_transfer since 1.0" in why
