"""Each variant serves what it should, and is refused where it cannot be."""

import json
from importlib import import_module

import pytest
from proof.variants import VARIANTS
from treatment_traces import DIGEST, IMAGE, SERVED, environments

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import images, runtime_pip
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import (
    IMAGE_DELIVERY,
    DeploymentPlan,
    StepContext,
    Treatment,
    deployed_manifest,
    groups,
    known_treatments,
    plan_deployment,
    resolved,
    steps_of,
    treated_nodes,
)
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.operators import PrepareObjects


def plan_of(served: Workload, variant: str, cloud: str) -> DeploymentPlan:
    return plan_deployment(served, resolved(BUILTIN_VARIANTS[variant], cloud))


@pytest.mark.parametrize(
    ("variant", "cloud", "names"),
    [
        ("baseline", "eks", []),
        ("baseline", "generic", []),
        ("fast_download", "generic", ["fast_download"]),
        ("baked_image", "aks", ["bake_packages"]),
        ("image_delivery", "gke", ["gke_image_streaming"]),
        ("improved", "eks", ["fast_download", "bake_packages", "bottlerocket_snapshot"]),
        ("improved", "gke", ["fast_download", "bake_packages", "gke_image_streaming"]),
        ("improved", "aks", ["fast_download", "bake_packages", "aks_artifact_streaming"]),
    ],
)
def test_a_variant_is_its_treatments_on_that_cloud(variant: str, cloud: str, names: list[str]) -> None:
    """`improved` is the origin's bundle; the image delivery alone differs by cloud."""
    assert [item.name for item in resolved(BUILTIN_VARIANTS[variant], cloud)] == names


@pytest.mark.parametrize(
    ("names", "cloud", "words"),
    [
        (
            ("fast_download", IMAGE_DELIVERY),
            "generic",
            "stands for one of .*aks_artifact_streaming.* none of them exists",
        ),
        ((IMAGE_DELIVERY,), "oci", "on 'oci' none of them exists there"),
        (("bottlerocket_snapshot",), "gke", "exists on eks, not on 'gke'"),
        (("fast_downlod",), "eks", "'fast_downlod' is unknown: did you mean 'fast_download'"),
    ],
)
def test_an_impossible_variant_is_refused(names: tuple[str, ...], cloud: str, words: str) -> None:
    """In one sentence; nothing is left out silently."""
    with pytest.raises(ConfigurationError, match=words):
        resolved(names, cloud)


def test_every_treatment_is_in_a_variant_and_the_other_way_round() -> None:
    """No treatment without a use among the variants of the proofs, no name without a treatment."""
    names = {
        item.name
        for listed in VARIANTS.values()
        for name in listed
        for item in groups().get(name) or (known_treatments()[name],)
    }
    assert names == set(known_treatments())
    assert BUILTIN_VARIANTS.items() <= VARIANTS.items()
    assert {item.clouds for item in groups()[IMAGE_DELIVERY]} == {frozenset({c}) for c in ("eks", "gke", "aks")}


@pytest.mark.parametrize("served", SERVED, ids=lambda item: item.name)
def test_the_baseline_serves_the_base_image_as_it_is(served: Workload) -> None:
    """What it lacks is installed at start."""
    plan = plan_of(served, "baseline", "eks")
    assert deployed_manifest(plan, served, "ignored") == served.manifest
    assert not plan.own_image


@pytest.mark.parametrize("served", SERVED, ids=lambda item: item.name)
def test_fast_download_alone_installs_at_start(served: Workload) -> None:
    """As the origin's slower variant: one more package by pip, the switch in both pods' environment."""
    made = deployed_manifest(plan_of(served, "fast_download", "gke"), served, None)
    assert runtime_pip(made) == (*runtime_pip(served.manifest), *served.fast_download.pip)
    assert environments(made) == [dict(served.fast_download.env)] * 2
    assert images(made) == served.images


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
@pytest.mark.parametrize("served", SERVED, ids=lambda item: item.name)
def test_improved_bakes_everything(served: Workload, cloud: str) -> None:
    """Engine and downloader are in the recipe, with the switch; nothing is installed at start; our image is served."""
    plan = plan_of(served, "improved", cloud)
    assert plan.recipe.pip == (*runtime_pip(served.manifest), *served.fast_download.pip)
    assert plan.recipe.env == dict(served.fast_download.env)
    made = deployed_manifest(plan, served, IMAGE)
    assert (images(made), runtime_pip(made)) == ((IMAGE,), ())
    assert environments(made) == [dict(served.fast_download.env)] * 2
    assert plan.recipe.tag() == plan_of(served, "improved", "eks").recipe.tag()


