"""Results, traces and the ledger in any SQLAlchemy database.

Importing this package loads nothing: operators read the ledger's protocol without SQLAlchemy. `ResultsStore` is loaded
on first use, so that notebooks may import it from here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

__all__ = ["ResultsStore"]


def __getattr__(name: str) -> object:
    if name != "ResultsStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

    return ResultsStore
