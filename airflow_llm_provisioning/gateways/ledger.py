"""The ledger: intent is written here before anything is created, so that a crash leaves a trail and not a leak."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from airflow_llm_provisioning.exceptions import ConfigurationError

EntryState = Literal["intended", "created", "gone"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was meant to be created. `place` says where: `cluster:<name>/<namespace>` or
    `cloud:eks/us-west-2`.
    """

    entry_id: str
    kind: str
    name: str
    place: str
    tags: Mapping[str, str]
    state: EntryState
    intended_at: datetime
    expires_at: datetime
    identity: str | None = None


class Ledger(Protocol):
    """Write-ahead record of creates. Calls are idempotent per (place, kind, name)."""

    def intend(self, kind: str, name: str, place: str, tags: Mapping[str, str], expires_at: datetime) -> str:
        """Record that `name` will be created; return the entry's id. An open entry of the same thing is returned; it
        keeps the later expiry of the two, because whoever asks again uses it.
        """
        ...

    def created(self, entry_id: str, identity: str) -> None:
        """Record the cloud's own id of what was created."""
        ...

    def gone(self, entry_id: str) -> None:
        """Record that it was deleted, or verified never to have existed."""
        ...

    def open_entries(self, place: str | None = None) -> Sequence[Entry]:
        """Return what is not gone, oldest first."""
        ...


class ReadOnlyLedger:
    """For whoever only looks: what cannot write an intent must not create."""

    def intend(self, kind: str, name: str, place: str, tags: Mapping[str, str], expires_at: datetime) -> str:
        """Refuse."""
        raise ConfigurationError(
            f"{kind} {name} was not created in {place}: there is no results store to record it in."
        )

    def created(self, entry_id: str, identity: str) -> None:
        """Nothing was intended, so nothing can have been created."""

    def gone(self, entry_id: str) -> None:
        """Nothing was intended, so nothing can be gone."""

    def open_entries(self, place: str | None = None) -> Sequence[Entry]:
        """Return nothing."""
        return ()
