"""Treatments: accelerations that change a deployment, each in a file of its own here or in another distribution.

A variant is a named list of treatments. A name in it may also be a group of alternatives (`image_delivery`): each cloud
has its own member.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from airflow_llm_provisioning.core.manifests import with_image
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan, Step, StepContext, Treatment
from airflow_llm_provisioning.core.treatments.delivered import IMAGE_DELIVERY
from airflow_llm_provisioning.core.treatments.registry import (
    OWN,
    find_treatment,
    forget_installed,
    groups,
    ignored_treatments,
    known_treatments,
    treatment,
)
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload
from airflow_llm_provisioning.exceptions import ConfigurationError

__all__ = [
    "IMAGE_DELIVERY",
    "BaseTreatment",
    "DeploymentPlan",
    "Step",
    "StepContext",
    "Treatment",
    "deployed_manifest",
    "find_treatment",
    "forget_installed",
    "groups",
    "ignored_treatments",
    "impossible",
    "kept_warm",
    "known_treatments",
    "not_declared",
    "plan_deployment",
    "resolved",
    "steps_of",
    "treated_nodes",
    "treatment",
    "undeclared",
    "vain",
]


def resolved(names: Iterable[str], cloud: str) -> tuple[Treatment, ...]:
    """Return a variant's treatments on a cloud, in the order they are applied, or say why they are impossible there.

    `names`: treatments, or groups of alternatives of which the cloud's own member is taken.
    """
    chosen = {item.name: item for name in names for item in (_on_cloud(name, cloud),)}
    return tuple(sorted(chosen.values(), key=lambda item: (item.order, item.name)))


def _on_cloud(name: str, cloud: str) -> Treatment:
    members = groups().get(name)
    if members is None:
        chosen = treatment(name)
        if chosen.clouds and cloud not in chosen.clouds:
            raise ConfigurationError(
                f"Treatment {name!r} exists on {', '.join(sorted(chosen.clouds))}, not on {cloud!r}."
            )
        return chosen
    here = [item for item in members if not item.clouds or cloud in item.clouds]
    # What the built-in variants mean on a cloud does not depend on what else is installed.
    here = [item for item in here if item in OWN] or here
    if len(here) != 1:
        told = "none of them exists there" if not here else f"{', '.join(item.name for item in here)} exist there"
        raise ConfigurationError(
            f"{name!r} stands for one of {', '.join(item.name for item in members)}, and on {cloud!r} {told}: name the "
            "treatment that is meant."
        )
    return here[0]


def impossible(treatments: Iterable[Treatment], target: Target, workload: Workload) -> tuple[str, ...]:
    """Return every reason why these treatments are impossible with a target's nodes and a workload, in sentences."""
    return tuple(sentence for item in treatments for sentence in _reasons(item, target, workload))


def _reasons(item: Treatment, target: Target, workload: Workload) -> Iterator[str]:
    yield from item.requires(target.nodes, workload)
    # Not part of what another package must have.
    of_target = getattr(item, "requires_of", None)
    if callable(of_target):
        yield from of_target(target, workload)


def vain(treatments: Iterable[Treatment], setup: ScalingSetup) -> tuple[str, ...]:
    """Return why treatments can change nothing in a set-up, in sentences without a full stop."""
    # Not part of what another package must have.
    asked = (getattr(item, "vain_in", None) for item in treatments)
    return tuple(told for ask in asked if callable(ask) and (told := ask(setup)))


def treated_nodes(nodes: NodeProfile, treatments: Iterable[Treatment]) -> NodeProfile:
    """Return the nodes with what each treatment changes."""
    for item in treatments:
        nodes = item.nodes(nodes)
    return nodes


def plan_deployment(
    workload: Workload,
    treatments: Iterable[Treatment],
    setup: ScalingSetup | None = None,
    target: Target | None = None,
) -> DeploymentPlan:
    """Return what a variant deploys: the changed RayService, and what its image is built from."""
    plan = DeploymentPlan.of(workload, setup, target)
    for item in treatments:
        plan = item.change(plan, workload)
    return plan


def deployed_manifest(plan: DeploymentPlan, workload: Workload, built_image: str | None) -> Mapping[str, object]:
    """Return the RayService with the image that was built for it. `built_image`: the reference the build returned."""
    if not plan.own_image:
        pulled = plan.recipe.base_reference
        return plan.manifest if pulled in workload.images else with_image(plan.manifest, {workload.images[0]: pulled})
    if built_image is None:
        raise ConfigurationError(
            f"Workload {workload.name!r} needs an image in the target's own registry here, and none was built for this "
            "target: run its preparation first."
        )
    return with_image(plan.manifest, dict.fromkeys(workload.images, built_image))


def steps_of(treatments: Iterable[Treatment]) -> tuple[Step, ...]:
    """Return the preparation steps of treatments, each once, in order. Two different steps of one name are refused."""
    found: dict[str, Step] = {}
    for item in treatments:
        for step in item.steps:
            known = found.setdefault(step.name, step)
            if known != step:
                raise ConfigurationError(
                    f"Treatment {item.name!r} and another one each have a preparation step {step.name!r}, and they "
                    "differ: give one of them another name."
                )
    return tuple(found.values())


def kept_warm(names: Iterable[str]) -> tuple[str, ...]:
    """Return what treatments make old on purpose, each kind once; of a treatment that is not installed nothing is
    known.
    """
    known = known_treatments()
    return tuple(dict.fromkeys(kind for name in names if name in known for kind in known[name].keeps_warm))


def undeclared(view: TraceView, declared: Collection[str]) -> tuple[str, ...]:
    """Return what says of a trial that it had an acceleration which is not among its declared treatments."""
    return tuple(dict.fromkeys(found for item in not_declared(declared) if (found := item.undeclared(view))))


def not_declared(declared: Collection[str]) -> Iterator[Treatment]:
    """Yield the known treatments that a trial does not declare, nor an alternative to them."""
    known = known_treatments()
    given = [known[name] for name in declared if name in known]
    declared_groups = {item.group or getattr(item, "alternative_to", None) for item in given} - {None}
    for item in known.values():
        if item.name not in declared and item.group not in declared_groups:
            yield item
