"""What every target needs before its trials, and what is asked before that costs money.

The steps come from the treatments of the target's variants: this file knows none of them by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any

from airflow.sdk import BaseOperator, TaskGroup, chain

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import place
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.core.recipe import ImageRecipe
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import Step, StepContext, plan_deployment, steps_of
from airflow_llm_provisioning.dag_factory.wiring import OUTLASTS_KILLS, group_key, output
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.operators import SetUpNodes
from airflow_llm_provisioning.operators.experiment import Preflight


def preflight(experiment: Experiment, *, results_conn_id: str = DEFAULT_STORE) -> Preflight:
    """Add the task that lists everything wrong with an experiment's targets, at once and before money is spent."""
    return Preflight(task_id="preflight", experiment=experiment, results_conn_id=results_conn_id)


def preparation(experiment: Experiment, *, results_conn_id: str = DEFAULT_STORE) -> TaskGroup:
    """Add what every target of an experiment needs before its trials, targets side by side."""
    again = dict(OUTLASTS_KILLS)
    with TaskGroup("prepare", default_args=again) as group:  # type: ignore[arg-type] # attrs hides what it converts
        for target in experiment.targets:
            with TaskGroup(group_key(target.name)):
                _prepare_target(experiment, target, results_conn_id)
    return group


def _prepare_target(experiment: Experiment, target: Target, results_conn_id: str) -> None:
    variants = {variant: experiment.treatments(variant, target.cloud) for variant in target.variants}
    steps = steps_of(item for treatments in variants.values() for item in treatments)
    images = _images(experiment, target)
    known: dict[str, Any] = {"results_conn_id": results_conn_id}
    prepared: Any = {}
    chained: list[Any] = []
    for step in (item for item in steps if item.before_nodes):
        tasks = _tasks(step, target, images, known)
        if step.gives_image:
            results = iter(map(output, tasks))
            images = [replace(image, result=next(results)) if image.built else image for image in images]
        if step.gives_nodes:
            prepared = output(tasks[0])
        chained.append(tasks)
    chained.append(_set_up_nodes(target, prepared, results_conn_id))
    chained += [_tasks(step, target, images, known) for step in steps if not step.before_nodes]
    _chain(chained)


@dataclass(frozen=True, slots=True)
class _Image:
    """One image of a target. `result`: what later steps are given: of its build, or as the manifest names it.
    `manifest`: the first RayService that is served with it; `wanting`: step -> those of the variants that want it.
    """

    recipe: ImageRecipe
    built: bool
    result: Any
    manifest: Mapping[str, Any]
    wanting: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)


def _images(experiment: Experiment, target: Target) -> list[_Image]:
    """Return the images of a target's variants, each once: those that are built, and those that its pods pull."""
    found: dict[str, _Image] = {}
    for workload in experiment.workloads_on(target):
        for variant in target.variants:
            treatments = experiment.treatments(variant, target.cloud)
            plan = plan_deployment(workload, treatments, target=target)
            plain = {"image": plan.recipe.base_reference}
            image = _Image(plan.recipe, plan.own_image, {} if plan.own_image else plain, plan.manifest)
            image = found.setdefault(f"{plan.recipe.content}-{plan.own_image}", image)
            for step in steps_of(treatments):
                image.wanting.setdefault(step.name, []).append(plan.manifest)
    return list(found.values())


def _tasks(step: Step, target: Target, images: Sequence[_Image], known: Mapping[str, Any]) -> list[BaseOperator]:
    """Return a step's tasks: one for each image of the target, or one."""
    built = [image for image in images if image.built]
    chosen = built or list(images)
    if step.gives_nodes and len(chosen) > 1:
        raise ConfigurationError(
            f"Target {target.name!r}: its workloads and variants need {len(chosen)} different images, and the result "
            f"of {step.name} is part of its nodes, so there can be one only: give each image a target of its own."
        )
    if step.gives_image:
        chosen = built
    elif not step.per_image:
        chosen = _one_of(step, target, images)
    operator = _operator(step)
    return [
        operator(
            task_id=step.name if len(chosen) == 1 else f"{step.name}_{image.recipe.content}",
            **step.arguments(
                StepContext(
                    target,
                    image.recipe,
                    image.result,
                    partial(_pools, target),
                    partial(_placed, target, image.manifest),
                    partial(_served, step, target, images),
                )
            ),
            **known,
        )
        for image in chosen
    ]


def _one_of(step: Step, target: Target, images: Sequence[_Image]) -> list[_Image]:
    """Return the image of a step that runs once for the target: the first of a variant that wants it."""
    wanting = [image for image in images if step.name in image.wanting]
    if step.one_image and len(wanting) > 1:
        raise ConfigurationError(
            f"Target {target.name!r}: the variants that want {step.name} need {len(wanting)} different images, and "
            "what it makes is of one image: give each image a target of its own."
        )
    return wanting[:1]


def _operator(step: Step) -> type[BaseOperator]:
    module, _, name = step.operator.partition(":")
    try:
        found: type[BaseOperator] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"Preparation step {step.name!r} names the operator {step.operator!r}, which cannot be imported: {error}."
        ) from error
    return found


def _pools(target: Target) -> tuple[str, ...]:
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS

    return tuple(pool["name"] for pool in AUTOSCALERS[target.nodes.autoscaler].setup(target.nodes).cloud_pools)


def _placed(target: Target, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a RayService on the target's nodes."""
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS

    autoscaler = AUTOSCALERS[target.nodes.autoscaler]
    marks = {group: autoscaler.placement(target.nodes, group) for group in ("head", "worker")}
    return place(manifest, head=marks["head"], workers=marks["worker"])


def _served(step: Step, target: Target, images: Sequence[_Image]) -> tuple[tuple[Any, Mapping[str, Any]], ...]:
    """Return image and RayService of every variant that wants a step."""
    wanting = ((image, manifest) for image in images for manifest in image.wanting.get(step.name, ()))
    return tuple((image.result, _placed(target, manifest)) for image, manifest in wanting)


def _set_up_nodes(target: Target, prepared: Any, results_conn_id: str) -> SetUpNodes:
    return SetUpNodes(
        task_id="set_up_nodes",
        target=target.as_dict(),
        prepared=prepared,
        files_dir=target.options.get("node_files_dir"),
        results_conn_id=results_conn_id,
    )


def _chain(parts: Iterable[Any]) -> None:
    """Chain tasks and lists of tasks; two lists that follow each other are joined pairwise, or all with all."""
    previous: Sequence[BaseOperator] = ()
    for part in parts:
        tasks = [part] if isinstance(part, BaseOperator) else list(part)
        if not tasks:
            continue
        if previous:
            if len(previous) == len(tasks):
                chain(list(previous), tasks)
            else:
                for task in tasks:
                    chain(list(previous), task)
        previous = tasks
