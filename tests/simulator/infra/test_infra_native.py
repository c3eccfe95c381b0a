"""The clouds' own autoscaler: pools as the cloud's API left them, its waits, its words, its limits."""

from dataclasses import replace

import pytest
from infra_builders import Build, SmallCluster, a_pod

from airflow_llm_provisioning.core.image_arrival import StreamedImage, streamed_image
from llm_provisioning_simulator.world import NodePool, streaming_artifact

GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def gpu_pool(**changes: object) -> NodePool:
    pool = NodePool(
        "gpu", "g2-standard-12", 0, 2, {"pool": "gpu"}, (GPU_TAINT,), {"L4": 1}, image_type="COS_CONTAINERD"
    )
    return replace(pool, **changes)  # type: ignore[arg-type]


async def a_gke_cluster(small_cluster: Build, *pools: NodePool, **numbers: float) -> SmallCluster:
    cluster: SmallCluster = await small_cluster("gke", "native", **numbers)
    for pool in pools:
        cluster.cloud.pools[pool.name] = pool
    return cluster


def a_worker(name: str = "worker") -> dict[str, object]:
    return a_pod("gke", name, nodeSelector={"pool": "gpu"})


async def test_a_gpu_pod_waits_half_a_minute_before_its_pool_grows(small_cluster: Build) -> None:
    """TriggeredScaleUp names the group and its sizes, and comes no sooner than 30 s after the pod."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool(), gpu_node_register_s=60)
    cluster.apply(a_worker())
    created_at = cluster.clock.now()
    await cluster.until(lambda: any(reason == "TriggeredScaleUp" for reason, _ in cluster.events("worker")))
    assert 28 < (cluster.clock.now() - created_at).total_seconds() < 200
    message = dict(cluster.events("worker"))["TriggeredScaleUp"]
    assert message.startswith("pod triggered scale-up: [{https://www.googleapis.com/")
    assert message.endswith("gke-demo-gpu-grp 0->1 (max: 2)}]")
    await cluster.until(lambda: cluster.is_running("worker"))
    node = cluster.store.get("nodes", cluster.pod("worker")["spec"]["nodeName"])
    assert node is not None
    assert node["metadata"]["labels"]["cloud.google.com/gke-nodepool"] == "gpu"


async def test_a_cpu_pod_does_not_wait_for_the_gpu_buffer(small_cluster: Build) -> None:
    """A head is provided for at the next scan."""
    pool = NodePool("cpu", "e2-standard-4", 0, 2, {"pool": "cpu"}, (), {})
    cluster = await a_gke_cluster(small_cluster, gpu_pool(), pool)
    cluster.apply(a_pod("gke", "head", gpu=False, nodeSelector={"pool": "cpu"}))
    created_at = cluster.clock.now()
    await cluster.until(lambda: any(reason == "TriggeredScaleUp" for reason, _ in cluster.events("head")))
    # A GPU pod could not have been served before its 30 s are over.
    assert (cluster.clock.now() - created_at).total_seconds() < 28


async def test_no_fitting_pool_is_said_once(small_cluster: Build) -> None:
    """NotTriggerScaleUp counts the reasons; nothing is made."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool(labels={"pool": "other"}))
    cluster.apply(a_worker())
    await cluster.clock.sleep(120)
    told = [message for reason, message in cluster.events("worker") if reason == "NotTriggerScaleUp"]
    assert told == ["pod didn't trigger scale-up: 1 node(s) didn't match Pod's node affinity/selector"]
    assert cluster.new_machines() == []


async def test_a_full_pool_does_not_grow(small_cluster: Build) -> None:
    """max_nodes is kept."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool(max_nodes=1))
    cluster.apply(a_worker("one"))
    cluster.apply(a_worker("two"))
    await cluster.clock.sleep(120)
    assert len(cluster.new_machines()) == 1
    told = [m for name in ("one", "two") for reason, m in cluster.events(name) if reason == "NotTriggerScaleUp"]
    assert told == ["pod didn't trigger scale-up: 1 max node group size reached"]


async def test_an_empty_node_goes_ten_minutes_later_but_not_below_the_minimum(small_cluster: Build) -> None:
    """Scale-down leaves min_nodes alone, and fills a pool up to it."""
    kept = NodePool("kept", "e2-standard-4", 1, 2, {}, (), {})
    cluster = await a_gke_cluster(small_cluster, gpu_pool(), kept)
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    node = cluster.pod("worker")["spec"]["nodeName"]
    cluster.store.delete("pods", "worker", "default")
    deleted_at = cluster.clock.now()
    await cluster.until(lambda: cluster.store.peek("nodes", node) is None)
    assert 580 < (cluster.clock.now() - deleted_at).total_seconds() < 1500
    assert [cluster.fleet.machines[name].spec.instance_type for name in cluster.new_machines()] == ["e2-standard-4"]


async def test_without_a_driver_no_gpu_is_ever_offered(small_cluster: Build) -> None:
    """A pool whose driver installation is off gives nodes on which the worker waits without end."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool(driver_installed=False), gpu_node_register_s=30)
    cluster.apply(a_worker())
    await cluster.until(lambda: any(machine.state == "ready" for machine in _new(cluster)))
    await cluster.clock.sleep(200)
    assert not cluster.is_running("worker")
    assert (
        "Insufficient nvidia.com/gpu"
        in [m for reason, m in cluster.events("worker") if reason == "FailedScheduling"][-1]
    )


