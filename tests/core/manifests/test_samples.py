"""What other projects publish is read, understood and changed: the origin's manifests and KubeRay's samples.

The origin's accelerated manifests are also what our changes make of its baseline.
"""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from sample_manifests import NAMES, SKYRAY, sample, schema_problems, schemas, text_of

from airflow_llm_provisioning.core.manifests import (
    Placement,
    accelerators,
    check_ray_service,
    content,
    engine_groups,
    images,
    manifest_diff,
    parse_documents,
    place,
    ray_container,
    ray_groups,
    runtime_pip,
    setup_of,
    with_added_pip,
    with_env,
    with_identity,
    with_image,
    with_pull_policy,
    with_runtime_env_vars,
    with_setup,
    with_volume,
    without_runtime_pip,
)
from airflow_llm_provisioning.core.workload import ScalingSetup

GPU = {"nvidia.com/gpu": 1}
# Name -> (image of every Ray container, engine group, its accelerators, packages at start).
RAY_ML = "rayproject/ray-ml:2.33.0.914af0-py311"
FACTS: dict[str, tuple[str, str, dict[str, int], tuple[str, ...]]] = {
    "kuberay-autoscaler-v1alpha1": ("rayproject/ray:2.5.0", "small-group", {}, ()),
    "kuberay-custom-serve-service": ("rayproject/ray:2.34.0", "small-group", {}, ()),
    "kuberay-deepseek": ("rayproject/ray-llm:ray-2.48.0-py311-cu128", "gpu-group", {"nvidia.com/gpu": 8}, ()),
    "kuberay-high-availability": ("rayproject/ray:2.52.0", "worker", {}, ()),
    "kuberay-high-throughput-llm": ("rayproject/ray-llm:2.55.0-py311-cu128", "gpu-group", GPU, ()),
    "kuberay-llm-serve": ("rayproject/ray-llm:2.50.1-py311-cu124", "gpu-group", {"nvidia.com/gpu": 4}, ()),
    "kuberay-sample": ("rayproject/ray:2.52.0", "small-group", {}, ()),
    "kuberay-stable-diffusion": ("rayproject/ray-ml:2.8.0", "gpu-group", GPU, ("diffusers==0.12.1",)),
    "kuberay-vllm-tpu": ("$VLLM_IMAGE", "tpu-group", {"google.com/tpu": 8}, ()),
    "skyray-baseline": (RAY_ML, "gpu-group", GPU, ("vllm==0.5.4",)),
    "skyray-autoscale": (RAY_ML, "gpu-group", GPU, ("vllm==0.5.4",)),
    "skyray-fastermodel": (RAY_ML, "gpu-group", GPU, ("vllm==0.5.4", "hf_transfer")),
    "skyray-autoscale-fastermodel": (RAY_ML, "gpu-group", GPU, ("vllm==0.5.4", "hf_transfer")),
    "skyray-four-gpus": (RAY_ML, "gpu-group", {"nvidia.com/gpu": 4}, ("vllm==0.5.4",)),
    "skyray-four-workers-spot": ("rayproject/ray-llm:2.46.0-py311-cu124", "gpu-group", GPU, ()),
}
MARKS = Placement(
    labels={"pool": "gpu"}, annotations={"note": "t"}, node_selector={"pool": "x"}, tolerations=[{"operator": "Exists"}]
)
NEW = "registry.example/serving:r-1"


def changed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest after every change, one upon the other."""
    made = with_image(manifest, dict.fromkeys(images(manifest), NEW))
    made = with_pull_policy(made, "IfNotPresent")
    made = with_env(made, {"HF_XET_HIGH_PERFORMANCE": "1"})
    made = with_added_pip(without_runtime_pip(made), ["hf_xet==1.8.0"])
    made = with_runtime_env_vars(made, {"MODEL_CACHE": "/cache"})
    volume = {"name": "weights", "image": {"reference": "registry.example/weights:1"}}
    made = with_volume(made, engine_groups(made), volume, {"name": "weights", "mountPath": "/weights"})
    return with_identity(place(made, MARKS, MARKS), "trial-1", "serving", {"trial": "1"})


@pytest.mark.parametrize("name", FACTS)
def test_what_a_sample_asks_for_is_understood(name: str) -> None:
    """Image, engine group, accelerators and packages."""
    manifest = sample(name)
    check_ray_service(manifest)
    image, group, asked, pip = FACTS[name]
    assert images(manifest) == (image,)
    assert [item.name for item in engine_groups(manifest)] == [group]
    assert accelerators(ray_container(manifest, engine_groups(manifest)[0])) == asked
    assert runtime_pip(manifest) == pip
    assert [item.role for item in ray_groups(manifest)] == ["head", "worker"]


@pytest.mark.parametrize("name", NAMES)
def test_the_set_up_is_the_files(name: str) -> None:
    """The origin's `autoscale` manifests start without a worker; KubeRay's autoscaler sample starts with one."""
    expected = ScalingSetup.DYNAMIC if name.startswith("skyray-autoscale") else ScalingSetup.STATIC
    assert setup_of(sample(name)) is expected
    assert with_setup(sample(name), expected) == sample(name)


@pytest.mark.parametrize("setup", ScalingSetup)
@pytest.mark.parametrize("name", NAMES)
def test_either_set_up_can_be_had(name: str, setup: ScalingSetup) -> None:
    """And differs in scaling only: images, variables and Serve's configuration are the same."""
    manifest = sample(name)
    made = with_setup(manifest, setup)
    assert setup_of(made) is setup
    check_ray_service(made)
    assert [ray_container(made, g) for g in ray_groups(made)] == [
        ray_container(manifest, g) for g in ray_groups(manifest)
    ]
    assert made["spec"]["serveConfigV2"] == manifest["spec"]["serveConfigV2"]


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("kuberay-llm-serve", ("Secret/hf-token",)),
        ("kuberay-high-availability", ("ConfigMap/query-config", "Service/redis", "Secret/redis-password-secret")),
        ("skyray-baseline", ()),
    ],
)
def test_other_objects_are_named_and_left_to_the_user(name: str, others: tuple[str, ...]) -> None:
    """In order of the file."""
    assert parse_documents(text_of(name), where=name).others == others


