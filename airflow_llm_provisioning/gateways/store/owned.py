"""What the reaper reads of a results store, and the one thing it writes there: that an entry of the ledger is gone."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from airflow_llm_provisioning.core.fields import mapping, text
from airflow_llm_provisioning.core.names import label_value
from airflow_llm_provisioning.core.owned import Recorded, Records
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import first_line, read_from
from airflow_llm_provisioning.gateways.store.ledger import Entry
from airflow_llm_provisioning.gateways.store.reading import open_for_reading
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.sql_ledger import SqlLedger

# A SQLite file that is written while it is read is read again.
_TRIES: Final = 3

_T = TypeVar("_T")


def read_records(url: str | None) -> Records:
    """Return the ledger's open entries and what the rows say of trials. What cannot be read is a sentence in it, never
    an empty ledger.
    """
    if url is None:
        return Records(entries=None, problem="There is no results store: neither a ledger nor rows can be read.")
    try:
        return _again(lambda: _read(url))
    except (StoreError, SQLAlchemyError) as error:
        return Records(entries=None, problem=str(error) if isinstance(error, StoreError) else first_line(error))


def close_entries(url: str, entry_ids: Sequence[str]) -> None:
    """Record that what these entries stand for is gone. Twice is no error. Raises StoreError."""
    if not entry_ids:
        return
    store = ResultsStore.open(url)
    try:
        for entry_id in entry_ids:
            store.ledger.gone(entry_id)
    finally:
        store.close()


def _again(read: Callable[[], _T]) -> _T:
    for _ in range(_TRIES - 1):
        try:
            return read()
        except StoreError:
            continue
    return read()


def _read(url: str) -> Records:
    engine, closed_engine = open_for_reading(url)
    try:
        entries = tuple(_recorded(entry) for entry in SqlLedger(engine, _utc_now).open_entries())
        closed, used_at = _trials(engine)
    finally:
        engine.dispose()
    # Says whether the file was written meanwhile.
    closed_engine()
    return Records(entries=entries, closed=closed, used_at=used_at)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _trials(engine: Engine) -> tuple[frozenset[str], dict[str, datetime]]:
    columns = tables.trials.c
    with read_from(engine) as connection:
        ids = connection.scalars(select(columns.trial_id)).all()
        last = connection.execute(select(columns.target, func.max(columns.opened_at)).group_by(columns.target)).all()
    return frozenset(map(label_value, ids)), {label_value(target): at for target, at in last}


def _recorded(entry: Entry) -> Recorded:
    return Recorded(
        entry_id=entry.entry_id,
        kind=entry.kind,
        name=entry.name,
        place=entry.place,
        tags={str(key): text(value) for key, value in mapping(entry.tags).items()},
        intended_at=entry.intended_at,
        expires_at=entry.expires_at,
        identity=entry.identity,
    )
