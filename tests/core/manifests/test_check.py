"""What would never come up is refused before a cluster sees it, with key path; what KubeRay takes passes."""

from collections.abc import Callable
from typing import Any

import pytest
from sample_manifests import small

from airflow_llm_provisioning.core.manifests import check_ray_service
from airflow_llm_provisioning.exceptions import ManifestError

CLUSTER = "spec.rayClusterConfig"
HEAD = f"{CLUSTER}.headGroupSpec"
WORKER = rf"{CLUSTER}.workerGroupSpecs\[0\]"
POD = f"{WORKER}.template.spec"
DEVICE = "nvidia.com/gpu"
APP = r"spec.serveConfigV2: applications\[0\]"


def worker(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    return found


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = worker(manifest)["template"]["spec"]["containers"][0]
    return found


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = worker(manifest)["template"]["spec"]
    return found


def cluster(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["rayClusterConfig"]
    return found


def head_env(manifest: dict[str, Any], *names: str, value: str = "1") -> None:
    head = cluster(manifest)["headGroupSpec"]["template"]["spec"]["containers"][0]
    head["env"] = [{"name": name, "value": value} for name in names]


def serving(config: str) -> Callable[[dict[str, Any]], Any]:
    return lambda m: m["spec"].update(serveConfigV2=config)


APPLICATION = "applications: [{name: a, import_path: 'm:a', %s}]"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(apiVersion="ray.io/v2"), "apiVersion is 'ray.io/v2'; allowed are ray.io/v1 and"),
        (lambda m: m["metadata"].update(labels=["a"]), "metadata.labels is a list and must be a mapping"),
        (lambda m: m["metadata"].update(annotations={"a": 5}), "metadata.annotations.a is a number and must be text"),
        (lambda m: m["spec"].update(rayClusterConfig=[1]), f"{CLUSTER} is missing"),
        (lambda m: m["spec"]["rayClusterConfig"].pop("headGroupSpec"), f"{HEAD} is missing"),
        (lambda m: m["spec"]["rayClusterConfig"].update(headGroupSpec=5), f"{HEAD} is a number and must be a mapping"),
        (lambda m: m["spec"]["rayClusterConfig"]["headGroupSpec"].pop("template"), f"{HEAD}.template.spec is missing"),
        (
            lambda m: m["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"].update(containers=[]),
            f"{HEAD}.template.spec.containers holds no container",
        ),
        (lambda m: m["spec"]["rayClusterConfig"].update(enableInTreeAutoscaling="yes"), "must be true or false"),
        (lambda m: m["spec"]["rayClusterConfig"].update(workerGroupSpecs={}), "Specs is a mapping and must be a list"),
        (
            lambda m: m["spec"]["rayClusterConfig"].update(workerGroupSpecs=[None, 5]),
            r"workerGroupSpecs\[0\] is missing; spec.rayClusterConfig.workerGroupSpecs\[1\] is a number",
        ),
        (
            lambda m: m["spec"]["rayClusterConfig"].update(workerGroupSpecs=[worker(m), worker(m)]),
            rf"workerGroupSpecs\[1\].groupName is 'gpu', as {WORKER}; names must differ",
        ),
        (lambda m: worker(m).pop("groupName"), f"{WORKER}.groupName is missing"),
        (lambda m: worker(m).update(groupName="gpu_group"), f"{WORKER}.groupName is 'gpu_group'; it becomes a label"),
        (lambda m: worker(m).update(groupName="g" * 64), "it must be at most 63 letters"),
        (lambda m: worker(m).update(replicas=-1), f"{WORKER}.replicas is -1 and must be a whole number from 0"),
        (lambda m: worker(m).update(maxReplicas="4"), f"{WORKER}.maxReplicas is '4' and must be"),
        (lambda m: worker(m).update(rayStartParams={"num-cpus": 0}), f"{WORKER}.rayStartParams.num-cpus is a number"),
        (lambda m: container(m).update(image=" "), rf"{POD}.containers\[0\].image is missing"),
        (lambda m: container(m).update(env={"A": "1"}), r"containers\[0\].env is a mapping and must be a list"),
        (lambda m: container(m).update(env=[{"name": "A", "value": 1}]), r"env\[0\].value is a number"),
        (lambda m: container(m).update(env=[{"value": "1"}]), r"env\[0\].name is missing"),
        (lambda m: container(m).update(env=[{"name": False, "value": "1"}]), r"env\[0\].name is a truth value"),
        (
            lambda m: container(m)["resources"].update(limits={"nvidia.com/gpu": "half"}),
            r"limits\['nvidia.com/gpu'\] is 'half' and must be a whole number",
        ),
        (lambda m: pod(m).update(nodeSelector={"a": True}), f"{POD}.nodeSelector.a is a"),
        (lambda m: pod(m).update(tolerations=["a"]), rf"{POD}.tolerations\[0\] is a text"),
        (lambda m: worker(m)["template"].update(metadata={"labels": {"a": 1}}), r"metadata.labels.a is a number"),
        (lambda m: m["spec"].update(serveConfig={}), "spec.serveConfig is no longer read by KubeRay; write the text"),
        (serving("a: 1\n---\nb: 2"), "spec.serveConfigV2 holds 2 documents; allowed is one"),
        (serving("applications: [{name: a}]"), f"{APP}.import_path is missing"),
        (serving("applications: [{import_path: 'a:b'}, {import_path: 'c:d'}]"), r"\[1\] has the name 'default'"),
        (serving(APPLICATION % "runtime_env: [a]"), f"{APP}.runtime_env is a list and must be a mapping"),
        (serving(APPLICATION % "runtime_env: {env_vars: {N: 1}}"), f"{APP}.runtime_env.env_vars.N is a number"),
        (
            serving(APPLICATION % "deployments: [{ray_actor_options: {runtime_env: {env_vars: {N: 1}}}}]"),
            rf"{APP}.deployments\[0\].ray_actor_options.runtime_env.env_vars.N is a number and must be text",
        ),
        (serving("a: 1\na: 2"), "spec.serveConfigV2: a: the key stands there twice"),
        (serving(APPLICATION % "route_prefix: llm"), f"{APP}.route_prefix is 'llm' and must begin with `/`"),
        (serving(APPLICATION % "route_prefix: /llm/"), f"{APP}.route_prefix is '/llm/' and must not end with `/`"),
        (serving(APPLICATION % "route_prefix: '/{id}'"), f"{APP}.route_prefix is '/{{id}}'; Serve allows no wildcards"),
        (
            serving("applications: [{name: a, import_path: 'm:a'}, {name: b, import_path: 'm:b', route_prefix: /}]"),
            rf"applications\[1\].route_prefix is '/', as {APP}.route_prefix; Serve allows each path once",
        ),
        (
            lambda m: container(m).update(resources={"requests": {"nvidia.com/gpu": 1}}),
            r"limits\['nvidia.com/gpu'\] is missing; Kubernetes wants the same as requested \(1\)",
        ),
        (
            lambda m: container(m).update(resources={"requests": {DEVICE: 1}, "limits": {DEVICE: 2}}),
            r"limits\['nvidia.com/gpu'\] is 2; Kubernetes wants the same as requested",
        ),
        (
            lambda m: worker(m).update(resources={"GPU": "1"}, rayStartParams={"num-gpus": "1"}),
            f"{WORKER}.rayStartParams.num-gpus is set beside {WORKER}.resources; KubeRay allows one of them",
        ),
        (lambda m: head_env(m, "RAY_REDIS_ADDRESS"), f"variable RAY_REDIS_ADDRESS without {CLUSTER}.gcsFault"),
        (lambda m: head_env(m, "REDIS_USERNAME"), "the head sets a Redis user"),
        (
            lambda m: (cluster(m).update(gcsFaultToleranceOptions={"a": "b"}), head_env(m, "REDIS_PASSWORD")),
            "the head's variable REDIS_PASSWORD is set beside",
        ),
        (
            lambda m: (
                cluster(m).update(gcsFaultToleranceOptions={}),
                m["metadata"].update(annotations={"ray.io/ft-enabled": "true"}),
                cluster(m)["headGroupSpec"].update(rayStartParams={"redis-password": "x"}),
            ),
            r"\['ray.io/ft-enabled'\] is set beside .*; the head's start parameter redis-password is set beside",
        ),
        (lambda m: head_env(m, "RAY_enable_autoscaler_v2"), "autoscaler_v2=1 without enableInTreeAutoscaling"),
        (
            lambda m: (
                cluster(m).update(enableInTreeAutoscaling=True, autoscalerOptions={"version": "v2"}),
                head_env(m, "RAY_enable_autoscaler_v2"),
                pod(m).update(restartPolicy="Always"),
            ),
            f"beside autoscalerOptions.version; .*; {POD}.restartPolicy is 'Always'; autoscaler v2 allows Never only",
        ),
        (
            lambda m: cluster(m).update(rayVersion="2.51.1", authOptions={"mode": "token"}),
            "rayVersion is '2.51.1'; authOptions.mode token needs Ray 2.52.0",
        ),
        (
            lambda m: cluster(m)["headGroupSpec"].update(headService={"metadata": {"name": "x"}}),
            f"{HEAD}.headService.metadata.name is set",
        ),
        (lambda m: pod(m).update(nodeSelector={"-a": "b"}), f"{POD}.nodeSelector has the label '-a'"),
        (lambda m: pod(m).update(nodeSelector={"a/b": "c d"}), "selects 'a/b' by 'c d'; a label's"),
        (
            lambda m: pod(m).update(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
            rf"{POD}.tolerations\[0\] has a value beside the operator Exists",
        ),
        (
            lambda m: pod(m).update(tolerations=[{"effect": "NoSchedule"}]),
            rf"{POD}.tolerations\[0\] has no key; without one the operator must be Exists",
        ),
        (lambda m: m["spec"].update(upgradeStrategy={"type": "Rolling"}), "type is 'Rolling'; allowed are"),
    ],
)  # fmt: skip
def test_what_would_never_come_up_is_named(change: Callable[[dict[str, Any]], Any], words: str) -> None:
    """On one line, with key path."""
    manifest = small()
    check_ray_service(manifest)
    change(manifest)
    with pytest.raises(ManifestError, match=words) as raised:
        check_ray_service(manifest)
    assert str(raised.value).startswith("RayService 'small' cannot be deployed: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "told"), [(1234, "a number (1234)"), (True, "a truth value (True)")])
def test_a_name_that_yaml_reads_otherwise_is_told_as_such(name: Any, told: str) -> None:
    """It is there, so it is not missing."""
    manifest = small()
    manifest["metadata"]["name"] = name
    with pytest.raises(ManifestError) as raised:
        check_ray_service(manifest)
    assert f"metadata.name is {told} and must be text (quote it)" in str(raised.value)


def test_all_problems_are_told_at_once() -> None:
    """One round for the user, not five."""
    manifest = small("")
    worker(manifest).pop("groupName")
    manifest["metadata"]["name"] = "Small"
    with pytest.raises(ManifestError) as raised:
        check_ray_service(manifest)
    assert [word in str(raised.value) for word in ("lower-case", "groupName", "names no application")] == [True] * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(apiVersion="ray.io/v1alpha1"),
        lambda m: m["spec"]["rayClusterConfig"].pop("workerGroupSpecs"),
        lambda m: m["spec"]["rayClusterConfig"].update(workerGroupSpecs=None),
        lambda m: m["spec"].update(suspend=False, upgradeStrategy={"type": "None"}, someFutureField={"a": [1]}),
        lambda m: worker(m).update(minReplicas=3, replicas=None),
        lambda m: container(m).update(env=None, resources=None, volumeMounts=None),
        lambda m: container(m).update(env=[{"name": "A"}, {"name": "B", "valueFrom": {"fieldRef": {}}}]),
        lambda m: worker(m)["template"].update(metadata=None),
        lambda m: pod(m).update(nodeSelector=None, tolerations=None, imagePullSecrets=[{}]),
        lambda m: worker(m)["template"]["spec"]["containers"].append({"name": "sidecar", "image": "s:1"}),
        serving("applications: [{import_path: 'm:a', args: {since: 2024-01-01, 1: one}}]"),
        lambda m: pod(m).update(
            nodeSelector={"eks.amazonaws.com/nodegroup": "gpu_1.a", "b": ""},
            tolerations=[{"operator": "Exists"}, {"key": "a", "effect": ""}, {"key": "a.b/c", "value": "d"}],
        ),
        serving("applications: [{name: a, import_path: 'm:a', route_prefix: null}, {name: b, import_path: 'm:b'}]"),
        lambda m: (
            cluster(m).update(gcsFaultToleranceOptions={"redisAddress": "r:6379"}, rayVersion="2.52.0"),
            cluster(m).update(authOptions={"mode": "token"}, enableInTreeAutoscaling=True),
            cluster(m).update(autoscalerOptions={"version": "v2"}),
            worker(m).update(rayStartParams={}, resources={"GPU": "1"}),
            pod(m).update(restartPolicy="Never"),
        ),
        lambda m: (
            m["metadata"].update(annotations={"ray.io/ft-enabled": "true"}),
            head_env(m, "RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "RAY_enable_autoscaler_v2", value="0"),
        ),
        lambda m: container(m).update(resources={"requests": {DEVICE: "1000m"}, "limits": {DEVICE: 1}}),
        serving("proxy_location: EveryNode\napplications: [{import_path: 'm:a', runtime_env: null}]"),
    ],
)  # fmt: skip
def test_what_kuberay_takes_passes(change: Callable[[dict[str, Any]], Any]) -> None:
    """Both API versions, no workers, null fields, unknown fields, sidecars."""
    manifest = small()
    change(manifest)
    check_ray_service(manifest)


