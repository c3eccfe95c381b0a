"""The cloud of a plain `kubernetes` connection: a cluster that others run. Nothing can be built, set up or asked.

With it, the operators need not know that there is no cloud: each verb ends in a sentence that says what to do.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess, Evidence, Owned

_INSTEAD: Final[Mapping[str, str]] = {
    "build_image": "build and push the image yourself and name it in the target or the manifest",
    "snapshot_image": "a data volume from a snapshot needs a target on eks",
    "enable_streaming": "image streaming needs a target on gke or aks",
    "set_up_node_pool": "set up the nodes with whatever runs this cluster",
}


def open_generic(_reference: Mapping[str, Any], **_: Any) -> "GenericCloud":
    """Return it; no connection is read."""
    return GenericCloud()


class GenericCloud:
    """No cloud behind the cluster: no verbs, nothing owned, no evidence."""

    name = "generic"
    place = "cloud:generic"

    def verbs(self) -> Sequence[str]:
        """Return nothing: no long operation exists here."""
        return ()

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        """Refuse, saying what to do instead."""
        raise ConfigurationError(_refusal(verb))

    def poll(self, operation: Operation) -> Operation:
        """End an operation that cannot have been begun here."""
        return operation if operation.state != "running" else operation.failed(_refusal(operation.verb))

    def cluster_access(self, cluster: str) -> ClusterAccess:
        """Refuse: the `kubernetes` connection itself reaches the cluster."""
        raise ConfigurationError(
            f"Cluster {cluster!r} cannot be looked up: its target names no cloud. Reach it by a connection of type "
            "kubernetes, or give the target its cloud (eks, gke, aks)."
        )

    def verify(self, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
        """Return unknown for every claim."""
        return [Evidence(claim, None, "There is no cloud to ask.", "gateways/clouds/generic") for claim in claims]

    def list_owned(self) -> list[Owned]:
        """Return nothing: nothing is ever created here."""
        return []

    def delete_owned(self, owned: Owned) -> None:
        """Refuse: nothing here is ours."""
        raise ConfigurationError(
            f"{owned.kind} {owned.identity} cannot be deleted: nothing is ever created where there is no cloud."
        )

    def close(self) -> None:
        """Nothing was opened."""


def _refusal(verb: str) -> str:
    instead = _INSTEAD.get(verb, "choose a target on eks, gke or aks")
    return f"{verb} is impossible on a target without a cloud (`generic`): {instead}."
