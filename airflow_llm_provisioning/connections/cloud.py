"""A cloud's gateway by its name. Which fields of a connection a cloud reads is said in that cloud's folder."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.connections.clock import utc_now
from airflow_llm_provisioning.connections.store import open_store
from airflow_llm_provisioning.connections.typed import AirflowConnections
from airflow_llm_provisioning.gateways.store.ledger import Ledger, ReadOnlyLedger

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.clouds.base import Cloud


@contextmanager
def opened_cloud(
    reference: Mapping[str, Any], *, results_conn_id: str | None = None, clock: Callable[[], datetime] | None = None
) -> Iterator["Cloud"]:
    """Open a cloud, and the results store whose ledger records its intents; close both at the end.

    `reference`, `clock`: as for `open_cloud`. `results_conn_id`: the store; without one nothing can be created.
    """
    with ExitStack() as stack:
        ledger = None
        if results_conn_id is not None:
            ledger = stack.enter_context(closing(open_store(results_conn_id))).ledger
        yield stack.enter_context(closing(open_cloud(reference, ledger=ledger, clock=clock)))


def open_cloud(
    reference: Mapping[str, Any], *, ledger: Ledger | None = None, clock: Callable[[], datetime] | None = None
) -> "Cloud":
    """Return a cloud's gateway; the caller closes it (see `opened_cloud`).

    `reference` (JSON): `cloud`, the name by which it is registered, `conn_id`, and what that cloud needs besides
    (`region`, `cluster_name`, `registry`, ...). `ledger`: where intents are written; without one nothing can be
    created. `clock`: the time its limits count in; UTC unless a cluster declares another.
    """
    from airflow_llm_provisioning.gateways.clouds.registry import cloud_named

    descriptor = cloud_named(str(reference.get("cloud")))
    return descriptor.open(
        reference, connections=AirflowConnections(), ledger=ledger or ReadOnlyLedger(), clock=clock or utc_now
    )
