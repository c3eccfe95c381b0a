"""What a trial of the workload profiles costs follows from image, packages and environment; faults end as they do."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from ray_services import a_ray_service
from trial_rig import TrialRig, an_image, in_virtual_time, tiny_profile

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025, PHI3_CURRENT, BuiltinProfile
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.kube.backend import PodRequest
from llm_provisioning_simulator.world import Delivery, Image

REFERENCE = "registry/serving:r-1"
# What BuildServingImage would leave in the origin's image, versions of its season.
BAKED = {"vllm": "0.5.4", "transformers": "4.44.2", "huggingface_hub": "0.25.2", "pyarrow": "17.0.0", "torch": "2.4.0"}
CURRENT = {"vllm": "0.22.0", "huggingface_hub": "1.18.0", "hf_xet": "1.5.0"}
FAST = {"HF_HUB_ENABLE_HF_TRANSFER": "1"}


def a_manifest(
    workload: BuiltinProfile = PHI3_2025,
    *,
    setup: ScalingSetup = ScalingSetup.STATIC,
    pip: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    return a_ray_service(
        workload,
        image=REFERENCE,
        pip=pip,
        env=env,
        setup=setup,
        head=Placement(node_selector={"pool": "cpu"}),
        workers=Placement(node_selector={"pool": "gpu"}),
        labels={"trial": "t-1"},
        namespace="serving",
    )


def image(**packages: str) -> Image:
    return an_image(REFERENCE, **packages)


def rig(image: Image, *, delivery: Delivery | None = None, **values: float) -> TrialRig:
    return TrialRig(tiny_profile(**values), image=image, delivery=delivery)


async def engine_log(cluster: TrialRig) -> str:
    """Return what vLLM printed, read as from outside: through the head's dashboard."""
    nodes = json.loads((await cluster.get("/api/v0/nodes"))[1])["data"]["result"]["result"]
    worker = next(node["node_id"] for node in nodes if not node["is_head_node"])
    index = json.loads((await cluster.get("/api/v0/logs", query=f"node_id={worker}"))[1])["data"]["result"]
    texts = []
    for name in index.get("worker_out", []):
        query = f"node_id={worker}&filename={name}&lines=-1"
        texts.append((await cluster.get("/api/v0/logs/file", query=query))[1].decode())
    return "".join(texts)


async def runtime_envs(cluster: TrialRig) -> list[dict[str, Any]]:
    document = json.loads((await cluster.get("/api/v0/runtime_envs"))[1])
    return list(document["data"]["result"]["result"])


@in_virtual_time
async def test_pip_runs_on_the_head_and_again_on_the_worker() -> None:
    """Nothing is shared between nodes, and the build task pays first: before any replica is asked for."""
    async with rig(image()) as cluster:
        cluster.apply(a_manifest(pip=PHI3_2025.runtime_pip))
        await cluster.until(cluster.ready, 3000)
        made = await runtime_envs(cluster)
        assert len({item["node_id"] for item in made}) == 2
        assert all(item["creation_time_ms"] > 60_000 and item["success"] for item in made)
        details = json.loads((await cluster.get("/api/serve/applications/"))[1])
        application = details["applications"]["llm"]
        (replica,) = application["deployments"]["VLLMDeployment"]["replicas"]
        assert replica["start_time_s"] - application["last_deployed_time_s"] > 60


@in_virtual_time
async def test_in_a_dynamic_set_up_the_worker_is_asked_for_after_pip_on_the_head() -> None:
    """The autoscaler sees a replica only once the application is built."""
    async with rig(image()) as cluster:
        cluster.apply(a_manifest(setup=ScalingSetup.DYNAMIC, pip=PHI3_2025.runtime_pip))
        await cluster.until(cluster.ready, 3000)
        sent = next(s.at for s in cluster.trace if s.object.get("reason") == "UpdatedServeApplications")
        worker = next(s.at for s in cluster.trace if s.object.get("reason") == "CreatedWorkerPod")
        assert (worker - sent).total_seconds() > 60


