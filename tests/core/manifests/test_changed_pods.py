"""What is added to pods, or marked on them, keeps what the user wrote and refuses to overwrite it."""

from typing import Any

import pytest
from change_builders import NOTHING, parts
from sample_manifests import sample, small

from airflow_llm_provisioning.core.manifests import (
    GPU_TOLERATION,
    Placement,
    engine_groups,
    place,
    pod_template,
    ray_container,
    ray_groups,
    with_first_init_container,
    with_identity,
    with_volume,
)
from airflow_llm_provisioning.exceptions import ManifestError

VOLUME = {"name": "weights", "image": {"reference": "w:1"}}
MOUNT = {"name": "weights", "mountPath": "/weights", "readOnly": True}


def test_a_volume_is_added_to_the_groups_that_need_it() -> None:
    """Once, beside the user's."""
    manifest = sample("kuberay-vllm-tpu")
    made = with_volume(manifest, engine_groups(manifest), VOLUME, MOUNT)
    assert parts(made)[1]["volumes"] == [*parts(manifest)[1]["volumes"], VOLUME]
    assert parts(made)[2]["volumeMounts"] == [*parts(manifest)[2]["volumeMounts"], MOUNT]
    assert parts(made, 0) == parts(manifest, 0)
    assert with_volume(made, engine_groups(made), VOLUME, MOUNT) == made


@pytest.mark.parametrize(
    ("volume", "mount", "words"),
    [
        ({"name": "dshm", "emptyDir": {}}, {"name": "dshm", "mountPath": "/x"}, "'dshm' cannot be added: .*tpu-group"),
        (VOLUME, {"name": "weights", "mountPath": "/data"}, "'/data' cannot be added: .*with this mountPath"),
        (VOLUME, {"name": "other", "mountPath": "/x"}, "needs a name, and its mount that name"),
        ({}, {}, "needs a name"),
    ],
)  # fmt: skip
def test_a_volume_of_the_users_is_not_replaced(volume: dict[str, Any], mount: dict[str, Any], words: str) -> None:
    """Neither by its name nor by its path."""
    manifest = sample("kuberay-vllm-tpu")
    with pytest.raises(ManifestError, match=words):
        with_volume(manifest, engine_groups(manifest), volume, mount)


WAIT = {"name": "wait", "image": "busybox", "command": ["true"]}


def test_an_init_container_comes_before_the_users() -> None:
    """Once, in the groups that need it; one of the same name, in either list, is not replaced."""
    manifest = with_first_init_container(small(), ray_groups(small())[:1], {**WAIT, "name": "mine"})
    made = with_first_init_container(manifest, ray_groups(manifest), WAIT)
    inits = [pod_template(made, group)["spec"]["initContainers"] for group in ray_groups(made)]
    assert [[item["name"] for item in one] for one in inits] == [["wait", "mine"], ["wait"]]
    assert with_first_init_container(made, ray_groups(made), WAIT) == made
    assert "initContainers" not in pod_template(small(), ray_groups(small())[0])["spec"]
    taken = ray_container(made, ray_groups(made)[0])["name"]
    for other in ({**WAIT, "image": "mine"}, {**WAIT, "name": taken}):
        with pytest.raises(ManifestError, match="has another of this name"):
            with_first_init_container(made, ray_groups(made), other)


def test_marks_go_to_the_right_groups() -> None:
    """Head and workers each get their own; only GPU groups tolerate the taint of GPU nodes."""
    head, workers = (
        Placement(labels={"for": "head"}),
        Placement(node_selector={"for": "workers"}, annotations={"a": "b"}),
    )
    made = place(small(), head, workers)
    assert pod_template(made, ray_groups(made)[0])["metadata"] == {"labels": {"for": "head"}}
    assert {"nodeSelector", "tolerations"}.isdisjoint(parts(made, 0)[1])
    assert pod_template(made, ray_groups(made)[1])["metadata"] == {"annotations": {"a": "b"}}
    assert parts(made)[1]["nodeSelector"] == {"for": "workers"}
    assert parts(made)[1]["tolerations"] == [dict(GPU_TOLERATION)]
    assert place(made, head, workers) == made


@pytest.mark.parametrize(
    ("resource", "tolerates"),
    [("nvidia.com/gpu", True), ("nvidia.com/mig-1g.10gb", True), ("google.com/tpu", False), ("amd.com/gpu", False)],
)
def test_only_nvidias_accelerators_need_its_toleration(resource: str, tolerates: bool) -> None:
    """Slices of a GPU stand on nodes with the same taint."""
    manifest = small()
    parts(manifest)[2]["resources"] = {"limits": {resource: 1}}
    assert ("tolerations" in parts(place(manifest, NOTHING, NOTHING))[1]) is tolerates


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "tolerationSeconds": 5}, False),
    ],
)
def test_a_toleration_is_added_unless_the_user_has_it(toleration: dict[str, Any], covers: bool) -> None:
    """A wider one of the user's is enough."""
    manifest = small()
    parts(manifest)[1]["tolerations"] = [toleration]
    made = parts(place(manifest, NOTHING, NOTHING))[1]["tolerations"]
    assert made == ([toleration] if covers else [toleration, dict(GPU_TOLERATION)])


def test_a_place_of_the_users_is_not_overwritten() -> None:
    """Both values are named."""
    marks = Placement(node_selector={"cloud.google.com/gke-accelerator": "nvidia-a100"})
    with pytest.raises(ManifestError, match=r"Group gpu-group .* is 'nvidia-l4', and the target needs 'nvidia-a100'"):
        place(sample("kuberay-high-throughput-llm"), NOTHING, marks)
    marks = Placement(annotations={"node.elotl.co/instance-gpu-skus": "A100"})
    with pytest.raises(ManifestError, match=r"is 'L4,A10G,A10,L40S', and the target needs 'A100'"):
        place(sample("skyray-baseline"), NOTHING, marks)


@pytest.mark.parametrize("key", ["labels", "annotations"])
def test_marks_of_tools_that_deploy_from_a_repository_are_dropped(key: str) -> None:
    """By them Argo CD takes an object for its own, and prunes one that its repository does not have."""
    manifest = small()
    marks = {"argocd.argoproj.io/tracking-id": "a", "meta.helm.sh/release-name": "b"}
    manifest["metadata"][key] = {**marks, "mine": "1"}
    assert with_identity(manifest, "x", "n", {})["metadata"][key] == {"mine": "1"}
    assert set(marks) < set(manifest["metadata"][key]), "the argument is not changed"


def test_identity_is_ours_and_the_users_labels_stay() -> None:
    """On the RayService and every pod; what a server added to a copied manifest goes."""
    manifest = sample("skyray-baseline")
    last = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}
    manifest["metadata"] |= {"uid": "u", "resourceVersion": "1", "managedFields": [], "annotations": last}
    manifest["status"] = {"serviceStatus": "Running"}
    made = with_identity(manifest, "trial-1", "serving", {"elotl-luna": "ours", "trial": "1"})
    assert made["metadata"] == {
        "name": "trial-1",
        "namespace": "serving",
        "labels": {"app.kubernetes.io/instance": "rayservice", "elotl-luna": "ours", "trial": "1"},
        "annotations": {"mine": "1"},
    }
    assert "status" not in made
    for group in ray_groups(made):
        assert pod_template(made, group)["metadata"]["labels"] == {"elotl-luna": "ours", "trial": "1"}
    with pytest.raises(ManifestError, match="its name has 48 characters"):
        with_identity(manifest, "x" * 48, "serving", {})
