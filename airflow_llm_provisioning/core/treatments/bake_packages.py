"""Baked packages: what the base image lacks is in the image, so that Ray installs nothing at start.

Without it pip runs twice in series: on the head before the application is built, then on the worker (Ray 2.33 and
2.60).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from airflow_llm_provisioning.core.experiment import Delivery
from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.image_arrival import image_digest, images_of
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import ServingPlan
from airflow_llm_provisioning.core.verdicts import Value, Verdict, all_of, runtime_pip_seen
from airflow_llm_provisioning.core.workload import Workload

_ANYWHERE: frozenset[str] = frozenset()
_NOT: Final[Mapping[Value, Value]] = {"yes": "no", "no": "yes", "unknown": "unknown"}


class BakePackages:
    """Move what would be installed at start into the image."""

    name = "bake_packages"
    clouds = _ANYWHERE
    preparations: tuple[str, ...] = ("build_image",)
    delivery: Delivery | None = None
    claims: tuple[str, ...] = ()

    def change(self, plan: ServingPlan, workload: Workload) -> ServingPlan:
        """Add the packages to the recipe and take them from the start."""
        recipe = replace(plan.recipe, pip=(*plan.recipe.pip, *plan.pip), env={**plan.recipe.env, **plan.env})
        return replace(plan, recipe=recipe, pip=(), own_image=True)

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the image that was built is the one that ran, and nothing was installed at start."""
        at_start = runtime_pip_seen(view)
        nothing = Verdict(self.name, _NOT[at_start.value], at_start.evidence)
        return all_of(self.name, [nothing, ran_prepared_image(view)])

    def undeclared(self, view: TraceView) -> str | None:
        """Return None: an image that is not the variant's own is told by `variant_image`."""
        return None


def ran_prepared_image(view: TraceView) -> Verdict:
    """Say whether head and worker ran the image that the preparation made: by digest where both are known, else by
    reference.
    """
    pods = [pod for pod in (view.head, view.worker) if pod]
    prepared = text(dig(view.trial, "prepared", "image"))
    digest = text(dig(view.trial, "prepared", "digest"))
    if len(pods) < 2 or not prepared:
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
