"""Baked packages: what the base image lacks is in the image, so that Ray installs nothing at start.

Without it pip runs twice in series: on the head before the application is built, then on the worker (Ray 2.33 and
2.60).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, adds, becomes, roles_of
from airflow_llm_provisioning.core.image_arrival import image_digest, images_of
from airflow_llm_provisioning.core.manifests import runtime_pip, without_runtime_pip
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.delivered import needs_one_image
from airflow_llm_provisioning.core.treatments.effect_ranges import (
    BAKED_BYTES,
    LAZY,
    pulled_from_own_registry,
    vllm_first_touch,
)
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE
from airflow_llm_provisioning.core.verdicts import Value, Verdict, all_of, runtime_pip_seen
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ManifestError

_LEFT_S: Final = Between(0.0, 6.0, "assumed: an environment without packages fetches code and starts a process")
_NOTHING: Final = Between(0.0, 0.0, "packages in the image are imported from the same disk")
_SAME: Final = (adds("app_build", _NOTHING), adds("engine_start", _NOTHING))

_NOT: Final[Mapping[Value, Value]] = {"yes": "no", "no": "yes", "unknown": "unknown"}


class BakePackages(BaseTreatment):
    """Move what would be installed at start into the image."""

    name = "bake_packages"
    order = 20
    steps = (BUILD_IMAGE,)

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the workload's packages cannot be baked: several images, or an environment that is not pip."""
        try:
            runtime_pip(workload.manifest)
        except ManifestError as error:
            return (str(error), *needs_one_image(self.name, workload))
        return needs_one_image(self.name, workload)

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Add the packages to the recipe and take them from the start."""
        pip = (*plan.recipe.pip, *runtime_pip(plan.manifest))
        recipe = replace(plan.recipe, pip=pip, env={**plan.recipe.env, **plan.env})
        return replace(plan, manifest=without_runtime_pip(plan.manifest), recipe=recipe, own_image=True)

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that nothing is installed at start, and that a larger image comes from the cloud's own registry. Where
        that image is read lazily, the packages are read at their import.
        """
        left = [becomes(phase, _left(facts.seconds.get(phase, 0.0))) for phase in roles_of("runtime_env")]
        if facts.treatments & LAZY:
            # What a delivery that is added as well changes is its own effect.
            read = vllm_first_touch(facts.cloud) if facts.measured & LAZY else _SAME
            return Effect((*left, *read), ("the packages that are baked are vLLM's",))
        pull = pulled_from_own_registry(facts, BAKED_BYTES)
        if pull is None:
            return None
        return Effect((*left, becomes("image_pull", pull), *_SAME))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the image that was built is the one that ran, and nothing was installed at start."""
        at_start = runtime_pip_seen(view)
        nothing = Verdict(self.name, _NOT[at_start.value], at_start.evidence)
        return all_of(self.name, [nothing, ran_prepared_image(view)])


def _left(measured_s: float) -> Between:
    """Return what is left of a runtime environment: never more than it took."""
    return Between(0.0, min(_LEFT_S.high, measured_s), _LEFT_S.source)


def ran_prepared_image(view: TraceView) -> Verdict:
    """Say whether the head and every pod of the engine ran the image that the preparation made: by digest where both
    are known, else by reference.
    """
    pods = view.serving_pods
    planned = PlannedFacts.of(view.trial)
    prepared, digest = planned.prepared_image, planned.prepared_digest
    if view.head is None or not view.engine_pods or not prepared:
        return Verdict("prepared_image", "unknown", ("The pods, or what was prepared, are not known.",))
    parts = []
    for pod in pods:
        ran = image_digest(pod)
        if digest and ran:
            same = ran == digest
            parts.append(
                Verdict(
                    "prepared_image", "yes" if same else "no", (f"Pod {pod.name} ran {ran}; prepared was {digest}.",)
                )
            )
        else:
            same = prepared in images_of(pod)
            known: Value = "unknown" if same else "no"
            parts.append(
                Verdict(
                    "prepared_image",
                    known,
                    (f"Pod {pod.name} runs {', '.join(images_of(pod))}; its digest was not seen.",),
                )
            )
    return all_of("prepared_image", parts)
