"""What is known of a cloud without its SDK: names, how it is opened, its nodes, its prices.

One descriptor per cloud, in its folder; the registry finds it by name. Importing a descriptor loads no SDK and no
Airflow, because the experiment file is checked with it whenever Airflow parses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol

from airflow_llm_provisioning.exceptions import ConnectionConfigError, MissingExtraError
from airflow_llm_provisioning.gateways.clouds.base import Cloud
from airflow_llm_provisioning.gateways.clouds.nodes import CloudNodes
from airflow_llm_provisioning.gateways.clouds.prices import NodePrices
from airflow_llm_provisioning.gateways.store.ledger import Ledger


class ConnectionReader(Protocol):
    """Airflow's connections, as `connections/` reads them; given to a cloud's opener, which reads none itself."""

    def typed(self, conn_id: str, conn_type: str, page: str) -> Any:
        """Return the connection `conn_id`, or raise a ConnectionConfigError if it is absent or of another type.

        `page`: the chapter that describes its fields, for the error.
        """
        ...

    def hook_class(self, path: str) -> Any:
        """Return a provider's hook class, `package.module:Class`. Raises ImportError where it is not installed."""
        ...


def endpoints_of(extra: Mapping[str, Any], conn_id: str, page: str) -> dict[str, Any]:
    """Return the endpoints of a stand-in or of private links in a connection's extra: name -> URL. `page`: the chapter
    that describes them. Raises ConnectionConfigError for what is no mapping.
    """
    endpoints = extra.get("endpoints") or {}
    if not isinstance(endpoints, Mapping):
        raise ConnectionConfigError(
            f"The extra endpoints of Airflow connection {conn_id!r} is no mapping of names to URLs: give one, or leave "
            f"it out ({page})."
        )
    return dict(endpoints)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudDescriptor:
    """One cloud.

    `title`: its name in sentences. `opener`: `package.module:function` of the function that opens it, imported only
    then; it is called as `function(reference, connections=, ledger=, clock=)` and returns a Cloud. `requirement`: what
    pip installs where its packages are missing. `connection_types`: types of the Airflow connections that reach its
    clusters. `cluster_facts`: verb -> facts of the cluster that the verb's request needs (`image_pull_secrets`).
    """

    name: str
    title: str
    opener: str
    nodes: CloudNodes
    requirement: str | None = None
    connection_types: tuple[str, ...] = ()
    node_prices: NodePrices = field(default_factory=NodePrices)
    facts_by_verb: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def open(
        self,
        reference: Mapping[str, Any],
        *,
        connections: ConnectionReader,
        ledger: Ledger,
        clock: Callable[[], datetime],
    ) -> Cloud:
        """Return the cloud's gateway. Raises MissingExtraError, or ConnectionConfigError where a field is missing."""
        module, _, function = self.opener.partition(":")
        try:
            opener = getattr(import_module(module), function)
            opened: Cloud = opener(reference, connections=connections, ledger=ledger, clock=clock)
        except ImportError as error:
            raise MissingExtraError(
                f"{self.title} needs packages that are not installed ({error.name}): pip install "
                f"'{self.requirement or module.partition('.')[0]}'."
            ) from error
        return opened

    def cluster_facts(self, verb: str) -> tuple[str, ...]:
        """Return the facts of the cluster that a verb's request needs, by name."""
        return self.facts_by_verb.get(verb, ())
