"""GKE: images built by Cloud Build, streamed from Artifact Registry to nodes of a cluster, found again by labels.

The facts behind it: container, Cloud Build, Artifact Registry and Service Usage v1 as their discovery documents say.
Nothing here knows Airflow or a connection; importing it loads Google's clients, so only connections/ does, late.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError, ProvisioningError
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess, Evidence, Owned
from airflow_llm_provisioning.gateways.clouds.gke.build import ImageBuild
from airflow_llm_provisioning.gateways.clouds.gke.clients import GoogleClients
from airflow_llm_provisioning.gateways.clouds.gke.clusters import access
from airflow_llm_provisioning.gateways.clouds.gke.errors import TransientCloudError
from airflow_llm_provisioning.gateways.clouds.gke.owned import Belongings
from airflow_llm_provisioning.gateways.clouds.gke.pools import NodePoolSetUp
from airflow_llm_provisioning.gateways.clouds.gke.steps import SETTLE_S, Procedure, Project, seconds_since
from airflow_llm_provisioning.gateways.clouds.gke.streaming import Streaming
from airflow_llm_provisioning.gateways.clouds.gke.verdicts import verify
from airflow_llm_provisioning.gateways.ledger import Ledger

# What is left of a failed operation gets this long to be gone: deleting a node pool takes minutes.
CLEAN_S = 3 * SETTLE_S


class GkeCloud:
    """One Google project and location."""

    name = "gke"

    def __init__(
        self,
        credentials: Any,
        *,
        project: str,
        location: str,
        endpoints: Mapping[str, str] | None = None,
        ledger: Ledger,
        clock: Callable[[], datetime],
        build_location: str = "global",
    ) -> None:
        """`location`: region or zone of the clusters; `endpoints`: service -> URL where it is not Google's own."""
        self._clients = GoogleClients(credentials, endpoints)
        self._project = Project(self._clients, project, location, ledger, clock, build_location)
        self._streaming = Streaming(self._project)
        self._procedures: Mapping[str, Procedure] = {
            "build_image": ImageBuild(self._project),
            "enable_streaming": self._streaming,
            "set_up_node_pool": NodePoolSetUp(self._project),
        }

    def verbs(self) -> Sequence[str]:
        """Return the long operations of this cloud."""
        return tuple(self._procedures)

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        """Check a request and write down what it will create; the first look begins it."""
        if verb not in self._procedures:
            raise ConfigurationError(f"GKE cannot {verb!r}: it knows {', '.join(self._procedures)}.")
        try:
            return self._procedures[verb].start(request)
        except KeyError as error:
            raise ConfigurationError(f"The request for {verb} on GKE lacks {error.args[0]!r}.") from error

    def poll(self, operation: Operation) -> Operation:
        """Look once and do what is due."""
        if operation.state != "running":
            return operation
        procedure = self._procedures[operation.verb]
        if "failing" in operation.progress:
            return self._clean(procedure, operation)
        try:
            if seconds_since(self._project, operation.progress["started_at"]) > procedure.deadline_s:
                raise CloudError(_overdue(operation, procedure.deadline_s))
            return procedure.step(operation)
        except TransientCloudError as error:
            return operation.at(operation.step, last_trouble=str(error))
        except ProvisioningError as error:
            now = self._project.clock().isoformat()
            return self._clean(procedure, operation.at("cleaning up", failing=str(error), failing_at=now))

    def cluster_access(self, cluster: str) -> ClusterAccess:
        """Return endpoint, certificate and a fresh token of a cluster."""
        return access(self._project, cluster)

    def warm_needed(self, image: str, digest: str | None) -> bool:
        """Say whether the image must still be pulled once by a streaming node of this region before it streams fast."""
        return self._streaming.warm_needed(image, digest)

    def verify(self, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
        """Say for each claim what Google and the trial's nodes say; see gke_verdicts.verify for the facts."""
        return [verify(self._project, claim, facts) for claim in claims]

    def list_owned(self) -> list[Owned]:
        """Return running builds, images, repositories and node pools of ours, in the order to delete them."""
        return Belongings(self._project).everything()

    def delete_owned(self, owned: Owned) -> None:
        """Delete one thing of ours; what Google deletes slowly is gone when a later list no longer has it."""
        Belongings(self._project).delete(owned)

    def close(self) -> None:
        """Close the connections to Google."""
        self._clients.close()

    def _clean(self, procedure: Procedure, operation: Operation) -> Operation:
        sentence = str(operation.progress["failing"])
        try:
            clean, trouble = procedure.clean(operation), ""
        except ProvisioningError as error:
            clean, trouble = False, f" ({error})"
        if clean:
            return operation.failed(sentence)
        if seconds_since(self._project, operation.progress["failing_at"]) > CLEAN_S:
            return operation.failed(f"{sentence} What it had begun could not be deleted{trouble}: delete it by hand.")
        return operation.at("cleaning up")


def _overdue(operation: Operation, deadline_s: float) -> str:
    trouble = operation.progress.get("last_trouble")
    tail = f" Last trouble: {trouble}" if trouble else ""
    return f"{operation.verb} did not end within {deadline_s:.0f} s; it stood at: {operation.step}.{tail}"
