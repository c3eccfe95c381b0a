"""A planned trial -> the RayService that is applied. Every task renders it anew from the experiment, because a manifest
may hold what must not travel through XCom.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import manifest_diff, place, with_identity
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.treatments import DeploymentPlan, deployed_manifest, plan_deployment
from airflow_llm_provisioning.core.trial import Served, Trial
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload
from airflow_llm_provisioning.exceptions import ConflictError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a trial applies. `image`: the reference that its Ray containers are given; the head's, where they differ.
    `companions`: what is created beside the RayService (`core.companions`).
    """

    manifest: dict[str, Any]
    image: str
    plan: DeploymentPlan
    workload: Workload
    companions: tuple[Mapping[str, Any], ...] = ()

    @property
    def content(self) -> str:
        """Fingerprint of the manifest and its companions, to the letter."""
        beside = {"companions": [dict(item) for item in self.companions]} if self.companions else {}
        return fingerprint({**self.manifest, **beside}, 16)


def served_workload(experiment: Experiment, served: Served) -> Workload:
    """Return the workload of a trial, with what a form changed and with the model that the plan resolved."""
    workload = experiment.workload(served.workload)
    if image := served.overrides.get("image"):
        workload = workload.with_image(image)
    return workload.with_model(served.model) if served.model else workload


def plan_of(experiment: Experiment, trial: Trial) -> tuple[Workload, DeploymentPlan]:
    """Return what a trial deploys before its image is known: its workload and its changed manifest."""
    target, workload = experiment.target(trial.target), served_workload(experiment, trial.served)
    treatments = experiment.treatments(trial.arm.variant, target.cloud)
    return workload, plan_deployment(workload, treatments, ScalingSetup(trial.stratum.setup), target)


def render(experiment: Experiment, trial: Trial, *, built_image: str | None, labels: Mapping[str, str]) -> Rendered:
    """Return the RayService of a trial, placed on its target's nodes, with `labels` on it and on every pod of it.

    `built_image`: the reference that the preparation made, None where there is none. A ConfigurationError says which
    preparation is missing.
    """
    target = experiment.target(trial.target)
    workload, plan = plan_of(experiment, trial)
    manifest = deployed_manifest(plan, workload, built_image)
    autoscaler = AUTOSCALERS[target.nodes.autoscaler]
    manifest = place(
        manifest,
        head=autoscaler.placement(target.nodes, "head"),
        workers=autoscaler.placement(target.nodes, "worker"),
    )
    named = with_identity(manifest, name=manifest["metadata"]["name"], namespace=target.namespace, labels=labels)
    image = built_image if plan.own_image and built_image else plan.recipe.base_reference
    treatments = experiment.treatments(trial.arm.variant, target.cloud)
    companions = tuple(one for item in treatments for one in item.companions(named))
    return Rendered(named, image, plan, workload, companions)


def changes(experiment: Experiment, trial: Trial, manifest: Mapping[str, Any]) -> str:
    """Return what a trial's manifest changes in the workload's own, as a diff without secrets; a sentence if
    nothing.
    """
    own = served_workload(experiment, trial.served).manifest
    return manifest_diff(own, manifest) or "Nothing is changed."


def render_again(experiment: Experiment, trial: Trial) -> Rendered:
    """Return what an opened trial applies. A ConflictError says that the experiment changed since it was opened."""
    opened = trial.opened
    if opened is None:
        raise ConflictError(f"Trial {trial.trial_id} was not opened, so there is nothing to apply.")
    rendered = render(experiment, trial, built_image=opened.prepared.image, labels=opened.labels)
    if rendered.content != opened.manifest_content:
        raise ConflictError(
            f"Trial {trial.trial_id} was opened with another manifest of workload {trial.served.workload!r} "
            f"({opened.manifest_content}, now {rendered.content}): the experiment file was changed meanwhile. Clear "
            "the whole trial."
        )
    return rendered
