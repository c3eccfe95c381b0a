"""A cloud's gateway by its name. What a cloud's connection must hold is in that cloud's own file."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.connections.aks import aks_cloud
from airflow_llm_provisioning.connections.clock import utc_now
from airflow_llm_provisioning.connections.eks import eks_cloud
from airflow_llm_provisioning.connections.gke import gke_cloud
from airflow_llm_provisioning.connections.store import open_store
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.ledger import ReadOnlyLedger

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.clouds.base import Cloud


def open_cloud(
    reference: Mapping[str, Any], *, results_conn_id: str | None = None, clock: Callable[[], datetime] | None = None
) -> "Cloud":
    """Return a cloud's gateway.

    `reference` (JSON): `cloud` (`eks`, `gke`, `aks`, `generic`), `conn_id`, and what that cloud needs besides
    (`region`, `cluster_name`, `registry`, ...). `results_conn_id`: the store whose ledger records intents; without one
    nothing can be created. `clock`: the time its deadlines count in; UTC unless a cluster declares another.
    """
    openers: Mapping[str, Callable[..., Cloud]] = {
        "eks": eks_cloud,
        "gke": gke_cloud,
        "aks": aks_cloud,
        "generic": lambda _reference, **_: _generic_cloud(),
    }
    name = str(reference.get("cloud"))
    if name not in openers:
        raise ConfigurationError(f"Cloud {name!r} is unknown: choose one of {', '.join(openers)}.")
    ledger = ReadOnlyLedger() if results_conn_id is None else open_store(results_conn_id).ledger
    return openers[name](reference, ledger=ledger, clock=clock or utc_now)


def _generic_cloud() -> "Cloud":
    from airflow_llm_provisioning.gateways.clouds.generic import GenericCloud

    return GenericCloud()
