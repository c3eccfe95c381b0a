"""The results store of the page: opened per request, because a file may be created, replaced or upgraded meanwhile."""

from collections.abc import Callable
from typing import Final, TypeVar

from airflow_llm_provisioning.connections import DEFAULT_STORE, open_store, store_url
from airflow_llm_provisioning.exceptions import MissingStoreError, StoreError
from airflow_llm_provisioning.gateways.store import ResultsStore

Answer = TypeVar("Answer")

# A file without a log beside it is read as it stands; another process may begin to write it meanwhile.
_ATTEMPTS: Final = 3


def store_connection() -> str:
    """Return the connection id of the results store that the page shows."""
    from airflow.configuration import conf

    return str(conf.get("llm_provisioning", "results_conn_id", fallback=DEFAULT_STORE) or DEFAULT_STORE)


def read(query: Callable[[ResultsStore], Answer]) -> Answer:
    """Return the answer of a query. Nothing is created or upgraded. Raises StoreError where there is no store."""
    url = store_url(store_connection())
    for _ in range(_ATTEMPTS - 1):
        try:
            return _read(url, query)
        except StoreError as error:
            if "while it was read" not in str(error):
                raise
    return _read(url, query)


def read_if_there(query: Callable[[ResultsStore | None], Answer]) -> Answer:
    """Return the answer of a query, which is given None where no results store exists yet."""
    try:
        return read(query)
    except MissingStoreError:
        return query(None)


def write(change: Callable[[ResultsStore], Answer]) -> Answer:
    """Change the store and return the answer."""
    store = open_store(store_connection())
    try:
        return change(store)
    finally:
        store.close()


def _read(url: str, query: Callable[[ResultsStore], Answer]) -> Answer:
    store = ResultsStore.open_for_reading(url)
    try:
        answer = query(store)
    except BaseException:
        store.dispose()
        raise
    store.close()
    return answer