def test_image_delivery_alone_mirrors_the_base() -> None:
    """A public base cannot be snapshotted or streamed: an unchanged copy in our registry is served."""
    served = SERVED[0]
    plan = plan_of(served, "image_delivery", "eks")
    assert plan.own_image
    assert plan.recipe == PHI3_2025.image
    assert runtime_pip(deployed_manifest(plan, served, IMAGE)) == PHI3_2025.runtime_pip


def test_an_image_that_was_not_built_is_asked_for() -> None:
    """No silent fall-back to the base."""
    with pytest.raises(ConfigurationError, match="run its preparation first"):
        deployed_manifest(plan_of(SERVED[0], "improved", "eks"), SERVED[0], None)


def test_an_image_of_the_users_own_is_what_was_planned() -> None:
    """The baseline serves it as it is; a variant builds on it."""
    mine = SERVED[0].with_image("mine:1")
    assert images(deployed_manifest(plan_of(mine, "baseline", "eks"), mine, None)) == ("mine:1",)
    assert plan_of(mine, "improved", "eks").recipe.base == "mine:1"
    assert mine.content != SERVED[0].content


@pytest.mark.parametrize(
    ("variant", "cloud", "steps"),
    [
        ("baseline", "eks", []),
        ("fast_download", "eks", []),
        ("baked_image", "gke", ["build_image"]),
        ("improved", "eks", ["build_image", "snapshot_image"]),
        ("improved", "gke", ["build_image", "enable_streaming", "warm_image"]),
        ("improved", "aks", ["build_image", "enable_streaming"]),
    ],
)
def test_the_steps_before_a_variant(variant: str, cloud: str, steps: list[str]) -> None:
    """In order, each once."""
    assert [step.name for step in steps_of(resolved(BUILTIN_VARIANTS[variant], cloud))] == steps


@pytest.mark.parametrize("variants", [("baseline", "improved"), ("improved", "baseline"), ("baked_image", "improved")])
def test_variants_that_need_different_nodes_want_two_targets(variants: tuple[str, ...]) -> None:
    """A target is never reconfigured between trials."""
    target = Target("t", "c", "k", NodeProfile("t", "eks", "luna", "1.34"), variants)
    with pytest.raises(ConfigurationError, match=r"need different nodes .*give each a target of its own"):
        Experiment("e", (target,))


@pytest.mark.parametrize("treatment", known_treatments().values(), ids=lambda item: item.name)
def test_every_treatment_keeps_its_contract(treatment: Treatment) -> None:
    """Nodes are changed once and for all, a manifest is never changed in place, every step's operator can be made."""
    cloud = next(iter(sorted(treatment.clouds)), "eks")
    skus = ("A10",) if cloud == "aks" else ("L4",)
    named = {"cpu_instance_type": "m5.xlarge", "gpu_instance_type": "g6.4xlarge"}
    # Some need an autoscaler that knows what they ask for, or the names of the machines.
    profiles = [
        NodeProfile("t", cloud, "luna", "1.34", gpu_skus=skus),
        NodeProfile("t", cloud, "karpenter", "1.34", **named),
    ]
    nodes = next(one for one in profiles if any(treatment.requires(one, served) == () for served in SERVED))
    once = treated_nodes(nodes, [treatment])
    assert treated_nodes(once, [treatment]) == once
    assert Target("t", "c", "k", nodes, ("v",)).treated(once).nodes_content == nodes.content
    for served in SERVED:
        before = json.dumps(served.manifest, sort_keys=True)
        treatment.change(DeploymentPlan.of(served), served)
        assert json.dumps(served.manifest, sort_keys=True) == before
    target = Target("t", "c", "k", once, ("v",), cloud_conn_id="cloud", cluster_name="c")
    for step in treatment.steps:
        module, _, name = step.operator.partition(":")
        operator = getattr(import_module(module), name)
        context = StepContext(target, SERVED[0].recipe, {"image": IMAGE, "digest": DIGEST})
        assert operator(task_id=step.name, **step.arguments(context)).task_id == step.name
        # A second preparation of objects on the target would replace the first one's.
        assert operator is not PrepareObjects or not step.per_image
