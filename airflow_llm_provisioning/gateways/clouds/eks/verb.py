"""What the verbs of EKS have in common: they begin alike, move alike, are cleaned up alike and tell alike what it cost.

A verb says what its steps are, what they made and what that cost; nothing here knows which verb it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks.aws import Aws, Books
from airflow_llm_provisioning.gateways.clouds.eks.marks import begun, expires_at, seconds_since_start, tags_of
from airflow_llm_provisioning.gateways.clouds.eks.names import EksNames
from airflow_llm_provisioning.gateways.clouds.eks.steps import Procedure, Step


class Verb(ABC):
    """One long operation of EKS. `free`: why one that found its product ready costs nothing."""

    name: ClassVar[str]
    free: ClassVar[str]

    def __init__(self, aws: Aws, books: Books, names: EksNames, clock: Callable[[], datetime]) -> None:
        self._aws, self._books, self._names, self._clock = aws, books, names, clock

    @abstractmethod
    def start(self, request: Mapping[str, Any]) -> Operation:
        """Check everything that can be known, write the intents, and begin; what is there already is used at once."""

    def poll(self, operation: Operation) -> Operation:
        """Look once, do the next step."""
        return Procedure(self._steps(), self._clean_up, self._result, self._clock, self._aws).poll(operation)

    @abstractmethod
    def _steps(self) -> Sequence[Step]:
        """Return the steps in their order."""

    @abstractmethod
    def _clean_up(self, operation: Operation) -> Sequence[str]:
        """Delete what is temporary after a failure; return, in words, what still stands."""

    @abstractmethod
    def _made(self, operation: Operation) -> dict[str, Any]:
        """Return the verb's own part of the result."""

    @abstractmethod
    def _price(self, operation: Operation, seconds: float) -> tuple[float | None, str]:
        """Return (USD or None where unknown, how it was found)."""

    def _begun(self, request: Mapping[str, Any], content: str, **progress: Any) -> Operation:
        return begun(self.name, request, content, self._clock(), **progress)

    def _reusing(self, operation: Operation, **found: Any) -> Operation:
        """End an operation whose product was there before it began."""
        operation = operation.at("done", reused=True, **found)
        return operation.succeeded(**self._result(operation))

    def _intended(self, kind: str, name: str, operation: Operation, lifetime: timedelta | None = None) -> str:
        """Write in the ledger that a thing of this name will be created (or kept longer); return the entry."""
        return self._books.intend(kind, name, tags_of(operation, lifetime), expires_at(operation, lifetime))

    def _result(self, operation: Operation) -> dict[str, Any]:
        reused = bool(operation.progress.get("reused"))
        seconds = seconds_since_start(operation, self._clock())
        price, basis = (0.0, self.free) if reused else self._price(operation, seconds)
        return {
            "reused": reused,
            "seconds": seconds,
            "price_usd": price,
            "price_basis": basis,
            "phases": dict(operation.progress.get("phases", {})),
            **self._made(operation),
        }