async def test_gke_shows_its_driver_installation_as_an_init_container(small_cluster: Build) -> None:
    """The plugin's pod on the node carries a true start and end of the driver's installation."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool(), gpu_node_register_s=30, driver_install_s=30)
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    node = cluster.pod("worker")["spec"]["nodeName"]
    plugin = next(pod for pod in cluster.store.list("pods", "kube-system") if pod["spec"].get("nodeName") == node)
    driver = plugin["status"]["initContainerStatuses"][0]
    assert driver["name"] == "nvidia-driver-installer"
    assert driver["state"]["terminated"]["startedAt"] < driver["state"]["terminated"]["finishedAt"]


async def test_a_streamed_image_is_announced_on_the_node_and_charged_later(small_cluster: Build) -> None:
    """GKE: Pulled within seconds with the full size, an ImageStreaming event on the Node, and slow first reads."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool(streaming=True), gpu_node_register_s=30)
    image = next(iter(cluster.world.images.values()))
    cluster.world.gke_streaming_api_enabled = True
    cluster.world.gke_warm_cache.add(("us-central1", image.digest))
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    node = cluster.pod("worker")["spec"]["nodeName"]
    assert ("ImageStreaming", f"Image {image.reference} is backed by image streaming.") in cluster.events(node)
    pulled = next(message for reason, message in cluster.events("worker") if reason == "Pulled")
    assert f"Image size: {image.compressed_bytes} bytes." in pulled
    assert all(ctx.delivery.kind == "streamed" and ctx.delivery.first_touch_bytes_s for ctx in cluster.runtime.started)


async def test_the_first_pull_of_a_region_warms_it_for_the_next_node(small_cluster: Build) -> None:
    """One full pull by a streaming node, and the next node of the region streams: the warming step of a preparation."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool(streaming=True), gpu_node_register_s=30)
    cluster.world.gke_streaming_api_enabled = True
    cluster.apply(a_worker("first"))
    await cluster.until(lambda: cluster.is_running("first"))
    cluster.apply(a_worker("second"))
    await cluster.until(lambda: cluster.is_running("second"))
    kinds = {ctx.pod["metadata"]["name"]: ctx.delivery.kind for ctx in cluster.runtime.started}
    assert kinds == {"first": "pull", "second": "streamed"}


async def test_aks_reports_a_streamed_image_on_the_pod(small_cluster: Build) -> None:
    """acr-nodemon's event, with the artifact's digest and without a time stamp, as recorded; nothing on the Node."""
    cluster = await small_cluster("aks", "native", gpu_node_register_s=30, gpu_plugin_s=5)
    image = next(iter(cluster.world.images.values()))
    cluster.world.aks_premium_registries.add("acme.azurecr.io")
    cluster.world.aks_converted[image.repository, image.digest] = cluster.clock.now()
    pool = NodePool("gpu", "Standard_NV36ads_A10_v5", 0, 1, {}, (GPU_TAINT,), {"A10": 1}, streaming=True)
    cluster.cloud.pools["gpu"] = pool
    cluster.apply(a_pod("aks"))
    await cluster.until(lambda: cluster.is_running("worker"))
    assert {ctx.delivery.kind for ctx in cluster.runtime.started} == {"streamed"}
    assert not [reason for reason, _ in cluster.events() if "stream" in reason.lower()]
    told = [(reason, streamed_image(message)) for reason, message in cluster.events("worker")]
    named = StreamedImage(a_pod("aks")["spec"]["containers"][0]["image"], streaming_artifact(image.digest))  # type: ignore[index]
    assert ("Pulling", named) in told
    stored = cluster.store.list("events")
    (event,) = [event for event in stored if streamed_image(event["message"])]
    assert event["source"]["component"].startswith("acr-nodemon")
    assert (event["firstTimestamp"], event["lastTimestamp"], event["eventTime"]) == (None, None, None)


@pytest.mark.parametrize("image_type", ["UBUNTU_CONTAINERD", "COS_CONTAINERD"])
async def test_gke_streams_on_its_own_system_only(small_cluster: Build, image_type: str) -> None:
    """Image Streaming needs COS_CONTAINERD nodes."""
    pool = gpu_pool(image_type=image_type, streaming=True)
    cluster = await a_gke_cluster(small_cluster, pool, gpu_node_register_s=30)
    cluster.apply(a_worker())
    await cluster.until(lambda: len(_new(cluster)) == 1)
    assert _new(cluster)[0].spec.streaming is (image_type == "COS_CONTAINERD")


async def test_a_plain_pool_of_a_streaming_cluster_stays_plain(small_cluster: Build) -> None:
    """The cluster's setting is what a pool takes when it is made and says nothing; afterwards its own word counts."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool(streaming=False), gpu_node_register_s=30)
    cluster.cloud.streaming = True
    cluster.apply(a_worker())
    await cluster.until(lambda: len(_new(cluster)) == 1)
    assert _new(cluster)[0].spec.streaming is False


async def test_an_image_that_the_nodes_account_may_not_read_is_refused(small_cluster: Build) -> None:
    """ErrImagePull with the registry's 403, as long as the role is missing; once it is granted the pod runs."""
    account = "nodes@p.iam.gserviceaccount.com"
    cluster = await a_gke_cluster(small_cluster, gpu_pool(service_account=account), gpu_node_register_s=30)
    stored = next(iter(cluster.world.images.values()))
    reference = "us-central1-docker.pkg.dev/p/serving/ray:1"
    cluster.world.push(replace(stored, reference=reference, region="us-central1"))
    pod = a_worker()
    pod["spec"]["containers"][0]["image"] = reference  # type: ignore[index]
    cluster.apply(pod)
    await cluster.until(lambda: any("403 Forbidden" in message for _, message in cluster.events("worker")))
    assert not cluster.is_running("worker")
    cluster.world.grant(account, "roles/artifactregistry.reader")
    await cluster.until(lambda: cluster.is_running("worker"))


def _new(cluster: SmallCluster) -> list:  # type: ignore[type-arg]
    return [cluster.fleet.machines[name] for name in cluster.new_machines()]
