"""AKS: the gain of Artifact Streaming is there when every step was made, and gone, and said to be gone, without one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("azure.mgmt.containerservice", reason="needs the [microsoft-azure] extra")

from earned_lab import (
    EXACT,
    ROUGH,
    Laboratory,
    disbelieved,
    laboratory,
    open_trial,
    pulls_s,
    seconds_of,
    verdict,
    with_images,
)

from airflow_llm_provisioning.connections import open_cloud, open_store
from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.preparation.operations import start_operation
from airflow_llm_provisioning.report.tables import results_rows, written
from llm_provisioning_simulator.clouds.aks import AksStandIn

pytestmark = pytest.mark.aks

RESULTS = "llm_provisioning_results"
AZURE = "simulated_azure"


def another(name: str, **nodes: Any) -> Target:
    """Return a target on a cluster of its own whose nodes are not Luna's, reached through the Azure connection."""
    profile = NodeProfile(
        name=name,
        cloud="aks",
        kubernetes_minor="1.34",
        gpu_skus=("A10",),
        gpu_instance_type="Standard_NV36ads_A10_v5",
        cpu_instance_type="Standard_D8s_v5",
        features={"image_streaming": True},
        **nodes,
    )
    return Target(
        name=name,
        cluster=name,
        conn_id=f"simulated_{name}",
        cloud_conn_id=AZURE,
        cluster_name=name,
        region="eastus",
        registry="simulatedregistry",
        variants=("improved",),
        nodes=profile,
        options={"resource_group": "simulated"},
    )


POOLS = another("pools", autoscaler="native")
PROVISIONED = another("provisioned", autoscaler="karpenter")


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory("aks", POOLS, PROVISIONED) as found:
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
    cloud = open_cloud(reference, ledger=open_store(RESULTS).ledger)
    while "conversion" not in operation.step:
        operation = cloud.poll(operation)


def said_no(lab: Laboratory, row: TrialResult) -> str:
    """Return why streaming was not believed, of a trial that pulled in full and says so."""
    return disbelieved(lab, row, "aks_artifact_streaming")


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
    value, why = verdict(row, "aks_artifact_streaming")
    assert value == "yes"
    assert "acr-nodemon" in why, "the node's own report is the proof, checked against the registry"
    assert "which the registry lists for the image" in why


def test_what_was_prepared_stands_beside_the_trials(fresh: Laboratory) -> None:
    """Seconds and price of every step: the build's list price, no price for the conversion, which is not published (and
    not 0), nothing for the nodes' configuration. What is found again took no time and cost nothing.
    """
    target = fresh.target("fast")
    fresh.prepare(target)
    fresh.prepare(target)
    store = open_store()
    rows = {(row.verb, row.reused): row for row in store.preparations(target.name)}
    told = results_rows(store, "preparations", {})
    store.close()
    build, conversion = rows["build_image", False], rows["enable_streaming", False]
    assert build.price_usd == pytest.approx(build.result["phases"]["build"] * 2 * 0.0001, rel=0.01)
    assert build.seconds > 60
    assert conversion.seconds > 60
    assert conversion.price_usd is None
    assert "no price" in str(conversion.price_basis)
    for verb in ("build_image", "enable_streaming"):
        assert (rows[verb, True].seconds, rows[verb, True].price_usd) == (0.0, 0.0)
    assert rows["set_up_nodes", False].price_usd == 0.0
    assert {row.origin for row in rows.values()} == {"simulated"}
    assert [row["price_usd"] for row in told if row["verb"] == "enable_streaming"] == [None, 0.0]
    assert '"price_usd": null' in written(told, "json")


def test_pull_secrets_of_the_namespace_are_found_before_anything_is_converted(fresh: Laboratory) -> None:
    """Kubernetes gives the secrets of the service account to every pod, and such pods get the plain image."""
    target = fresh.target("fast")
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "default"},
        "imagePullSecrets": [{"name": "acr-token"}],
    }
    cluster = fresh.simulator.clusters[target.cluster].store
    fresh.call(lambda: cluster.create("serviceaccounts", account, namespace="default", manager="test"))
    with pytest.raises(ConfigurationError, match="imagePullSecrets"):
        fresh.prepare(target)
    stand_in = fresh.simulator.cloud("aks")
    assert isinstance(stand_in, AksStandIn)
    assert "streaming.post" not in stand_in.calls
    # A user who knows that the pods bring none (another service account) may say so, and ask for the preview's switch.
    asked = {"streaming": {"image_pull_secrets": [], "register_feature": True}}
    fresh.prepare(replace(target, options={**target.options, **asked}))
    assert stand_in.features == {"Microsoft.ContainerService/ArtifactStreamingPreview": "Registered"}


def test_pools_of_the_cloud_stream(lab: Laboratory) -> None:
    """Fixed, autoscaled pools of an Entra cluster, reached by the Azure connection alone and without kubelogin."""
    stand_in = lab.simulator.cloud("aks")
    assert isinstance(stand_in, AksStandIn)
    stand_in.clusters.entra = True
    target = replace(POOLS, conn_id=AZURE)
    lab.prepare(target)
    pools = lab.simulator.world.clusters["pools"].pools
    for name in ("poolsgpu", "poolscpu"):
        assert (pools[name].streaming, pools[name].image_type) == (True, "Ubuntu2204")
    row = lab.trial(target, speed=EXACT)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert max(pulls_s(row)) < 25


def test_a_pool_of_the_cloud_does_not_stream(lab: Laboratory) -> None:
    """A plain pool beside the streaming one: the image is converted, and AKS itself says that the pool is off."""
    plain = replace(POOLS, name="still", conn_id=AZURE, nodes=replace(POOLS.nodes, name="still", features={}))
    lab.prepare(plain)
    row = lab.trial(plain)
    assert "Streaming is off on pool" in said_no(lab, row)


def test_nodes_of_node_auto_provisioning_stream(lab: Laboratory) -> None:
    """NAP is Karpenter: its AKSNodeClass carries the setting."""
    lab.prepare(PROVISIONED)
    row = lab.trial(PROVISIONED, speed=EXACT)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert max(pulls_s(row)) < 25


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
    row = lab.trial(target, admission=with_images(f"{repository}@{built['digest']}"))
    assert "names a digest" in said_no(lab, row)


def test_the_nodes_do_not_stream(lab: Laboratory) -> None:
    """Luna was not told that its nodes stream."""
    target = lab.target("fast")
    lab.prepare(replace(target, nodes=replace(target.nodes, features={})))
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


def test_the_fast_downloader_is_not_installed(lab: Laboratory) -> None:
    """Switched on and not there: the hub's client refuses to download, and nothing was gained."""
    changed = builtin_workload("phi3-2025", "phi3-2025", replace(PHI3_2025, fast_download_pip=()))
    target = lab.target("fast")
    lab.prepare(target, workload=changed)
    row = lab.trial(target, speed=EXACT, workload=changed)
    assert row.status is TrialStatus.FAILED
    assert row.applied == "not applied"
    value, why = verdict(row, "fast_download")
    assert value == "no"
    assert "'hf_transfer' package is not available" in why
