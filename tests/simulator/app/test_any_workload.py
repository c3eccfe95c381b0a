"""Any valid RayService runs as on a real cluster: groups, replicas, Services, import paths, models and Secrets."""

import json
from typing import Any

import pytest
import yaml
from trial_rig import TrialRig, an_image, in_virtual_time, tiny_profile

from llm_provisioning_simulator.app.application import applications
from llm_provisioning_simulator.kube.statuses import StatusError

Object = dict[str, Any]
VLLM = {"vllm": "0.22.0", "huggingface_hub": "1.18.0", "hf_xet": "1.5.0"}
PHI3 = "microsoft/Phi-3-mini-4k-instruct"
IMAGE = "registry/serving:r-1"


def a_group(pool: str, *, gpus: int = 0, name: str = "", **params: str) -> Object:
    """A head or worker group on the nodes of a pool."""
    limits = {"cpu": "4", "memory": "8Gi"} | ({"nvidia.com/gpu": gpus} if gpus else {})
    container = {"name": "ray", "image": IMAGE, "resources": {"requests": limits, "limits": limits}}
    template = {"spec": {"containers": [container], "nodeSelector": {"pool": pool}}}
    group: Object = {"rayStartParams": params, "template": template}
    return group | ({"groupName": name, "replicas": 1, "minReplicas": 1, "maxReplicas": 4} if name else {})


def an_application(**entry: Any) -> Object:
    return {"name": "app", "route_prefix": "/", "import_path": "mine:app", **entry}


def a_deployment(**options: float) -> list[Object]:
    return [{"name": "D", "num_replicas": 1, "ray_actor_options": options}]


def a_service(application: Object, *groups: Object, head: Object | None = None, **spec: Any) -> Object:
    cluster = {"rayVersion": "2.60.0", "headGroupSpec": head or a_group("cpu")}
    cluster |= {"workerGroupSpecs": list(groups)} if groups else {}
    config = yaml.safe_dump({"applications": [application]})
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "wild", "namespace": "serving"},
        "spec": {"serveConfigV2": config, "rayClusterConfig": cluster, **spec},
    }


def rig(**packages: str) -> TrialRig:
    return TrialRig(tiny_profile(), image=an_image(IMAGE, **packages))


def replicas(details: bytes, deployment: str = "D") -> list[Object]:
    found: list[Object] = json.loads(details)["applications"]["app"]["deployments"][deployment]["replicas"]
    return found


@in_virtual_time
async def test_a_serve_service_of_the_users_own_is_the_one_that_is_made() -> None:
    """Its name, labels and type are kept; only its port called `serve` counts, and the selector is the operator's."""
    own = {
        "metadata": {"name": "custom-serve", "labels": {"team": "a"}},
        "spec": {
            "type": "NodePort",
            "selector": {"mine": "yes"},
            "ports": [{"name": "serve", "port": 80, "targetPort": 8000}, {"name": "other", "port": 81}],
        },
    }
    async with rig() as cluster:
        cluster.apply(a_service(an_application(deployments=a_deployment(num_cpus=0.1)), serveService=own))
        await cluster.until(cluster.ready)
        service = cluster.store.peek("services", "custom-serve", "serving")
        assert service is not None
        assert cluster.store.peek("services", "wild-serve-svc", "serving") is None
        assert service["metadata"]["labels"] | {"team": "a"} == service["metadata"]["labels"]
        assert service["spec"]["type"] == "NodePort"
        assert [port["port"] for port in service["spec"]["ports"]] == [80]
        assert set(service["spec"]["selector"]) == {"ray.io/cluster", "ray.io/serve"}


