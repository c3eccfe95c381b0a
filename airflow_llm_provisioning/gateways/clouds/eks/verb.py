"""What the verbs of EKS have in common: how they begin, how they name what they make, and what the result says.

A verb says what its steps are, what they made and what that cost; nothing here knows which verb it is.
"""

from abc import abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks.aws import Aws
from airflow_llm_provisioning.gateways.clouds.eks.names import EksNames
from airflow_llm_provisioning.gateways.clouds.eks.tags import tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import Look, Outcome, Verb, finished, keep_until, started_at
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries


class EksVerb(Verb):
    """One long operation of EKS. `free`: why an operation that found its product ready costs nothing."""

    free: ClassVar[str]

    def __init__(self, aws: Aws, entries: LedgerEntries, names: EksNames) -> None:
        self._aws, self._entries, self._names = aws, entries, names

    def begin(self, operation: Operation) -> Look:
        """Check everything that can be known, and write the intents; what is there already is used at once."""
        with self._aws.starting(self.name):
            return self._begin(operation)

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return what was made and what it cost; what was found cost no time and no money."""
        made, phases = self._made(operation), self._phases(operation)
        if operation.progress.get("reused"):
            return Outcome(made, True, 0.0, self._basis(operation, self.free), seconds=0.0, phases=phases)
        price, basis = self._price(operation, seconds)
        return Outcome(made, False, price, self._basis(operation, basis), phases=phases)

    @abstractmethod
    def _begin(self, operation: Operation) -> Look:
        """Do what `begin` says; AWS's errors are translated."""

    @abstractmethod
    def _made(self, operation: Operation) -> dict[str, Any]:
        """Return the verb's own part of the result."""

    @abstractmethod
    def _price(self, operation: Operation, seconds: float) -> tuple[float | None, str]:
        """Return (USD or None where unknown, how it was found)."""

    def _phases(self, operation: Operation) -> Mapping[str, float]:
        """Return name -> seconds of the steps, and of what AWS timed itself."""
        return dict(operation.progress.get("phases", {}))

    def _basis(self, operation: Operation, basis: str) -> str:
        """Return how the price was found, with what it does not hold."""
        return basis

    def _reusing(self, operation: Operation, **found: Any) -> Look:
        """End an operation whose product was there before it began."""
        return finished(**{**operation.progress, "reused": True, **found})

    def _intended(self, kind: str, name: str, operation: Operation, lifetime: timedelta | None = None) -> str:
        """Write in the ledger that a thing of this name will be created (or kept longer); return the entry."""
        until = keep_until(operation) if lifetime is None else started_at(operation) + lifetime
        return self._entries.intend(kind, name, tags_of(operation, lifetime), until)