@in_virtual_time
async def test_a_baked_image_installs_nothing_and_speaks_the_old_dialect() -> None:
    """Engine 0.5.4: whole seconds, no download line, weights in GB."""
    async with rig(image(**BAKED)) as cluster:
        cluster.apply(a_manifest())
        await cluster.until(cluster.ready, 3000)
        assert all(not item["runtime_env"].get("pip") for item in await runtime_envs(cluster))
        log = await engine_log(cluster)
        assert "Initializing an LLM engine (v0.5.4)" in log
        assert "Loading model weights took 7.1173 GB" in log
        assert "Graph capturing finished in 18 secs." in log
        assert "downloading" not in log


@in_virtual_time
async def test_the_current_image_speaks_the_new_dialect() -> None:
    """V1: durations in the text, compilation, two deployments of ray.serve.llm."""
    async with rig(image(**CURRENT)) as cluster:
        cluster.apply(a_manifest(PHI3_CURRENT))
        await cluster.until(cluster.ready, 3000)
        log = await engine_log(cluster)
        assert "Time spent downloading weights for microsoft/Phi-3-mini-4k-instruct" in log
        assert "torch.compile took" in log
        assert "init engine (profile, create kv cache, warmup model) took" in log
        assert log.startswith("(EngineCore pid=")
        assert len(cluster.applications()["llm"]["serveDeploymentStatuses"]) == 2


async def weights_s(packages: dict[str, str], env: Mapping[str, str]) -> float:
    """Return the virtual seconds from the load's first line to the loaded weights."""
    async with rig(image(**packages), disk_write_bytes_s=1e12) as cluster:
        cluster.apply(a_manifest(env=env))
        begin = end = None
        for _ in range(3000):
            await cluster.clock.sleep(1.0)
            log = await _log_or_nothing(cluster)
            now = cluster.clock.now()
            begin = begin or (now if "Starting to load model" in log else None)
            if begin is not None and "Loading model weights took" in log:
                end = now
                break
        assert begin is not None
        assert end is not None
        return (end - begin).total_seconds()


async def _log_or_nothing(cluster: TrialRig) -> str:
    try:
        return await engine_log(cluster)
    except (ConnectionRefusedError, StopIteration, RuntimeError, ValueError):
        return ""


@in_virtual_time
async def test_hf_transfer_speeds_the_weights_up_where_it_is_installed() -> None:
    """Not the variable but the package earns the gain (vLLM 0.5.4 enables an importable one by itself)."""
    plain, flagless = await asyncio.gather(weights_s(BAKED, {}), weights_s({**BAKED, "hf_transfer": "0.1.9"}, {}))
    assert plain > flagless + 60


@in_virtual_time
async def test_the_flag_without_the_package_fails_the_replica() -> None:
    """The client raises; Serve tries three times and gives up."""
    async with rig(image(**BAKED)) as cluster:
        cluster.apply(a_manifest(env=FAST))
        await cluster.until(lambda: cluster.applications().get("llm", {}).get("status") == "DEPLOY_FAILED", 3000)
        message = cluster.applications()["llm"]["serveDeploymentStatuses"]["VLLMDeployment"]["message"]
        assert "hf_transfer" in message
        assert not cluster.ready()


@in_virtual_time
async def test_an_image_without_vllm_fails_when_it_is_imported() -> None:
    """The build task imports the application on the head, so the head needs vLLM too."""
    async with rig(image()) as cluster:
        cluster.apply(a_manifest())
        await cluster.until(lambda: cluster.applications().get("llm", {}).get("status") == "DEPLOY_FAILED", 3000)
        assert "No module named 'vllm'" in cluster.applications()["llm"]["message"]
        assert not cluster.store.get("services", "llm-model-serve-serve-svc", "serving")


@in_virtual_time
async def test_unpinned_dependencies_of_today_do_not_import() -> None:
    """Measured: vllm 0.5.4 resolved without pins gets a transformers it cannot use."""
    async with rig(image(**{**BAKED, "transformers": "5.23.0"})) as cluster:
        cluster.apply(a_manifest())
        await cluster.until(lambda: cluster.applications().get("llm", {}).get("status") == "DEPLOY_FAILED", 3000)
        assert "ImportError" in cluster.applications()["llm"]["message"]


