"""What Airflow does: it runs a DAG's own tasks, retries them, and restarts what was killed.

Workers and triggerers are processes of the machine. Airflow itself is trusted: what it keeps between two processes is
JSON in memory. Tasks, retries and retry policies are those of `dag_factory`.
"""

import asyncio
import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow.sdk import BaseOperator, RetryAction
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException, TaskDeferred
from airflow.sdk.serde import deserialize, serialize

from airflow_llm_provisioning.triggers.base import Wait
from crashes.machine import Ending, Machine

# Airflow starts a killed trigger again without end; here a defect that needs that is found.
_TRIGGER_LIVES: Final = 20
_KILLED_IS_SEEN_S: Final = 30.0


@dataclass
class TaskInstance:
    """What a task asks of its instance."""

    dag_id: str
    run_id: str
    task_id: str
    states: Mapping[str, str]
    map_index: int = -1
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep a value."""
        self.pushed[key] = _stored(value)

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        """Return {run_id: {task_id: state}}."""
        return {run: {task: self.states[task] for task in task_ids if task in self.states} for run in run_ids}


class StateStore(dict[str, Any]):
    """What Airflow keeps from one try to the next."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        self[key] = _stored(value)


@dataclass
class DagRun:
    """One run: the states and results of its tasks."""

    loop: Machine
    dag_id: str
    run_id: str
    states: dict[str, str] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """What Airflow's database would hold beside results: rendered fields, arguments and events of triggers, what a task
    keeps from try to try.
    """

    async def task(self, task: BaseOperator) -> str:
        """Run a task to its end, with its retries; return its state."""
        context: dict[str, Any] = {
            "ti": TaskInstance(self.dag_id, self.run_id, task.task_id, self.states),
            "task_state_store": StateStore(),
        }
        for number in range(1, (task.retries or 0) + 2):
            ending = await self._try(task, context)
            self._keep(context["ti"].pushed, context["task_state_store"])
            if ending.error is None and not ending.killed:
                self.results[task.task_id] = ending.value
                return self._ended(task, "success")
            if isinstance(ending.error, AirflowSkipException):
                return self._ended(task, "skipped")
            if ending.error is not None:
                self.errors.append(f"{task.task_id}: {type(ending.error).__name__}: {ending.error}")
                if _is_final(task, ending.error, number, context):
                    break
            await asyncio.sleep(task.retry_delay.total_seconds() + (_KILLED_IS_SEEN_S if ending.killed else 0.0))
        return self._ended(task, "failed")

    def _ended(self, task: BaseOperator, state: str) -> str:
        self.states[task.task_id] = state
        return state

    async def _try(self, task: BaseOperator, context: Any) -> Ending:
        this = self._rendered(task)
        self._keep({name: str(getattr(this, name)) for name in task.template_fields})
        ending = await self.loop.start(f"worker {task.task_id}", lambda: this.execute(context)).ended
        while isinstance(ending.error, TaskDeferred):
            deferred = ending.error
            event = await self._triggered(task, deferred)
            self._keep(event)
            resume = functools.partial(getattr(self._rendered(task), deferred.method_name), context, event)
            ending = await self.loop.start(f"worker {task.task_id} resumed", resume).ended
        return Ending(_stored(ending.value), ending.error, ending.killed)

    async def _triggered(self, task: BaseOperator, deferred: TaskDeferred) -> Any:
        path, arguments = deferred.trigger.serialize()
        module, _, name = path.rpartition(".")
        kept = _stored(serialize(arguments))
        self._keep(kept)
        for _ in range(_TRIGGER_LIVES):
            again: Any = deserialize(kept)
            trigger = getattr(__import__(module, fromlist=[name]), name)(**again)
            ending = await self.loop.start_async(f"triggerer {task.task_id}", functools.partial(_event, trigger)).ended
            if not ending.killed:
                if ending.error is not None:
                    raise ending.error
                return ending.value
            await asyncio.sleep(_KILLED_IS_SEEN_S)
        raise AssertionError(f"the trigger of {task.task_id} was killed {_TRIGGER_LIVES} times")

    def _keep(self, *values: Any) -> None:
        self.kept += [json.dumps(value, default=str) for value in values if value]

    def _rendered(self, task: BaseOperator) -> Any:
        """Return the task of a new process, its arguments filled in from the results of others."""
        this = copy.copy(task)
        for name in task.template_fields:
            object.__setattr__(this, name, self._filled(getattr(task, name)))
        return this

    def _filled(self, value: Any) -> Any:
        if isinstance(value, PlainXComArg):
            return copy.deepcopy(self.results.get(value.operator.task_id))
        return value


async def _event(trigger: Wait) -> Any:
    async for event in trigger.run():
        return _stored(event.payload)
    raise AssertionError("the trigger ended without an event")


def _is_final(task: BaseOperator, error: BaseException, number: int, context: Any) -> bool:
    if isinstance(error, (AirflowFailException, AirflowSensorTimeout)):
        return True
    policy = getattr(task, "retry_policy", None)
    if policy is None:
        return False
    return bool(policy.evaluate(error, number, task.retries or 0, context).action is RetryAction.FAIL)


def _stored(value: Any) -> Any:
    return json.loads(json.dumps(value))
