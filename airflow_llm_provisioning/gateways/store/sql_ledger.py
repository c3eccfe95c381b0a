"""The ledger in the results store's database: what was created, or was going to be, until it is seen to be gone."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import first_line, read_from, writing
from airflow_llm_provisioning.gateways.store.ledger import Entry

Clock = Callable[[], datetime]


class SqlLedger:
    """The ledger in the results database (see gateways/store/ledger.py for what is promised)."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def intend(self, kind: str, name: str, place: str, tags: Mapping[str, str], expires_at: datetime) -> str:
        """Record an intent; an open entry of the same thing is returned, by any writer, with the later expiry."""
        try:
            return self._intended(kind, name, place, tags, expires_at)
        except SQLAlchemyError as error:
            raise StoreError(
                f"The intent to create {kind} {name} could not be written, so nothing was created: {first_line(error)}."
            ) from error

    def _intended(self, kind: str, name: str, place: str, tags: Mapping[str, str], expires_at: datetime) -> str:
        key = f"{place}|{kind}|{name}"
        now = self._clock()
        try:
            with writing(self._engine) as connection:
                made = connection.execute(
                    insert(tables.ledger),
                    {
                        "place": place,
                        "kind": kind,
                        "name": name,
                        "state": "intended",
                        "identity": None,
                        "tags": dict(tags),
                        "intended_at": now,
                        "expires_at": expires_at,
                        "changed_at": now,
                        "open_key": key,
                    },
                )
                return str(made.inserted_primary_key[0])  # type: ignore[index] # one row, so there is one
        except IntegrityError:
            found = self._kept(key, expires_at)
            return found or self._intended(kind, name, place, tags, expires_at)

    def _kept(self, key: str, expires_at: datetime) -> str | None:
        """Return the open entry of this key, kept at least until then; None where it was closed meanwhile."""
        columns = tables.ledger.c
        with writing(self._engine) as connection:
            connection.execute(
                update(tables.ledger)
                .where(columns.open_key == key, columns.expires_at < expires_at)
                .values(expires_at=expires_at, changed_at=self._clock())
            )
            found = connection.scalar(select(columns.entry_id).where(columns.open_key == key))
        return None if found is None else str(found)

    def created(self, entry_id: str, identity: str) -> None:
        """Record what was created."""
        self._change(entry_id, state="created", identity=identity)

    def gone(self, entry_id: str) -> None:
        """Record that it is gone."""
        self._change(entry_id, state="gone", open_key=None)

    def open_entries(self, place: str | None = None) -> list[Entry]:
        """Return what is not gone, oldest first."""
        query = select(tables.ledger).where(tables.ledger.c.state != "gone").order_by(tables.ledger.c.entry_id)
        if place is not None:
            query = query.where(tables.ledger.c.place == place)
        with read_from(self._engine) as connection:
            return [
                Entry(
                    entry_id=str(row["entry_id"]),
                    **{field.name: row[field.name] for field in fields(Entry) if field.name != "entry_id"},
                )
                for row in connection.execute(query).mappings()
            ]

    def _change(self, entry_id: str, **values: Any) -> None:
        try:
            with writing(self._engine) as connection:
                connection.execute(
                    update(tables.ledger)
                    .where(tables.ledger.c.entry_id == int(entry_id))
                    .values(changed_at=self._clock(), **values)
                )
        except SQLAlchemyError as error:
            raise StoreError(f"Ledger entry {entry_id} could not be changed: {first_line(error)}.") from error