async def ready_s(delivery: Delivery) -> float:
    async with rig(image(**BAKED), delivery=delivery) as cluster:
        began = cluster.clock.now()
        cluster.apply(a_manifest())
        await cluster.until(cluster.ready, 3000)
        return (cluster.clock.now() - began).total_seconds()


@in_virtual_time
async def test_what_was_not_pulled_is_paid_at_first_touch() -> None:
    """Hydration and lazy reads do not vanish: they come after the container's start."""
    local, lazy = await asyncio.gather(
        ready_s(Delivery("present")), ready_s(Delivery("present", first_touch_bytes_s=30e6))
    )
    assert lazy > local + 60


@in_virtual_time
async def test_a_slow_hub_lengthens_the_download() -> None:
    """A fault that limits all bytes of the hub."""
    async with rig(image(**BAKED)) as cluster:
        cluster.faults.switch("slow_hub", 1e6)
        cluster.apply(a_manifest())
        await cluster.until(lambda: "VLLMDeployment" in json.dumps(cluster.applications()), 2000)
        await cluster.clock.sleep(3000)
        assert not cluster.ready()
        message = cluster.applications()["llm"]["serveDeploymentStatuses"]["VLLMDeployment"]["message"]
        assert "taken more than 30s to initialize" in message


@in_virtual_time
async def test_a_crashing_replica_is_tried_three_times() -> None:
    """DEPLOY_FAILED with the constructor's error, no services, Ready stays False."""
    async with rig(image(**BAKED)) as cluster:
        cluster.faults.switch("replica_crash", True)
        cluster.apply(a_manifest())
        await cluster.until(lambda: cluster.applications().get("llm", {}).get("status") == "DEPLOY_FAILED", 3000)
        application = cluster.applications()["llm"]
        assert application["message"] == "Failed to update the deployments ['VLLMDeployment']."
        details = json.loads((await cluster.get("/api/serve/applications/"))[1])
        deployment = details["applications"]["llm"]["deployments"]["VLLMDeployment"]
        assert (deployment["replicas"], len(deployment["recent_dead_replicas"])) == ([], 3)
        assert deployment["status_trigger"] == "REPLICA_STARTUP_FAILED"


@in_virtual_time
async def test_the_initializing_timeout_ends_a_deployment_for_good() -> None:
    """Ready=False/InitializingTimeout, a warning, the cluster's name dropped, the cluster deleted a minute later."""
    async with rig(image(**BAKED)) as cluster:
        cluster.faults.switch("replica_crash", True)
        manifest = a_manifest()
        manifest["metadata"]["annotations"] = {"ray.io/initializing-timeout": "1m15s"}
        cluster.apply(manifest)
        await cluster.until(lambda: cluster.condition("Ready").get("reason") == "InitializingTimeout", 120)
        status = cluster.service()["status"]
        assert "rayClusterName" not in status["pendingServiceStatus"]
        assert status["pendingServiceStatus"]["applicationStatuses"]
        first = next(
            seen.object for seen in cluster.trace if seen.resource == "rayservices" and "status" in seen.object
        )
        assert (
            cluster.condition("Ready")["lastTransitionTime"] == first["status"]["conditions"][0]["lastTransitionTime"]
        )
        assert [s for s in cluster.trace if s.object.get("reason") == "RayServiceInitializingTimeout"]
        assert cluster.store.peek_all("rayclusters")
        await cluster.until(lambda: not cluster.store.peek_all("rayclusters"), 120)


