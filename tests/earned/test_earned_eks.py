"""EKS: the gain of a snapshot is there when every step was made, and gone, and said to be gone, without any one."""

import asyncio
import html
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("moto", reason="needs the [simulator] extra")
pytest.importorskip("boto3", reason="needs the [amazon] extra")

from earned_lab import EXACT, Laboratory, disbelieved, laboratory, open_trial, pulls_s, seconds_of, verdict, with_images
from operator_harness import run

from airflow_llm_provisioning.connections import open_cluster, open_store
from airflow_llm_provisioning.core.manifests import with_pull_policy
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.operators import SetUpNodes
from airflow_llm_provisioning.report.page import write_report
from airflow_llm_provisioning.report.tables import results_rows

pytestmark = pytest.mark.eks

KARPENTER = Target.from_dict(
    {
        "name": "eks-karpenter",
        "cluster": "eks-karpenter",
        "conn_id": "simulated_eks_karpenter",
        "cloud_conn_id": "simulated_aws",
        "cluster_name": "eks-karpenter",
        "region": "us-west-2",
        "variants": ["improved"],
        "nodes": {
            "cloud": "eks",
            "autoscaler": "karpenter",
            "kubernetes_minor": "1.34",
            "gpu_skus": ["L4"],
            "features": {"image_snapshot": True},
            "options": {"role": "nodes", "discovery": "eks-karpenter"},
        },
    }
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory("eks", KARPENTER) as found:
        yield found


def without_snapshot(target: Target) -> Target:
    return replace(target, nodes=replace(target.nodes, features={}))


def nodes_without_snapshot(target: Target) -> None:
    """Set the nodes up as they were before anybody thought of a snapshot."""
    run(SetUpNodes(task_id="set_up_nodes", target=without_snapshot(target).as_dict()))


def said_no(lab: Laboratory, row: TrialResult) -> str:
    """Return why the snapshot was not believed, of a trial that pulled in full and says so."""
    return disbelieved(lab, row, "bottlerocket_snapshot")


def test_everything_prepared_is_applied_cold_and_pulls_nothing(lab: Laboratory) -> None:
    """Image, snapshot, nodes: both images are on the nodes' disks when the kubelet asks."""
    target = lab.target("fast")
    lab.prepare(target)
    row = lab.trial(target, setup="dynamic", speed=EXACT)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert pulls_s(row) == []
    assert seconds_of(row, "image_pull", "pull_wait") < 5


def test_images_that_must_be_asked_for_are_still_not_pulled(lab: Laboratory) -> None:
    """An admission plug-in forces imagePullPolicy Always: kubelet asks the registry for the manifest, and has pulled
    within seconds, because every layer is on the disk. The verdict is the snapshot's all the same.
    """
    target = lab.target("fast")
    lab.prepare(target)
    row = lab.trial(target, speed=EXACT, admission=lambda manifest: with_pull_policy(manifest, "Always"))
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert max(pulls_s(row)) < 25
    value, why = verdict(row, "bottlerocket_snapshot")
    assert value == "yes"
    assert "Successfully pulled" in why
    assert "are too fast for a network" in why


def test_the_blocks_are_paid_after_the_containers_start(lab: Laboratory) -> None:
    """No pull does not mean no cost: first reads come from S3, in the phases after the start, and a provisioned rate
    shortens them. The rate reaches the volumes through preparation and Luna, and AWS confirms it.
    """
    target = lab.target("fast")
    context = lab.simulator.clusters[target.cluster]._ctx
    given = context.profile
    slow_bytes_s = 5e6
    hydration_s = given.value("vllm_content_bytes") / slow_bytes_s
    lab.call(lambda: setattr(context, "profile", given.with_values(hydration_first_touch_bytes_s=slow_bytes_s)))
    try:
        lab.prepare(target)
        slow = lab.trial(target)
        hurried = replace(target, nodes=replace(target.nodes, volume_initialization_rate_mib_s=300))
        kept = lab.prepare(hurried)
        quick = lab.trial(hurried, speed=EXACT)
    finally:
        lab.call(lambda: setattr(context, "profile", given))
    assert {(row.arm.stratum.setup, row.start, row.applied) for row in (slow, quick)} == {("static", "cold", "applied")}
    assert pulls_s(slow) == pulls_s(quick) == []
    assert after_start_s(slow) > 0.9 * hydration_s
    assert after_start_s(quick) < after_start_s(slow) - 0.5 * hydration_s
    assert ", initialized at 300 MiB/s." in verdict(quick, "bottlerocket_snapshot")[1]
    assert kept["snapshot_image"]["reused"] is True
    assert "initialized at 300 MiB/s costs an amount on top that is not known" in kept["snapshot_image"]["price_basis"]


def after_start_s(row: TrialResult) -> float:
    """Return how long the deciding path took from its last container's start on."""
    last = max(index for index, phase in enumerate(row.phases) if "container_start" in phase.name)
    return sum(phase.duration_s for phase in row.phases[last + 1 :])


def test_seconds_and_price_of_a_preparation_stand_beside_its_trials(lab: Laboratory, tmp_path: Path) -> None:
    """In the store, in what the command line prints, and in the report; what was reused cost nothing, and says so."""
    # A volume of its own size, so that this snapshot is made here, regardless of other tests.
    target = replace(lab.target("fast"), options={"snapshot": {"volume_gib": 60}})
    lab.prepare(target)
    trial = lab.trial(target)
    store = open_store()
    try:
        rows = {row.verb: row for row in store.preparations(target.name)}
        listed = {row["verb"]: row for row in results_rows(store, "preparations", {})}
        write_report(tmp_path / "report.html", store, {}, sweep=None)
    finally:
        store.close()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert set(rows) == set(listed) == {"build_image", "snapshot_image", "set_up_nodes"}
    snapshot = rows["snapshot_image"]
    assert (snapshot.reused, snapshot.origin) == (False, "simulated")
    assert snapshot.seconds > 600
    assert snapshot.price_usd is not None
    assert snapshot.price_usd > 0.02
    assert "60 GiB gp3 volume (list price, us-west-2)" in str(snapshot.price_basis)
    assert snapshot.result["snapshot_id"] in listed["snapshot_image"]["made"]
    for verb, row in rows.items():
        assert (listed[verb]["seconds"], listed[verb]["price_basis"]) == (row.seconds, row.price_basis)
        assert html.escape(str(row.price_basis)) in page
    assert trial.trial_id in page


def test_no_snapshot_was_taken(lab: Laboratory) -> None:
    """The image is built and the nodes are Bottlerocket's: each pulls it."""
    target = without_snapshot(lab.target("fast"))
    lab.prepare(target, without={"snapshot_image"})
    row = lab.trial(target)
    assert "No snapshot is named" in said_no(lab, row)


def test_the_block_devices_do_not_name_it(lab: Laboratory) -> None:
    """There is a snapshot, and the nodes were set up without it: AWS says so."""
    target = lab.target("fast")
    lab.prepare(target, without={"set_up_nodes"})
    nodes_without_snapshot(target)
    row = lab.trial(target)
    assert "are not from snap-" in said_no(lab, row)


def test_luna_was_not_restarted(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Luna's ConfigMap names the snapshot, and Luna goes on as it began."""
    target = lab.target("fast")
    nodes_without_snapshot(target)

    async def forgotten(*_: Any) -> None:
        return None

    monkeypatch.setattr("airflow_llm_provisioning.preparation.nodes.restart", forgotten)
    lab.prepare(target)
    row = lab.trial(target)
    assert "are not from snap-" in said_no(lab, row)


def test_the_pods_name_the_image_otherwise(lab: Laboratory) -> None:
    """The same image by digest is another reference to the kubelet, although the volume holds its bytes."""
    target = lab.target("fast")
    built = lab.prepare(target)["build_image"]
    repository = built["image"].rpartition(":")[0]
    row = lab.trial(target, admission=with_images(f"{repository}@{built['digest']}"))
    assert "Successfully pulled" in said_no(lab, row)


def test_the_snapshot_is_of_another_minor(lab: Laboratory) -> None:
    """A volume of Kubernetes 1.33 in a cluster of 1.34: mounted, as AWS says, and of no use, as the pull says."""
    target = lab.target("fast")
    lab.prepare(replace(target, nodes=replace(target.nodes, kubernetes_minor="1.33")))
    row = lab.trial(target)
    why = said_no(lab, row)
    assert "was restored from" in why
    assert "Successfully pulled" in why


def test_container_storage_is_on_the_instance_store(lab: Laboratory) -> None:
    """Karpenter's node class got RAID0 by hand: the volume is mounted and not used."""
    target = lab.target("karpenter")
    lab.prepare(target)

    async def stripe() -> None:
        async with open_cluster(target.cluster_reference()) as cluster:
            patch = {"spec": {"instanceStorePolicy": "RAID0"}}
            await cluster.patch_merge("ec2nodeclasses", "eks-karpenter", patch)

    asyncio.run(stripe())
    row = lab.trial(target)
    assert "Successfully pulled" in said_no(lab, row)


def test_packages_are_not_baked(lab: Laboratory) -> None:
    """The base was mirrored as it is, and Ray installs the packages at start: twice, and it is said."""
    target = replace(lab.target("fast"), variants=("image_delivery",))
    lab.prepare(target)
    trial = open_trial(target, "image_delivery")
    trial["arm"]["treatments"] = ["fast_download", "bake_packages", "bottlerocket_snapshot"]
    row = lab.finish(trial)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "not applied")
    value, why = verdict(row, "bake_packages")
    assert value == "no"
    assert "asks for pip vllm" in why
    assert seconds_of(row, "runtime_env") > 120
