"""Every change does what it says, keeps what the user wrote, and refuses to overwrite what the user decided."""

from typing import Any

import pytest
from change_builders import parts
from sample_manifests import small

from airflow_llm_provisioning.core.manifests import (
    accelerators,
    engine_groups,
    images,
    is_accelerator,
    max_replicas,
    ray_container,
    ray_groups,
    setup_of,
    starting_replicas,
    with_env,
    with_image,
    with_pull_policy,
    with_setup,
)
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ManifestError


@pytest.mark.parametrize(
    ("resource", "counts"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/mig-2g.20gb", True),
        ("nvidia.com/gpu.shared", True),
        ("amd.com/gpu", True),
        ("google.com/tpu", True),
        ("aws.amazon.com/neuron", True),
        ("habana.ai/gaudi", True),
        ("cpu", False),
        ("memory", False),
        ("ephemeral-storage", False),
        ("hugepages-2Mi", False),
        ("kubernetes.io/batch-cpu", False),
        ("scheduling.k8s.io/foo", False),
    ],
)
def test_every_extended_resource_is_an_accelerator(resource: str, counts: bool) -> None:
    """And no resource of Kubernetes' own."""
    assert is_accelerator(resource) is counts
    asked = accelerators({"resources": {"requests": {resource: "1"}, "limits": {resource: 2, "cpu": 1}}})
    assert asked == ({resource: 2} if counts else {})


def test_none_asked_for_is_no_accelerator() -> None:
    """Zero is none; what is no number is refused."""
    assert accelerators({"resources": {"limits": {"nvidia.com/gpu": "0"}}}) == {}
    assert accelerators({}) == accelerators({"resources": None}) == {}
    with pytest.raises(ManifestError, match=r"nvidia.com/gpu has the amount '1.5'; allowed are whole numbers"):
        accelerators({"resources": {"limits": {"nvidia.com/gpu": "1.5"}}})


def test_the_engine_runs_where_accelerators_are() -> None:
    """Else on all workers, else on the head; a head with a GPU counts."""
    manifest = small()
    cpu_group = {"groupName": "cpu", "template": {"spec": {"containers": [{"name": "w", "image": "a:1"}]}}}
    manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"].append(cpu_group)
    assert [group.name for group in engine_groups(manifest)] == ["gpu"]
    parts(manifest)[2].pop("resources")
    assert [group.name for group in engine_groups(manifest)] == ["gpu", "cpu"]
    parts(manifest, 0)[2]["resources"] = {"limits": {"amd.com/gpu": 1}}
    assert [group.name for group in engine_groups(manifest)] == ["headgroup"]
    del manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    parts(manifest, 0)[2].pop("resources")
    assert [group.role for group in engine_groups(manifest)] == ["head"]


@pytest.mark.parametrize(
    ("counts", "starts"),
    [
        ({}, 0),
        ({"replicas": 2}, 2),
        ({"minReplicas": 1}, 1),
        ({"replicas": 0, "minReplicas": 1}, 1),
        ({"replicas": 9, "maxReplicas": 4}, 4),
    ],
)
def test_a_group_starts_as_kuberay_starts_it(counts: dict[str, int], starts: int) -> None:
    """Replicas between their bounds; with the autoscaler on, none means dynamic."""
    manifest = small(enableInTreeAutoscaling=True)
    parts(manifest)[0].pop("replicas")
    parts(manifest)[0].update(counts)
    worker = ray_groups(manifest)[1]
    assert starting_replicas(manifest, worker) == starts
    assert max_replicas(manifest, worker) == counts.get("maxReplicas")
    assert setup_of(manifest) is (ScalingSetup.STATIC if starts else ScalingSetup.DYNAMIC)


def test_static_starts_every_engine_group() -> None:
    """With what the user wanted, at least one; Ray's autoscaler and the variable that needs it are gone."""
    manifest = small(enableInTreeAutoscaling=True, autoscalerOptions={"version": "v2"})
    parts(manifest)[0].update(replicas=0, minReplicas=0, maxReplicas=0)
    parts(manifest, 0)[2]["env"] = [{"name": "RAY_enable_autoscaler_v2", "value": "1"}, {"name": "A", "value": "1"}]
    made = with_setup(manifest, ScalingSetup.STATIC)
    assert {key: parts(made)[0][key] for key in ("replicas", "minReplicas", "maxReplicas")} == {
        "replicas": 1,
        "minReplicas": 0,
        "maxReplicas": 1,
    }
    assert {"enableInTreeAutoscaling", "autoscalerOptions"}.isdisjoint(made["spec"]["rayClusterConfig"])
    assert parts(made, 0)[2]["env"] == [{"name": "A", "value": "1"}]


