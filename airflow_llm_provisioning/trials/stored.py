"""How a trial's tasks use the results store: opened, used and closed within a time limit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.bounded import within

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

Result = TypeVar("Result")


async def with_store(conn_id: str, work: "Callable[[ResultsStore], Result]", *, limit_s: float) -> Result:
    """Return what `work` returns of the store. A store that does not answer within `limit_s` (real seconds) is a
    StoreError, like one that refuses.
    """

    def run() -> Result:
        from airflow_llm_provisioning.connections import open_store

        store = open_store(conn_id)
        try:
            return work(store)
        finally:
            store.close()

    try:
        return await within(limit_s, run)
    except TimeoutError as error:
        raise StoreError(f"The results store behind {conn_id!r} did not answer within {limit_s:g} s.") from error