@in_virtual_time
async def test_a_cluster_without_workers_serves_from_its_head() -> None:
    """No workerGroupSpecs at all is valid: KubeRay needs none, also where it has no empty field to spell out."""
    head = a_group("cpu")
    head["template"]["metadata"] = {"labels": {"a": "b"}}
    async with rig() as cluster:
        cluster.apply(a_service(an_application(deployments=a_deployment(num_cpus=0.1)), head=head))
        await cluster.until(cluster.ready)
        (replica,) = replicas((await cluster.get("/api/serve/applications/"))[1])
        assert replica["node_instance_id"] == cluster.pod("head")["metadata"]["name"]


@in_virtual_time
async def test_a_head_without_cpus_gets_no_replica() -> None:
    """`num-cpus: "0"` keeps replicas off the head (Ray's own advice), so a worker serves."""
    head = a_group("cpu", **{"num-cpus": "0"})
    async with rig() as cluster:
        cluster.apply(
            a_service(an_application(deployments=a_deployment(num_cpus=1)), a_group("gpu", name="w"), head=head)
        )
        await cluster.until(cluster.ready)
        (replica,) = replicas((await cluster.get("/api/serve/applications/"))[1])
        assert replica["node_instance_id"] == cluster.pod("worker")["metadata"]["name"]


@in_virtual_time
async def test_replicas_of_one_deployment_take_a_node_each() -> None:
    """Two replicas of one GPU need two workers; it is running when both are."""
    deployments = [{"name": "D", "num_replicas": 2, "ray_actor_options": {"num_cpus": 1, "num_gpus": 1}}]
    group = a_group("gpu", gpus=1, name="w") | {"replicas": 2, "minReplicas": 2}
    async with rig() as cluster:
        cluster.join("gpu-node-2", "gpu", gpus=1)
        cluster.apply(a_service(an_application(deployments=deployments), group))
        await cluster.until(lambda: cluster.applications().get("app", {}).get("status") == "RUNNING")
        found = replicas((await cluster.get("/api/serve/applications/"))[1])
        assert [item["state"] for item in found] == ["RUNNING", "RUNNING"]
        assert len({item["node_id"] for item in found}) == 2


@in_virtual_time
async def test_rays_autoscaler_chooses_the_group_that_fits() -> None:
    """Of a CPU and a GPU group only the GPU group grows for a GPU replica, and by one worker a replica."""
    deployments = [{"name": "D", "num_replicas": 2, "ray_actor_options": {"num_cpus": 1, "num_gpus": 1}}]
    groups = [a_group("cpu", name="small"), a_group("gpu", gpus=1, name="big")]
    for group in groups:
        group |= {"replicas": 0, "minReplicas": 0}
    service = a_service(an_application(deployments=deployments), *groups)
    service["spec"]["rayClusterConfig"]["enableInTreeAutoscaling"] = True
    async with rig() as cluster:
        cluster.join("gpu-node-2", "gpu", gpus=1)
        cluster.apply(service)
        await cluster.until(lambda: cluster.applications().get("app", {}).get("status") == "RUNNING", 900)
        (ray_cluster,) = cluster.store.list("rayclusters", "serving")
        counts = {group["groupName"]: group["replicas"] for group in ray_cluster["spec"]["workerGroupSpecs"]}
        assert counts == {"small": 0, "big": 2}


@in_virtual_time
async def test_a_users_own_code_with_vllms_arguments_starts_an_engine() -> None:
    """`module:app` with `model` and vLLM's arguments, in either spelling: weights are downloaded and loaded."""
    args = {"model": PHI3, "max_model_len": 2048}
    application = an_application(args=args, deployments=a_deployment(num_cpus=1, num_gpus=1))
    async with rig(**VLLM) as cluster:
        cluster.apply(a_service(application, a_group("gpu", gpus=1, name="w")))
        await cluster.until(cluster.ready, 3000)
        logs = "".join(line for node in cluster.runtime._clusters.values() for n in node.nodes.values()
                       for lines in n.logs.files.values() for line in lines)  # fmt: skip
        assert "Time spent downloading weights" in logs


