"""One place decides where a wait runs: in the triggerer (a waiting trial holds no worker slot) or in the worker."""

import asyncio
from abc import abstractmethod
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context

from airflow_llm_provisioning import exceptions
from airflow_llm_provisioning.triggers.base import Wait


class WaitingOperator(BaseOperator):
    """An operator that starts something and then waits for it.

    What is needed after the wait travels in the trigger's arguments and its event: the process that resumes is a new
    one.

    :param deferrable: wait in the triggerer; the default is Airflow's `[operators] default_deferrable`.
    """

    def __init__(self, *, deferrable: bool | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    def wait_for(self, context: Context, wait: Wait, *, at_most: timedelta) -> Any:
        """Wait and return what `resume` makes of the outcome. `at_most` bounds it from outside, in real time."""
        if self.deferrable:
            self.defer(trigger=wait, method_name="resume", timeout=at_most)
        return self.resume(context, asyncio.run(first_event(wait, at_most)))

    @abstractmethod
    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Return the task's result, or raise what went wrong."""


def default_deferrable() -> bool:
    """Return Airflow's own setting."""
    from airflow.sdk import conf

    return conf.getboolean("operators", "default_deferrable", fallback=False)


async def first_event(wait: Wait, at_most: timedelta) -> dict[str, Any]:
    """Return a wait's outcome here and now."""
    async with asyncio.timeout(at_most.total_seconds()):
        async for event in wait.run():
            payload: dict[str, Any] = event.payload
            return payload
    raise RuntimeError(f"{type(wait).__name__} ended without an event")


def raise_error(event: dict[str, Any]) -> None:
    """Raise the error a wait reported, as the class it was."""
    if "error" in event:
        raise getattr(exceptions, event.get("error_type", ""), exceptions.ProvisioningError)(event["error"])
