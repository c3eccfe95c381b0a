"""What every target needs before its trials, and what is asked before that costs money.

The steps come from the treatments of the target's variants: this file knows none of them by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    `manifest`: the first RayService that is served with it.
    """

    recipe: ImageRecipe
    built: bool
    result: Any
    manifest: Mapping[str, Any]


def _images(experiment: Experiment, target: Target) -> list[_Image]:
    """Return the images that are built for a target, each once; where none is built, those that its pods pull."""
    found: dict[str, _Image] = {}
    for workload in experiment.workloads_on(target):
        for variant in target.variants:
            plan = plan_deployment(workload, experiment.treatments(variant, target.cloud), target=target)
            plain = {"image": plan.recipe.base_reference}
            image = _Image(plan.recipe, plan.own_image, {} if plan.own_image else plain, plan.manifest)
            found.setdefault(f"{plan.recipe.content}-{plan.own_image}", image)
    return [image for image in found.values() if image.built] or list(found.values())


def _tasks(step: Step, target: Target, images: Sequence[_Image], known: Mapping[str, Any]) -> list[BaseOperator]:
    """Return a step's tasks: one for each image of the target, or one."""
    if step.gives_nodes and len(images) > 1:
        raise ConfigurationError(
            f"Target {target.name!r}: its workloads and variants need {len(images)} different images, and the result "
            f"of {step.name} is part of its nodes, so there can be one only: give each image a target of its own."
        )
    chosen = [image for image in images if image.built] if step.gives_image else list(images)
    chosen = chosen if step.per_image else chosen[:1]
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
                )
            ),
            **known,
        )
        for image in chosen
    ]


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