@in_virtual_time
async def test_a_model_that_the_hub_does_not_have_fails_as_at_the_hub() -> None:
    """No size is guessed: the replica ends with the hub's 404, and the application says so."""
    application = an_application(args={"model": "nobody/none", "dtype": "auto"}, deployments=a_deployment(num_gpus=1))
    async with rig(**VLLM) as cluster:
        cluster.apply(a_service(application, a_group("gpu", gpus=1, name="w")))
        await cluster.until(lambda: cluster.applications().get("app", {}).get("status") == "DEPLOY_FAILED", 3000)
        statuses = cluster.applications()["app"]["serveDeploymentStatuses"]
        assert "404 Client Error" in statuses["D"]["message"]
        assert "nobody/none" in statuses["D"]["message"]


@in_virtual_time
async def test_a_missing_secret_keeps_its_container_from_being_created() -> None:
    """CreateContainerConfigError with the kubelet's words; once the Secret is there, the pod starts."""
    head = a_group("cpu")
    reference = {"secretKeyRef": {"name": "hf", "key": "token"}}
    head["template"]["spec"]["containers"][0]["env"] = [{"name": "HF_TOKEN", "valueFrom": reference}]
    async with rig() as cluster:
        cluster.apply(a_service(an_application(deployments=a_deployment(num_cpus=0.1)), head=head))

        def waiting() -> Object:
            found = cluster.store.list("pods", "serving", labels={"ray.io/node-type": "head"})
            statuses = (found[0]["status"].get("containerStatuses") or [{}]) if found else [{}]
            state: Object = statuses[0].get("state", {})
            return state.get("waiting") or {}

        await cluster.until(lambda: waiting().get("reason") == "CreateContainerConfigError")
        assert waiting()["message"] == 'secret "hf" not found'
        cluster.store.create("secrets", {"metadata": {"name": "hf"}, "data": {}}, namespace="serving", manager="test")
        await cluster.until(lambda: "couldn't find key token" in waiting().get("message", ""))
        cluster.store.mutate("secrets", "hf", "serving", lambda item: item["data"].update(token="eA=="), manager="test")
        await cluster.until(cluster.ready)


@in_virtual_time
async def test_an_annotation_that_is_no_string_is_refused_as_a_bad_request() -> None:
    """The real server cannot decode it: 400, and the sentence names the field and the key."""
    service = a_service(an_application())
    service["metadata"]["annotations"] = {"replicas": 3}
    async with rig() as cluster:
        with pytest.raises(StatusError) as refused:
            cluster.apply(service)
    assert refused.value.code == 400
    assert "annotations" in str(refused.value)
    assert "'replicas'" in str(refused.value)


def llm(**config: Any) -> Object:
    return an_application(
        import_path="ray.serve.llm:build_openai_app",
        args={"llm_configs": [{"model_loading_config": {"model_id": "m"}, **config}]},
    )


def engine_of(entry: Object) -> Any:
    (application,) = applications({"applications": [entry]})
    return application.engine


@pytest.mark.parametrize(
    ("entry", "model", "gpus", "replicas"),
    [
        (llm(), "m", 1, 1),
        (llm(engine_kwargs={"tensor_parallel_size": 2, "pipeline_parallel_size": 2}), "m", 4, 1),
        (llm(deployment_config={"autoscaling_config": {"min_replicas": 2, "max_replicas": 4}}), "m", 1, 2),
        (llm(model_loading_config={"model_id": "m", "model_source": {"bucket_uri": "s3://b/m"}}), "s3://b/m", 1, 1),
        (an_application(args={"model": "a/b", "tensor-parallel-size": 2, "enforce-eager": ""}), "a/b", 2, 1),
        (an_application(runtime_env={"env_vars": {"MODEL_ID": "c/d", "TENSOR_PARALLELISM": "2"}}), "c/d", 2, 1),
    ],
)
def test_an_engine_is_read_from_the_configuration(entry: Object, model: str, gpus: float, replicas: int) -> None:
    """For any name of the import path: Ray's LLM builder, vLLM's arguments, or KubeRay's sample variables."""
    (application,) = applications({"applications": [entry]})
    (deployment,) = [item for item in application.deployments if item.engine]
    assert deployment.engine is not None
    assert deployment.engine.model == model
    assert deployment.resources["GPU"] == gpus
    assert deployment.replicas == replicas


