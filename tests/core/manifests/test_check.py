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
APP = r"spec.serveConfigV2: applications\[0\]"


def worker(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    return found


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = worker(manifest)["template"]["spec"]["containers"][0]
    return found


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
        (lambda m: worker(m)["template"]["spec"].update(nodeSelector={"a": True}), f"{POD}.nodeSelector.a is a"),
        (lambda m: worker(m)["template"]["spec"].update(tolerations=["a"]), rf"{POD}.tolerations\[0\] is a text"),
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
        lambda m: worker(m)["template"]["spec"].update(nodeSelector=None, tolerations=None, imagePullSecrets=[{}]),
        lambda m: worker(m)["template"]["spec"]["containers"].append({"name": "sidecar", "image": "s:1"}),
        serving("applications: [{import_path: 'm:a', args: {since: 2024-01-01, 1: one}}]"),
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
