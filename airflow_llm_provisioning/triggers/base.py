"""What every wait here has in common: it can be stored, and what goes wrong arrives as its event, in words."""

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_llm_provisioning.exceptions import ProvisioningError


class Wait(BaseTrigger):
    """A wait with one outcome.

    Its arguments are JSON and are kept as given: a triggerer that was killed begins again with the same ones. The
    event is
    what `outcome` returns, or {"error": sentence, "error_type": class name}.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments = arguments

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments it was made with."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then say once what came of it."""
        try:
            payload = await self.outcome()
        except ProvisioningError as error:
            payload = {"error": str(error), "error_type": type(error).__name__}
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]

    @abstractmethod
    async def outcome(self) -> dict[str, Any]:
        """Return the event's payload, JSON."""