@in_virtual_time
async def test_without_the_heads_endpoint_ready_waits_for_the_worker() -> None:
    """`excludeHeadPodFromServeSvc` adds the worker's readiness to the finish line."""
    async with rig(image(**BAKED), profile_run_s=0.1, graph_capture_s=0.1, vllm_import_s=0.1) as cluster:
        manifest = a_manifest()
        manifest["spec"]["excludeHeadPodFromServeSvc"] = True
        cluster.apply(manifest)
        await cluster.until(cluster.ready, 1500)
        assert cluster.pod("head")["metadata"]["labels"]["ray.io/serve"] == "false"
        assert cluster.service()["status"]["numServeEndpoints"] == 1
        conditions = cluster.pod("worker")["status"]["conditions"]
        assert next(item for item in conditions if item["type"] == "Ready")["status"] == "True"


@in_virtual_time
async def test_a_silent_operator_writes_nothing() -> None:
    """No finalizer, no status, no cluster, for as long as it is silent."""
    async with rig(image(**BAKED)) as cluster:
        cluster.faults.switch("operator_silent", True)
        cluster.apply(a_manifest())
        await cluster.clock.sleep(60)
        assert "status" not in cluster.service()
        assert "finalizers" not in cluster.service()["metadata"]
        cluster.faults.switch("operator_silent", False)
        await cluster.until(lambda: bool(cluster.store.peek_all("rayclusters")), 60)


@in_virtual_time
async def test_the_endpoint_answers_with_the_model_through_both_proxies() -> None:
    """Port 8000 of head and worker lead to the same replica; a switched fault replaces the answer, not the health."""
    async with rig(image(**BAKED)) as cluster:
        cluster.apply(a_manifest())
        await cluster.until(lambda: (cluster.service().get("status") or {}).get("numServeEndpoints") == 2, 3000)
        body = json.dumps({"model": PHI3_2025.served_name, "messages": [{"role": "user", "content": "hi"}]}).encode()

        def completion(node_type: str) -> PodRequest:
            return PodRequest(cluster.pod(node_type), 8000, "/v1/chat/completions", "POST", body=body)

        for node_type in ("head", "worker"):
            status, _, answer = await cluster.runtime.request(completion(node_type))
            assert status == 200
            assert isinstance(answer, bytes)
            assert json.loads(answer)["model"] == PHI3_2025.served_name
        cluster.faults.switch("completion", "html_error")
        _, _, answer = await cluster.runtime.request(completion("head"))
        assert isinstance(answer, bytes)
        assert answer.startswith(b"<html>")
        assert await cluster.get("/-/healthz", port=8000) == (200, b"success")


@in_virtual_time
async def test_nothing_listens_before_ray_runs_or_after_the_end() -> None:
    """The API server's proxy is refused, as it words it itself."""
    async with rig(image(**BAKED)) as cluster:
        cluster.apply(a_manifest())
        await cluster.until(lambda: bool(cluster.store.list("pods", labels={"ray.io/node-type": "head"})), 60)
        head = cluster.pod("head")
        with pytest.raises(ConnectionRefusedError):
            await cluster.get("/api/version")
        await cluster.until(lambda: cluster.runtime.serve(head) is not None, 120)
        assert (await cluster.get("/api/version"))[0] == 200
        cluster.store.delete("rayservices", "llm-model-serve", "serving")
        await cluster.until(lambda: not cluster.store.peek_all("pods", "serving"), 120)
        with pytest.raises(ConnectionRefusedError):
            await cluster.runtime.request(PodRequest(head, 8265, "/api/version"))


@in_virtual_time
async def test_a_lost_worker_is_replaced_and_the_application_runs_again() -> None:
    """A node that goes takes the replica with it; the operator makes another pod, Serve another replica."""
    async with rig(image(**BAKED)) as cluster:
        cluster.apply(a_manifest())
        await cluster.until(cluster.ready, 3000)
        lost = cluster.pod("worker")["metadata"]
        cluster.store.delete("pods", lost["name"], "serving", grace_s=0)
        await cluster.until(lambda: cluster.applications()["llm"]["status"] == "UNHEALTHY", 600)
        await cluster.until(lambda: cluster.applications()["llm"]["status"] == "RUNNING", 3000)
        assert cluster.pod("worker")["metadata"]["uid"] != lost["uid"]
