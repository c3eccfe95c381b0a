"""Runs operators without a scheduler: in the worker, or through the triggerer's way with everything stored between."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred
from airflow_names import deserialize, serialize
from cluster_in_background import simulated_target

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.operators.experiment import PlanTrials
from airflow_llm_provisioning.operators.ray_service import ApplyRayService
from airflow_llm_provisioning.operators.trial import CloseTrial, OpenTrial
from airflow_llm_provisioning.sensors.serve_endpoint import WaitServeEndpoint
from airflow_llm_provisioning.triggers.base import Wait


@dataclass
class FakeTaskInstance:
    """What the operators ask of a task instance. `states`: what Airflow would say of other tasks."""

    task_id: str = "t"
    dag_id: str = "nightly"
    run_id: str = "run-1"
    map_index: int = -1
    states: dict[str, str] = field(default_factory=dict)
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep what Airflow would store."""
        self.pushed[key] = json.loads(json.dumps(value))

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        """Answer as the task SDK does: {run_id: {task_id: state}}."""
        return {run: {task: self.states[task] for task in task_ids if task in self.states} for run in run_ids}


class FakeStateStore(dict[str, Any]):
    """What Airflow keeps for a task from one try to the next."""

    def set(self, key: str, value: Any) -> None:
        """Keep what Airflow would store."""
        self[key] = json.loads(json.dumps(value))


def context(task_id: str = "t", run_id: str = "run-1", **states: str) -> Any:
    """Return an execution context."""
    ti = FakeTaskInstance(task_id=task_id, run_id=run_id, states=states)
    return {"ti": ti, "task_state_store": FakeStateStore()}


def stored(value: Any) -> Any:
    """Return what comes out of XCom after this went in; fails on what is no JSON."""
    return json.loads(json.dumps(value))


def as_stored(deferred: TaskDeferred) -> Wait:
    """Return the trigger that a triggerer makes of what the database keeps."""
    path, kwargs = deferred.trigger.serialize()
    module, _, name = path.rpartition(".")
    kept = json.loads(json.dumps(serialize(kwargs)))
    trigger = getattr(__import__(module, fromlist=[name]), name)(**deserialize(kept))
    assert isinstance(trigger, Wait)
    return trigger


async def event_of(trigger: Wait) -> Any:
    """Return the first event's payload, as the database keeps it."""
    async for event in trigger.run():
        return json.loads(json.dumps(event.payload))
    raise AssertionError("the trigger ended without an event")


def run(operator: Any, ctx: Any = None, resumed_as: Any = None) -> Any:
    """Run an operator to its end, through the triggerer where it defers; `resumed_as`: the instance that resumes."""
    ctx = ctx or context()
    try:
        return stored(operator.execute(ctx))
    except TaskDeferred as deferred:
        if deferred.timeout is None:
            raise AssertionError("nothing bounds a wait without a timeout of its own") from None
        event = asyncio.run(event_of(as_stored(deferred)))
        return stored(getattr(resumed_as or operator, deferred.method_name)(ctx, event))


def experiment(**target: Any) -> Experiment:
    """Return an experiment of one simulated target."""
    return Experiment("nightly", (simulated_target(**target),), replicates=1)


def planned(setup: str = "static", variant: str = "baseline", slot: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a planned trial on the simulated target. `fields`: the form's `image`; others are the target's."""
    overrides = {key: fields.pop(key) for key in ("image",) if fields.get(key)}
    whole = experiment(**fields)
    for workload in whole.workloads if overrides else ():
        whole = whole.with_workload(workload.with_image(overrides["image"]))
    one = whole.narrowed(target="plain", workload="phi3-2025", setup=setup, variant=variant)
    (trial,) = one.plan(1, dag_id="nightly", run_id="run-1")
    served = replace(trial.served, overrides=overrides)
    return replace(trial, slot=replace(trial.slot, number=slot), served=served).as_dict()


def open_trial(ctx: Any = None, **fields: Any) -> dict[str, Any]:
    """Open a trial on the simulated target."""
    timeout_s, lock_wait_s = fields.pop("timeout_s", 3600), fields.pop("lock_wait_s", 0)
    run_id = ctx["ti"].run_id if ctx else "run-1"
    plan = planned(**fields)
    plan["slot"]["run_id"] = run_id
    target = {key: value for key, value in fields.items() if key not in ("setup", "variant", "slot", "image")}
    operator = OpenTrial(
        task_id="open",
        planned=plan,
        experiment=experiment(**target),
        timeout_s=timeout_s,
        lock_wait_s=lock_wait_s,
    )
    opened: dict[str, Any] = run(operator, ctx)
    return opened


def close_trial(trial: dict[str, Any], ctx: Any = None, *, deferrable: bool = False, **fields: Any) -> dict[str, Any]:
    """Close a trial."""
    operator = CloseTrial(
        task_id="close", trial=trial, apply_task_id="apply", wait_task_id="wait", deferrable=deferrable, **fields
    )
    closed: dict[str, Any] = run(operator, ctx)
    return closed


def apply(trial: dict[str, Any], ctx: Any = None) -> dict[str, Any]:
    """Apply a trial's RayService."""
    applied: dict[str, Any] = run(ApplyRayService(task_id="apply", trial=trial, experiment=experiment()), ctx)
    return applied


def wait(trial: dict[str, Any], applied: dict[str, Any], *, deferrable: bool = False) -> dict[str, Any]:
    """Wait for a trial's endpoint."""
    operator = WaitServeEndpoint(task_id="wait", rayservice=applied, trial=trial, deferrable=deferrable)
    waited: dict[str, Any] = run(operator)
    return waited


def plan(ctx: Any, **fields: Any) -> dict[str, Any]:
    """Draw a plan; what each slot got is in the context's task instance."""
    drawn: dict[str, Any] = run(PlanTrials(task_id="plan", **fields), ctx)
    return drawn