def test_an_engine_group_that_nothing_would_start_is_started() -> None:
    """No autoscaler and no replica: it would wait without end."""
    manifest = small()
    parts(manifest)[0]["replicas"] = 0
    assert parts(with_setup(manifest, ScalingSetup.STATIC))[0]["replicas"] == 1


def test_dynamic_starts_no_engine_and_may_grow_as_far_as_before() -> None:
    """The user's autoscaler options are kept, and groups without an engine."""
    manifest = small(autoscalerOptions={"version": "v2"})
    parts(manifest)[0].update(replicas=3, minReplicas=3, maxReplicas=2)
    cpu_group = {"groupName": "cpu", "replicas": 2, "template": {"spec": {"containers": [{"name": "w", "image": "a"}]}}}
    manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"].append(cpu_group)
    made = with_setup(manifest, ScalingSetup.DYNAMIC)
    assert {key: parts(made)[0][key] for key in ("replicas", "minReplicas", "maxReplicas")} == {
        "replicas": 0,
        "minReplicas": 0,
        "maxReplicas": 2,
    }
    assert parts(made, 2)[0] == cpu_group
    assert made["spec"]["rayClusterConfig"]["autoscalerOptions"] == {"version": "v2"}
    manifest["spec"]["rayClusterConfig"].pop("workerGroupSpecs")
    with pytest.raises(ManifestError, match="dynamic set-up needs a worker group that runs the engine"):
        with_setup(manifest, ScalingSetup.DYNAMIC)


def test_an_image_is_replaced_wherever_it_runs_ray() -> None:
    """In init containers of the same image and the autoscaler's too; a sidecar and another init container stay."""
    manifest = small(autoscalerOptions={"image": "a:1"})
    _, spec, _ = parts(manifest)
    spec["initContainers"] = [{"name": "i", "image": "a:1"}, {"name": "j", "image": "busybox"}]
    spec["containers"].append({"name": "side", "image": "a:1"})
    made = with_image(manifest, {"a:1": "b:2"})
    _, spec, container = parts(made)
    assert images(made) == ("b:2",)
    assert [item["image"] for item in spec["initContainers"]] == ["b:2", "busybox"]
    assert spec["containers"][1]["image"] == "a:1"
    assert made["spec"]["rayClusterConfig"]["autoscalerOptions"] == {"image": "b:2"}
    assert container["image"] == "b:2"
    swapped = with_image(with_image(manifest, {"a:1": "c"}), {"c": "a:1"})
    assert swapped == manifest
    with pytest.raises(ManifestError, match="'x:1' cannot be replaced: no Ray container uses it; these do: a:1"):
        with_image(manifest, {"x:1": "b:2"})


def test_images_are_told_head_first_and_once() -> None:
    """Each can be replaced by its own."""
    manifest = small()
    parts(manifest, 0)[2]["image"] = "head:1"
    assert images(manifest) == ("head:1", "a:1")
    assert images(with_image(manifest, {"head:1": "a:1", "a:1": "head:1"})) == ("a:1", "head:1")


def test_a_pull_policy_is_set_where_ray_runs() -> None:
    """And an unknown one is refused."""
    made = with_pull_policy(small(), "IfNotPresent")
    assert [ray_container(made, group)["imagePullPolicy"] for group in ray_groups(made)] == ["IfNotPresent"] * 2
    with pytest.raises(ManifestError, match="'Sometimes' is unknown; allowed are Always, IfNotPresent, Never"):
        with_pull_policy(small(), "Sometimes")


def test_variables_are_added_behind_the_users() -> None:
    """In every Ray container, sorted; an equal one is not repeated, null counts as none."""
    manifest = small()
    parts(manifest)[2]["env"] = [{"name": "Z", "value": "1"}, {"name": "B", "value": "2"}]
    parts(manifest, 0)[2]["env"] = None
    made = with_env(manifest, {"B": "2", "A": "1"})
    assert [item["name"] for item in parts(made)[2]["env"]] == ["Z", "B", "A"]
    assert parts(made, 0)[2]["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "A", "value": "made-up"}, "sets it to another value"),
        ({"name": "A"}, "sets it to another value"),
        ({"name": "A", "valueFrom": {"secretKeyRef": {}}}, r"takes it from elsewhere \(valueFrom\)"),
    ],
)
def test_a_variable_of_the_users_is_not_overwritten(entry: dict[str, Any], words: str) -> None:
    """The refusal names group and variable, and no value."""
    manifest = small()
    parts(manifest)[2]["env"] = [entry]
    told = rf"variable 'A' cannot be set: the Ray container of spec\..*\[0\] \(group gpu\) {words}"
    with pytest.raises(ManifestError, match=told) as raised:
        with_env(manifest, {"A": "1"})
    assert "made-up" not in str(raised.value)