ACCELERATED = [name for name in SKYRAY if "faster" in name]


@pytest.mark.parametrize("name", ACCELERATED)
def test_our_changes_of_the_origins_baseline_are_the_origins_own(name: str) -> None:
    """Eight manifests: image, packages, variables and set-up changed by us give what the origin wrote by hand."""
    theirs = sample(name)
    env = {item["name"]: item["value"] for item in ray_container(theirs, ray_groups(theirs)[0])["env"]}
    made = with_image(sample("skyray-baseline"), {RAY_ML: images(theirs)[0]})
    made = with_added_pip(made, runtime_pip(theirs)) if runtime_pip(theirs) else without_runtime_pip(made)
    made = with_env(with_setup(made, setup_of(theirs)), dict(sorted(env.items())))
    for manifest in (made, theirs):
        for group in ray_groups(manifest):
            ray_container(manifest, group)["env"].sort(key=lambda item: item["name"])
    assert len(ACCELERATED) == 8
    assert content(made) == content(theirs)
    assert content(made) != content(sample("skyray-baseline"))


def test_the_origins_dynamic_manifest_is_our_dynamic_set_up_of_its_static_one() -> None:
    """Autoscaler options included, and the way back."""
    static, dynamic = sample("skyray-baseline"), sample("skyray-autoscale")
    assert with_setup(static, ScalingSetup.DYNAMIC) == dynamic
    assert with_setup(dynamic, ScalingSetup.STATIC) == static


@pytest.mark.parametrize("name", NAMES)
def test_changes_leave_their_argument_alone(name: str) -> None:
    """Every change together; the result is a RayService of the given name that can be deployed."""
    manifest = sample(name)
    before = copy.deepcopy(manifest)
    made = changed(manifest)
    with_setup(manifest, ScalingSetup.DYNAMIC)
    with_setup(manifest, ScalingSetup.STATIC)
    content(manifest)
    assert manifest == before
    check_ray_service(made)
    assert made["metadata"]["name"] == "trial-1"
    assert images(made) == (NEW,)
    assert runtime_pip(made) == ("hf_xet==1.8.0",)
    for group in ray_groups(made):
        pod = made
        for key in group.template_path:
            pod = pod[key]
        assert pod["metadata"]["labels"] | {"trial": "1", "pool": "gpu"} == pod["metadata"]["labels"]
        assert {"name": "HF_XET_HIGH_PERFORMANCE", "value": "1"} in ray_container(made, group)["env"]
    assert content(changed(made)) == content(made)


@pytest.mark.parametrize("name", NAMES)
def test_a_diff_names_what_changed_and_keeps_secrets(name: str) -> None:
    """Nothing for equal manifests; image, package and variable for a changed one, variables' values hidden."""
    manifest = sample(name)
    made = with_env(changed(manifest), {"TOP": "made-up-secret"})
    assert manifest_diff(manifest, copy.deepcopy(manifest)) == ""
    told = manifest_diff(manifest, made)
    added = [line for line in told.splitlines() if line.startswith("+")]
    assert any(NEW in line for line in added)
    assert any("hf_xet==1.8.0" in line for line in added)
    assert "made-up-secret" not in told
    assert "name: TOP" in told


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", NAMES)
def test_form_does_not_change_the_content_and_substance_does(name: str) -> None:
    """Order of keys, comments, JSON, names and placement do not count; image and arguments do."""
    manifest = sample(name)
    first = content(manifest)
    rewritten = shuffled(manifest, random.Random(1))
    config = yaml.safe_load(rewritten["spec"]["serveConfigV2"])
    rewritten["spec"]["serveConfigV2"] = "# A comment.\n" + yaml.safe_dump(shuffled(config, random.Random(2)))
    assert content(parse_documents(yaml.safe_dump(rewritten), where="w").ray_service) == first
    assert content(with_identity(place(manifest, MARKS, MARKS), "other", "elsewhere", {"a": "b"})) == first
    assert content(with_image(manifest, {images(manifest)[0]: NEW})) != first
    config["applications"][0]["args"] = {"another": "argument"}
    manifest["spec"]["serveConfigV2"] = yaml.safe_dump(config)
    assert content(manifest) != first


def test_all_samples_differ_in_content() -> None:
    """No two are the same deployment."""
    assert len({content(sample(name)) for name in NAMES}) == len(NAMES) >= 14


@pytest.fixture(scope="module")
def kuberay(shared_folder: Path) -> Any:
    return schemas(shared_folder / "crds" / "ray.io_rayservices.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_kuberays_schema_takes_every_changed_sample(kuberay: Any, name: str) -> None:
    """In both set-ups, as it takes the sample itself."""
    manifest = sample(name)
    validator = kuberay[manifest["apiVersion"]]
    for made in (manifest, *(changed(with_setup(manifest, setup)) for setup in ScalingSetup)):
        # KubeRay's own samples leave out counts that its CRD requires and defaults at once.
        problems = [item for item in schema_problems(validator, made) if "Replicas' is a required" not in item]
        # v1alpha1's pods are older than image volumes.
        assert [item for item in problems if made["apiVersion"] == "ray.io/v1" or "'image' was unexp" not in item] == []