@pytest.mark.parametrize("args", [{}, {"model": "t5-small"}, {"dtype": "half"}, {"message": "hi"}])
def test_other_arguments_are_no_engine(args: Object) -> None:
    """A `model` alone may be anybody's: nothing is downloaded for it."""
    assert engine_of(an_application(args=args)) is None


def test_an_engine_belongs_to_the_deployment_with_the_gpu() -> None:
    """Of several deployments the one that asks for a GPU starts it; the others stay where CPUs are."""
    deployments = [
        {"name": "Model", "ray_actor_options": {"num_cpus": 1, "num_gpus": 1}},
        {"name": "Front", "ray_actor_options": {"num_cpus": 0.5}},
    ]
    (application,) = applications(
        {"applications": [an_application(args={"model": "a/b", "dtype": "half"}, deployments=deployments)]}
    )
    assert {item.name: bool(item.engine) for item in application.deployments} == {"Model": True, "Front": False}


@pytest.mark.parametrize(
    ("application", "words"),
    [
        (an_application(args={"prefill_config": {}, "decode_config": {}}), ["'app'", "prefill_config"]),
        (
            an_application(deployments=[{"name": "D", "ray_actor_options": {"resources": {"tpu": 1}}}]),
            ["'D'", "custom resources tpu"],
        ),
        (
            an_application(args={"model": PHI3, "tensor_parallel_size": 2}, deployments=a_deployment(num_cpus=1)),
            ["'D'", "2 GPUs", "has 1", "over several nodes"],
        ),
        (llm(engine_kwargs={"tensor_parallel_size": 4}), ["4 GPUs", "has 1"]),
        (llm(deployment_config={"autoscaling_config": {"min_replicas": 0}}), ["LLMServer:m", "scaling from zero"]),
    ],
)
@in_virtual_time
async def test_what_is_not_simulated_is_said_when_it_is_applied(application: Object, words: list[str]) -> None:
    """A sentence that names the deployment and what is missing, instead of a deployment that never ends."""
    async with rig() as cluster:
        with pytest.raises(StatusError) as refused:
            cluster.apply(a_service(application, a_group("gpu", gpus=1, name="w")))
    assert refused.value.code == 422
    assert all(word in str(refused.value) for word in ["the simulator cannot run this", *words])


@in_virtual_time
async def test_a_serve_configuration_that_is_no_yaml_is_left_to_serve() -> None:
    """KubeRay stores it; that it cannot be read is an event later, as on a real cluster."""
    service = a_service(an_application())
    service["spec"]["serveConfigV2"] = "applications: ["
    async with rig() as cluster:
        cluster.apply(service)
        await cluster.until(
            lambda: any(seen.object.get("reason") == "FailedToUpdateServeApplications" for seen in cluster.trace)
        )


@pytest.mark.parametrize("gpus", [1, 2])
@in_virtual_time
async def test_a_replica_that_no_pod_can_hold_waits_as_with_ray(gpus: int) -> None:
    """A GPU that no group has, or more than a pod has, is a valid manifest: Serve says that it waits."""
    groups = [a_group("gpu", gpus=1, name="w")] if gpus > 1 else []
    async with rig() as cluster:
        cluster.apply(a_service(an_application(deployments=a_deployment(num_gpus=gpus)), *groups))

        def message() -> str:
            statuses = cluster.applications().get("app", {}).get("serveDeploymentStatuses") or {}
            return str(statuses.get("D", {}).get("message", ""))

        await cluster.until(lambda: "taken more than 30s to be scheduled" in message())
        assert not cluster.ready()
