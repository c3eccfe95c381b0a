"""One place decides where a wait runs: in the triggerer (a waiting trial holds no worker slot) or in the worker."""

import asyncio
from abc import abstractmethod
from datetime import timedelta
from typing import Any, ClassVar, Final

from airflow.sdk import Context

from airflow_llm_provisioning.compat import BaseOperator
from airflow_llm_provisioning.triggers.base import Wait, default_deferrable, first_event

# What Airflow passes to a task whose deferral timed out (airflow.sdk 1.3, bases/operator.py: TRIGGER_FAIL_REPR,
# TriggerFailureReason.TRIGGER_TIMEOUT).
_FAILED: Final = "__fail__"
_TIMED_OUT: Final = "Trigger timeout"


class Waiting:
    """What an operator or sensor needs that starts something and then waits for it. Mixed into a BaseOperator.

    What is needed after the wait travels in the trigger's arguments and its event: the process that resumes is a new
    one.
    """

    deferrable: bool
    # Whether the wait has a time limit of its own and reads the cluster before it: then it may be run once more after
    # Airflow's limit for the deferral, which counts although no triggerer was there (apache/airflow #40018).
    looks_again: ClassVar[bool] = False

    def choose_deferrable(self, deferrable: bool | None) -> None:
        """Store where to wait; None: Airflow's `[operators] default_deferrable`."""
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    def wait_for(self, context: Context, wait: Wait, *, at_most: timedelta) -> Any:
        """Wait and return what `resume` makes of the outcome. `at_most` bounds it from outside, in real time."""
        if self.deferrable:
            self.defer(trigger=wait, method_name="resume", timeout=at_most)  # type: ignore[attr-defined] # BaseOperator
        return self.resume(context, asyncio.run(first_event(wait, at_most)))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after the trigger's event; after Airflow's limit look once in the worker before failing."""
        if self.looks_again and next_method == _FAILED and (next_kwargs or {}).get("error") == _TIMED_OUT:
            self.log.warning(  # type: ignore[attr-defined] # BaseOperator
                "The deferral's limit has passed without an event of the triggerer: the cluster is asked here."
            )
            self.deferrable = False
            return self.execute(context)  # type: ignore[attr-defined] # BaseOperator
        return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc] # BaseOperator

    @abstractmethod
    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Return the task's result, or raise what went wrong."""


class WaitingOperator(Waiting, BaseOperator):
    """An operator that starts something and then waits for it.

    :param deferrable: wait in the triggerer; the default is Airflow's `[operators] default_deferrable`.
    """

    def __init__(self, *, deferrable: bool | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choose_deferrable(deferrable)
