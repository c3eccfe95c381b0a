"""Base of all waits: it can be serialised, and errors arrive as its event, in words."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_llm_provisioning import exceptions
from airflow_llm_provisioning.core.secrets import redacted_text
from airflow_llm_provisioning.exceptions import ProvisioningError

# Shortest duration in a triggerer. If the event comes before the scheduler has seen the worker's end, the scheduler
# marks the task as lost (Airflow 3.3: "finished with state success, but the task instance's state attribute is
# queued").
SETTLED_S: Final = 3.0


class Wait(BaseTrigger):
    """A wait with one outcome.

    Its arguments are JSON and are stored unchanged: after a triggerer was killed, the wait begins again with them. The
    event is the result of `outcome`, or {"error": sentence, "error_type": class name}.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments = arguments

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments

    def __repr__(self) -> str:
        # Airflow's own prints every argument, and triggerers log it.
        return f"<{type(self).__name__} of {', '.join(self.arguments)}>"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the outcome once."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            payload = await self.outcome()
        except ProvisioningError as error:
            payload = {"error": redacted_text(str(error)), "error_type": type(error).__name__}
        if self.task_instance is not None:
            await asyncio.sleep(max(0.0, SETTLED_S - (loop.time() - began_s)))
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]

    @abstractmethod
    async def outcome(self) -> dict[str, Any]:
        """Return the event's payload, JSON."""


def default_deferrable() -> bool:
    """Return Airflow's setting."""
    from airflow_llm_provisioning.compat import conf

    return conf.getboolean("operators", "default_deferrable", fallback=False)


async def first_event(wait: Wait, at_most: timedelta) -> dict[str, Any]:
    """Return a wait's outcome without a triggerer."""
    async with asyncio.timeout(at_most.total_seconds()):
        async for event in wait.run():
            payload: dict[str, Any] = event.payload
            return payload
    raise RuntimeError(f"{type(wait).__name__} ended without an event")


def raise_error(event: dict[str, Any]) -> None:
    """Raise the error that a wait reported, with its original class."""
    if "error" in event:
        raise getattr(exceptions, event.get("error_type", ""), exceptions.ProvisioningError)(event["error"])
