"""Ray's trimmed start: what is changed, what is refused, what a recording proves."""

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.core.manifests import ray_container, worker_groups
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import plan_deployment, resolved
from airflow_llm_provisioning.core.treatments.ray_start_trim import WAIT, RayStartTrim
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload, builtin_workload

TRIM = RayStartTrim()
NODES = NodeProfile(name="n", cloud="eks", autoscaler="luna", kubernetes_minor="1.34", gpu_skus=("L4",))
RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"


def recorded(name: str = "static") -> list[dict[str, Any]]:
    """Return the lines of a recording of a real KubeRay 1.7, whose worker waited in its init container."""
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(text) for text in file]


def without_wait(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the recording as an operator with the switch would have made it: no init container in any pod."""
    made = json.loads(json.dumps(list(lines)))
    for item in made:
        if item["resource"] == "pods":
            item["object"]["spec"].pop("initContainers", None)
            item["object"].get("status", {}).pop("initContainerStatuses", None)
    return list(made)


def operator(value: str | None = None, **fields: Any) -> dict[str, Any]:
    env = [] if value is None else [{"name": "ENABLE_INIT_CONTAINER_INJECTION", "value": value}]
    container = {"name": "kuberay-operator", "image": "quay.io/kuberay/operator:v1.7.0", "env": env}
    spec = {"template": {"spec": {"containers": [container]}}, **fields.pop("spec", {})}
    status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}
    return {
        "metadata": {"name": "kuberay-operator", "namespace": "kuberay", "generation": 1},
        "spec": spec,
        "status": status | fields.pop("status", {}),
    }


def changed_workers(**fields: Any) -> Workload:
    """Return a user's own workload whose workers' Ray container has other fields."""
    served = builtin_workload("mine", "phi3-current")
    manifest = served.manifest_for(ScalingSetup.STATIC)
    ray_container(manifest, worker_groups(manifest)[0]).update(fields)
    return replace(served, manifest=manifest, profile=None)


def test_every_worker_waits_in_its_shell_and_the_head_is_unchanged() -> None:
    """The change is the worker's arguments, which KubeRay puts before `ray start`; applied twice it is the same."""
    served = changed_workers()
    plan = plan_deployment(served, [TRIM])
    (group,) = worker_groups(plan.manifest)
    assert ray_container(plan.manifest, group)["args"] == [WAIT]
    back = TRIM.change(plan, served)
    assert back == plan
    ray_container(plan.manifest, group).pop("args")
    assert plan.manifest == served.manifest


def test_bytecode_is_compiled_only_in_an_image_that_is_built_anyway() -> None:
    """An image from another registry would be another difference to the baseline than the start."""
    served = builtin_workload()
    alone = plan_deployment(served, resolved(["ray_start_trim"], "eks"))
    assert (alone.own_image, alone.recipe.bytecode) == (False, False)
    baked = plan_deployment(served, resolved(["bake_packages", "ray_start_trim"], "eks"))
    assert "compileall.compile_dir" in baked.recipe.dockerfile()
    plain = plan_deployment(served, resolved(["bake_packages"], "eks")).recipe
    assert plain.tag() != baked.recipe.tag()
    assert "bytecode" not in plain.as_dict()


@pytest.mark.parametrize("key", ["command", "args"])
def test_a_worker_with_a_start_of_its_own_is_refused_with_its_place(key: str) -> None:
    """The user's command is not overwritten."""
    (told,) = TRIM.requires(NODES, changed_workers(**{key: ["echo", "mine"]}))
    assert f"workerGroupSpecs[0].template.spec.containers[0].{key} is set: remove it" in told


def test_a_wait_of_the_users_own_and_a_service_without_workers_are_refused() -> None:
    """There would be nothing to gain."""
    served = changed_workers()
    spec = served.manifest["spec"]["rayClusterConfig"]
    spec["workerGroupSpecs"][0]["template"]["spec"]["initContainers"] = [
        {"name": "w", "command": ["bash", "-c", "until ray health-check --address head:6379; do sleep 5; done"]}
    ]
    (told,) = TRIM.requires(NODES, served)
    assert "initContainers[0] runs it: remove it" in told
    spec["workerGroupSpecs"] = []
    assert "has no workers" in TRIM.requires(NODES, served)[0]


@pytest.mark.parametrize(
    ("deployment", "told"),
    [
        (operator(), "its container 'kuberay-operator' has no ENABLE_INIT_CONTAINER_INJECTION"),
        (operator("0"), "its ENABLE_INIT_CONTAINER_INJECTION is '0', and KubeRay knows only 'false'"),
        (operator("true"), "is 'true'"),
        (operator("false", spec={"paused": True}), "it is paused"),
        (operator("false", status={"updatedReplicas": 0}), "its roll-out has not ended"),
        (operator("false", status={"observedGeneration": 0}), "its roll-out has not ended"),
    ],
)
def test_an_operator_that_injects_is_refused(deployment: dict[str, Any], told: str) -> None:
    """The sentence names the Deployment, what was found there, and what to do."""
    (sentence,) = TRIM.on_cluster({"deployments": [deployment]}, declared=True)
    assert "deployment kuberay/kuberay-operator" in sentence
    assert told in sentence
    assert "--set-string env[0].value=false" in sentence


def test_an_operator_with_the_switch_serves_declared_variants_only() -> None:
    """On its cluster a baseline starts trimmed too, so it is none. KubeRay reads the value in any case."""
    found = {"deployments": [operator("False")]}
    assert TRIM.on_cluster(found, declared=True) == ()
    (told,) = TRIM.on_cluster(found, declared=False)
    assert "on another cluster" in told
    assert TRIM.on_cluster({"deployments": [operator()]}, declared=False) == ()


def test_a_switch_from_elsewhere_is_not_taken_for_set() -> None:
    """What a ConfigMap holds is not read."""
    deployment = operator("false")
    (entry,) = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    entry["valueFrom"] = {"configMapKeyRef": {"name": "c", "key": "k"}}
    (told,) = TRIM.on_cluster({"deployments": [deployment]}, declared=True)
    assert "taken from elsewhere" in told


def test_a_recorded_wait_refutes_it_with_its_span() -> None:
    """The real recording's worker waited in `wait-gcs-ready`; the kubelet's stamps say how long."""
    found = TRIM.verify(TraceView(recorded()))
    assert found.value == "no"
    assert "init container wait-gcs-ready" in found.evidence[0]
    assert found.evidence[0].endswith(" s.")


def test_a_worker_without_the_init_container_proves_it() -> None:
    """The same recording without it; a trial that does not declare it is told so."""
    view = TraceView(without_wait(recorded()))
    assert TRIM.verify(view).value == "yes"
    assert "injects none" in str(TRIM.undeclared(view))
    assert TRIM.undeclared(TraceView(recorded())) is None


def test_a_recording_without_workers_says_nothing() -> None:
    """Unknown, and nothing is undeclared."""
    view = TraceView([item for item in recorded() if item["resource"] != "pods"])
    assert TRIM.verify(view).value == "unknown"
    assert TRIM.undeclared(view) is None


def test_a_planned_compiled_image_must_be_the_one_that_ran() -> None:
    """The bytecode is in the prepared image only."""
    lines = without_wait(recorded())
    recipe = {"base": "b", "base_digest": None, "pip": [], "env": {}, "bytecode": True}
    trial = {"arm": {"treatments": ["ray_start_trim"]}, "served": {"recipe": recipe}}
    opened = {"prepared": {"image": "registry.example/serving:r-1", "digest": "sha256:" + "1" * 64}}
    service = next(item["object"] for item in lines if item["resource"] == "rayservices")
    named = {"name": service["metadata"]["name"], "uid": service["metadata"]["uid"]}
    header = {"format": 1, "origin": "measured", "rayservice": named, "trial": {**trial, "opened": opened}}
    first = {"received_at": lines[0]["received_at"], "type": "HEADER", "resource": "trace", "object": header}
    found = TRIM.verify(TraceView([first, *lines]))
    assert found.value == "no"
    assert "prepared was sha256:111" in " ".join(found.evidence)
