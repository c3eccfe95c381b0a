"""Which objects the treatments of a target make in its cluster, so that the rights for them can be asked for before
anything is prepared.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import plan_deployment, steps_of
from airflow_llm_provisioning.core.treatments.base import StepContext, Treatment
from airflow_llm_provisioning.core.workload import Workload

_PREPARE_OBJECTS: Final = "airflow_llm_provisioning.operators:PrepareObjects"
# `PrepareObjects` applies, looks at and replaces; what stands beside a RayService is created, and gone with it.
_PREPARED: Final = ("get", "create", "patch", "delete")
_BESIDE: Final = ("create",)


@dataclass(frozen=True, slots=True)
class WantedObject:
    """A kind of object that a treatment makes, and what it does with it. `namespace`: None for the
    target's own.
    """

    api_version: str
    kind: str
    verbs: tuple[str, ...]
    namespace: str | None = None


def wanted_objects(
    target: Target, variants: Iterable[Sequence[Treatment]], workloads: Iterable[Workload]
) -> list[WantedObject]:
    """Return the kinds of objects that the variants of a target make in its cluster, each once."""
    pairs = [(workload, treatments) for treatments in variants for workload in workloads]
    return list(dict.fromkeys(one for workload, chosen in pairs for one in _of_variant(target, chosen, workload)))


def _of_variant(target: Target, treatments: Sequence[Treatment], workload: Workload) -> Iterator[WantedObject]:
    plan = plan_deployment(workload, treatments, target=target)
    image = {"image": plan.recipe.base_reference}
    served = plan.manifest
    context = StepContext(target, plan.recipe, image, manifest=lambda: served, served=lambda: ((image, served),))
    for step in steps_of(treatments):
        if step.operator == _PREPARE_OBJECTS:
            for obj in items(step.arguments(context).get("objects")):
                yield _wanted(mapping(obj), _PREPARED)
    for setup in workload.offered_setups:
        manifest = plan_deployment(workload, treatments, setup, target).manifest
        for obj in (one for item in treatments for one in item.companions(manifest)):
            yield _wanted(obj, _BESIDE)


def _wanted(obj: Mapping[str, Any], verbs: tuple[str, ...]) -> WantedObject:
    namespace = text(mapping(obj.get("metadata")).get("namespace"))
    return WantedObject(text(obj.get("apiVersion")), text(obj.get("kind")), verbs, namespace or None)
