"""AKS: the gain of Artifact Streaming is there when every step was made, and gone, and said to be gone, without one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("azure.mgmt.containerservice", reason="needs the [microsoft-azure] extra")

from earned_lab import EXACT, ROUGH, Laboratory, laboratory, open_trial, pulled_in_full, pulls_s, seconds_of, verdict

from airflow_llm_provisioning.connections import open_cloud
from airflow_llm_provisioning.core import workload
from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.operators.preparing import start_operation
from airflow_llm_provisioning.simulator.clouds.aks import AksStandIn

pytestmark = pytest.mark.aks

RESULTS = "llm_provisioning_results"


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory("aks") as found:
        yield found


@pytest.fixture
def fresh() -> Iterator[Laboratory]:
    """A subscription in which nothing was ever converted."""
    with laboratory("aks") as found:
        yield found


def begin_conversion(target: Target, built: dict[str, Any]) -> None:
    """Begin the conversion of an image and do not wait for its end."""
    reference = target.cloud_reference()
    assert reference is not None
    request = {"image": built["image"], "digest": built["digest"], "cluster": target.cluster_name, "target": "t"}
    operation = start_operation(reference, "enable_streaming", request, RESULTS)
    cloud = open_cloud(reference, results_conn_id=RESULTS)
    while "conversion" not in operation.step:
        operation = cloud.poll(operation)


def said_no(lab: Laboratory, row: TrialResult) -> str:
    """Return why streaming was not believed, of a trial that pulled in full and says so."""
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "not applied")
    value, why = verdict(row, "aks_artifact_streaming")
    assert value == "no"
    assert pulled_in_full(lab, row), pulls_s(row)
    return why


@pytest.mark.parametrize("setup", ["static", "dynamic"])
def test_everything_prepared_is_applied_cold_and_mounts_in_seconds(lab: Laboratory, setup: str) -> None:
    """Image, conversion, nodes: the pulls are faster than any full pull."""
    target = lab.target("fast")
    lab.prepare(target)
    row = lab.trial(target, setup=setup, speed=EXACT)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert len(pulls_s(row)) == 2
    assert max(pulls_s(row)) < 25
    assert seconds_of(row, "image_pull", "pull_wait") < 30


def test_nothing_was_converted(fresh: Laboratory) -> None:
    """Nodes that stream and an image that has no streaming artifact."""
    target = fresh.target("fast")
    fresh.prepare(target, without={"enable_streaming"})
    row = fresh.trial(target)
    assert "lists no streaming artifact" in said_no(fresh, row)


def test_the_conversion_ends_after_the_pull(fresh: Laboratory) -> None:
    """Begun and not waited for: it takes longer than the nodes need to come and pull."""
    target = fresh.target("fast")
    built = fresh.prepare(target, without={"enable_streaming"})["build_image"]
    stand_in = fresh.simulator.cloud("aks")
    assert isinstance(stand_in, AksStandIn)
    stand_in.durations_s["convert_bytes_s"] = 10e6
    trial = open_trial(target)
    fresh.call(lambda: fresh.clock.shift(ROUGH))
    begin_conversion(target, built)
    row = fresh.finish(trial)
    said_no(fresh, row)


def test_the_pods_name_a_digest(lab: Laboratory) -> None:
    """Only tags are redirected to the artifact."""
    target = lab.target("fast")
    built = lab.prepare(target)["build_image"]
    repository = built["image"].rpartition(":")[0]
    row = lab.trial(target, image=f"{repository}@{built['digest']}")
    assert "names a digest" in said_no(lab, row)


def test_the_nodes_do_not_stream(lab: Laboratory) -> None:
    """Luna was not told that its nodes stream."""
    target = lab.target("fast")
    lab.prepare(replace(target, nodes=replace(target.nodes, streaming=False)))
    row = lab.trial(target)
    assert "that is an ordinary pull" in said_no(lab, row)


def test_the_registry_is_not_premium(lab: Laboratory) -> None:
    """Converted while it was Premium, and then it was made cheaper: the preparation would refuse it now."""
    target = lab.target("fast")
    lab.prepare(target)
    stand_in = lab.simulator.cloud("aks")
    assert isinstance(stand_in, AksStandIn)
    registry = stand_in.registries["simulatedregistry"]
    premium = lab.simulator.world.aks_premium_registries

    def made(sku: str) -> None:
        registry.sku = sku
        (premium.add if sku == "Premium" else premium.discard)(registry.login_server)

    lab.call(lambda: made("Standard"))
    try:
        with pytest.raises(CloudError, match="needs Premium"):
            lab.prepare(target, without={"set_up_nodes"})
        row = lab.trial(target)
    finally:
        lab.call(lambda: made("Premium"))
    said_no(lab, row)


def test_the_fast_downloader_is_not_installed(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched on and not there: the hub's client refuses to download, and nothing was gained."""
    changed = replace(workload.PHI3_2025, fast_download_pip=())
    monkeypatch.setattr(workload, "WORKLOADS", {changed.profile: changed})
    target = lab.target("fast")
    lab.prepare(target)
    row = lab.trial(target, speed=EXACT)
    assert row.status is TrialStatus.FAILED
    assert row.applied == "not applied"
    value, why = verdict(row, "fast_download")
    assert value == "no"
    assert "'hf_transfer' package is not available" in why
