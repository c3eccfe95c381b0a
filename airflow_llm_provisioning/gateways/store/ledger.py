"""The ledger: an intent is written here before anything is created, so that what a crash leaves can be found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from airflow_llm_provisioning.exceptions import ConfigurationError

EntryState = Literal["intended", "created", "gone"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was meant to be created. `place`: `cluster:<name>/<namespace>` or `cloud:eks/us-west-2`."""

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
        """Record that `name` will be created; return the entry's id.

        An open entry of the same thing is returned; it keeps the later expiry of the two.
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
    """Ledger of callers that only read: what cannot write an intent must not create."""

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


class LedgerEntries:
    """The ledger's entries of one place: the intent before every create, `gone` after every delete."""

    def __init__(self, ledger: Ledger, place: str) -> None:
        self._ledger = ledger
        self._place = place

    def intend(self, kind: str, name: str, tags: Mapping[str, str], expires_at: datetime) -> str:
        """Record that a thing will be created; an open entry of the same thing is returned."""
        return self._ledger.intend(kind, name, self._place, tags, expires_at)

    def created(self, entry_id: str, identity: str) -> None:
        """Record the cloud's own name of what was created."""
        self._ledger.created(entry_id, identity)

    def open_entry(self, kind: str, name: str) -> Entry | None:
        """Return the open entry of a thing, None without one."""
        entries = self._ledger.open_entries(self._place)
        return next((entry for entry in entries if (entry.kind, entry.name) == (kind, name)), None)

    def gone(self, kind: str, *, name: str | None = None, identity: str | None = None) -> None:
        """Record that a thing was deleted or verified absent, known by our name or by the cloud's."""
        for entry in self._ledger.open_entries(self._place):
            if entry.kind == kind and (entry.name == name if name else identity in (entry.identity, entry.name)):
                self._ledger.gone(entry.entry_id)
