"""GKE's gateway: images built by Cloud Build, streamed from Artifact Registry to nodes, found again by labels.

The facts behind it: container, Cloud Build, Artifact Registry and Service Usage v1 as their discovery documents say.
Nothing here knows Airflow or a connection; importing it loads Google's clients, so `connection.py` alone does.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess, Evidence, Owned
from airflow_llm_provisioning.gateways.clouds.gke.build import ImageBuild
from airflow_llm_provisioning.gateways.clouds.gke.clients import GoogleClients
from airflow_llm_provisioning.gateways.clouds.gke.clusters import access
from airflow_llm_provisioning.gateways.clouds.gke.disk_image import DiskImagePreparation
from airflow_llm_provisioning.gateways.clouds.gke.owned import OwnedResources
from airflow_llm_provisioning.gateways.clouds.gke.pools import NodePoolSetUp
from airflow_llm_provisioning.gateways.clouds.gke.steps import Project
from airflow_llm_provisioning.gateways.clouds.gke.streaming import Streaming
from airflow_llm_provisioning.gateways.clouds.gke.verdicts import verify
from airflow_llm_provisioning.gateways.clouds.operation_driver import OperationDriver
from airflow_llm_provisioning.gateways.clouds.verbs import Verb
from airflow_llm_provisioning.gateways.store.ledger import Ledger, LedgerEntries


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
        self.place = f"cloud:gke/{project}/{location}"
        entries = LedgerEntries(ledger, self.place)
        self._project = Project(self._clients, project, location, entries, clock, build_location)
        self._streaming = Streaming(self._project)
        verbs: tuple[Verb, ...] = (
            ImageBuild(self._project),
            DiskImagePreparation(self._project),
            self._streaming,
            NodePoolSetUp(self._project),
        )
        self._driver = OperationDriver("GKE", {verb.name: verb for verb in verbs}, clock)

    def verbs(self) -> Sequence[str]:
        """Return the long operations of this cloud."""
        return tuple(self._driver.verbs)

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        """Check a request and write down what it will create; the first look begins it."""
        return self._driver.start(verb, request)

    def poll(self, operation: Operation) -> Operation:
        """Look once and do what is due."""
        return self._driver.poll(operation)

    def cluster_access(self, cluster: str) -> ClusterAccess:
        """Return endpoint, certificate and a fresh token of a cluster."""
        return access(self._project, cluster)

    def warm_needed(self, image: str, digest: str | None) -> bool:
        """Say whether the image must still be pulled once by a streaming node of this region before it streams fast."""
        return self._streaming.warm_needed(image, digest)

    def verify(self, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
        """Say for each claim what Google and the trial's nodes say; see verdicts.verify for the facts."""
        return [verify(self._project, claim, facts) for claim in claims]

    def list_owned(self) -> list[Owned]:
        """Return running builds, images, repositories, node pools and disk images of ours, with builders and disks that
        were left over, in the order to delete them.
        """
        return OwnedResources(self._project).everything()

    def exists(self, kind: str, identity: str) -> bool | None:
        """Return whether a thing exists under Google's own name, with any labels; None for another name."""
        return OwnedResources(self._project).exists(kind, identity)

    def delete_owned(self, owned: Owned) -> None:
        """Delete one thing of ours; what Google deletes slowly is gone when a later list no longer has it."""
        OwnedResources(self._project).delete(owned)

    def close(self) -> None:
        """Close the connections to Google."""
        self._clients.close()
