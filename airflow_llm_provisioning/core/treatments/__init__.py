"""Treatments and the variants made of them. A treatment is one file here and one line in TREATMENTS.

A variant is a named set; `baseline` is the empty one and `improved` the origin's bundle, which differs by cloud only
in how the
image reaches the node. `fast_download`, `baked_image` and `image_delivery` change one thing each.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.core.manifest import Serving
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.aks_artifact_streaming import AksArtifactStreaming
from airflow_llm_provisioning.core.treatments.bake_packages import BakePackages
from airflow_llm_provisioning.core.treatments.base import ServingPlan, Treatment
from airflow_llm_provisioning.core.treatments.bottlerocket_snapshot import BottlerocketSnapshot
from airflow_llm_provisioning.core.treatments.fast_download import FastDownload
from airflow_llm_provisioning.core.treatments.gke_image_streaming import GkeImageStreaming
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ConfigurationError

# In the order they are applied: what is installed must be known before it is baked.
TREATMENTS: Final[tuple[Treatment, ...]] = (
    FastDownload(),
    BakePackages(),
    BottlerocketSnapshot(),
    GkeImageStreaming(),
    AksArtifactStreaming(),
)

IMAGE_DELIVERY: Final = frozenset({"bottlerocket_snapshot", "gke_image_streaming", "aks_artifact_streaming"})

VARIANTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "baseline": frozenset(),
        "fast_download": frozenset({"fast_download"}),
        "baked_image": frozenset({"bake_packages"}),
        "image_delivery": IMAGE_DELIVERY,
        "improved": frozenset({"fast_download", "bake_packages"}) | IMAGE_DELIVERY,
    }
)


def treatments_of(variant: str, cloud: str) -> tuple[Treatment, ...]:
    """Return a variant's treatments on a cloud, in the order they are applied, or say why it is impossible there."""
    if variant not in VARIANTS:
        raise ConfigurationError(f"Variant {variant!r} is unknown: choose one of {', '.join(VARIANTS)}.")
    wanted = VARIANTS[variant]
    chosen = tuple(t for t in TREATMENTS if t.name in wanted and (not t.clouds or cloud in t.clouds))
    if wanted & IMAGE_DELIVERY and not any(t.name in IMAGE_DELIVERY for t in chosen):
        raise ConfigurationError(
            f"Variant {variant!r} is impossible on {cloud!r}: it needs one of {', '.join(sorted(IMAGE_DELIVERY))}, "
            "and none of them exists there."
        )
    return chosen


def undeclared(view: TraceView, declared: Collection[str]) -> tuple[str, ...]:
    """Return what says of a trial that it had an acceleration which is not among its declared treatments."""
    delivered = bool(IMAGE_DELIVERY & set(declared))
    absent = (t for t in TREATMENTS if t.name not in declared and not (delivered and t.name in IMAGE_DELIVERY))
    return tuple(dict.fromkeys(found for treatment in absent if (found := treatment.undeclared(view))))


def check_target(target: Target) -> None:
    """Raise a ConfigurationError where a target cannot run one of its variants as that variant is meant."""
    for variant in target.variants:
        needed = next((t.delivery for t in treatments_of(variant, target.cloud) if t.delivery), "pull")
        if needed != target.delivery:
            raise ConfigurationError(
                f"Target {target.name!r} delivers images by {target.delivery}, and variant {variant!r} needs {needed}: "
                "give the variant a target of its own."
            )


def plan_serving(workload: Workload, variant: str, cloud: str) -> ServingPlan:
    """Return what a variant serves on a cloud: the image to build (if any), and what is left for the start."""
    plan = ServingPlan(recipe=workload.image, pip=workload.runtime_pip)
    for treatment in treatments_of(variant, cloud):
        plan = treatment.change(plan, workload)
    return plan


def preparation_steps(variant: str, cloud: str) -> tuple[str, ...]:
    """Return the steps a target needs before a variant's trials, in order, each once."""
    steps = (step for treatment in treatments_of(variant, cloud) for step in treatment.preparations)
    return tuple(dict.fromkeys(steps))


def serving(plan: ServingPlan, built_image: str | None, *, override: str | None = None) -> Serving:
    """Return what the pods of a trial run.

    `built_image`: the reference the preparation returned; `override`: an image of the user's, served whatever the
    recipe says.
    """
    if override:
        return Serving(image=override, pip=plan.pip, env=plan.env)
    if plan.own_image and built_image is None:
        raise ConfigurationError(
            "This variant serves an image of its own, and none was built for this target: run the preparation first."
        )
    image = built_image if plan.own_image and built_image else plan.recipe.base_reference
    return Serving(image=image, pip=plan.pip, env=plan.env)