@pytest.mark.parametrize("amount", ["20GB", "20 Gi", "-1Gi", "1.5.2", "Gi", "", -1, "1e", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_an_amount_that_is_no_quantity_is_refused(amount: Any) -> None:
    """KubeRay's schema refuses it too, but only on the cluster; `GB` is the common one."""
    manifest = small()
    container(manifest)["resources"] = {"limits": {"memory": amount}}
    with pytest.raises(ManifestError, match=rf"{POD}.containers\[0\].resources.limits.memory .*a quantity such as"):
        check_ray_service(manifest)


@pytest.mark.parametrize("amount", [1, "1", "1000m", 1.0, "2e0"])
def test_a_whole_number_of_devices_in_any_writing_passes(amount: Any) -> None:
    """The API server takes `1000m` as 1."""
    manifest = small()
    container(manifest)["resources"].update(limits={"nvidia.com/gpu": amount})
    check_ray_service(manifest)


@pytest.mark.parametrize("amount", ["20Gi", "1.5Gi", ".5", "500m", "2e10", "1E", "100k", "+1", "5.", 8, 0.5, 0, "1e-3"])
def test_a_quantity_in_any_form_passes(amount: Any) -> None:
    """Binary and decimal suffixes, exponents, fractions, numbers."""
    manifest = small()
    container(manifest)["resources"] = {"requests": {"memory": amount}}
    check_ray_service(manifest)
