"""Google's official clients, made in one place: REST transport, an endpoint per service, the connection's credentials.

REST, because the generated gRPC transports refuse plain HTTP, and because one transport means one path to test.
Imported only by its siblings, which are imported only when a connection asks for this cloud.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

import requests
from google.api_core.exceptions import from_http_response
from google.api_core.retry import Retry, if_exception_type
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1, compute_v1, container_v1, resourcemanager_v3, service_usage_v1
from google.cloud.devtools import cloudbuild_v1

from airflow_llm_provisioning.gateways.clouds.gke.errors import TRANSIENT

# Reads are repeated a little at once; a call without an answer is repeated by the next poll.
READ: Final[Mapping[str, Any]] = {
    "retry": Retry(predicate=if_exception_type(*TRANSIENT), initial=0.2, maximum=2.0, multiplier=2.0, timeout=8.0),
    "timeout": 20.0,
}
# A create whose reply is lost may have happened: it is never repeated here, but looked for by name.
WRITE: Final[Mapping[str, Any]] = {"retry": None, "timeout": 30.0}

_CLIENTS: Final = (
    *("container", "builds", "registry", "services", "projects"),
    *("instances", "disks", "disk_images", "zone_operations", "global_operations"),
)


class GoogleClients:
    """Clients of the services this package uses. `endpoints`: service -> URL, for those that are elsewhere."""

    def __init__(self, credentials: Any, endpoints: Mapping[str, str] | None = None) -> None:
        """`endpoints` knows container, cloudbuild, artifactregistry, serviceusage, cloudresourcemanager, compute,
        storage and registry.
        """
        self.credentials = credentials
        self._endpoints = dict(endpoints or {})

    @cached_property
    def container(self) -> Any:
        """Clusters and node pools."""
        return self._client(container_v1.ClusterManagerClient, "container")

    @cached_property
    def builds(self) -> Any:
        """Cloud Build."""
        return self._client(cloudbuild_v1.CloudBuildClient, "cloudbuild")

    @cached_property
    def registry(self) -> Any:
        """Artifact Registry."""
        return self._client(artifactregistry_v1.ArtifactRegistryClient, "artifactregistry")

    @cached_property
    def services(self) -> Any:
        """Service Usage."""
        return self._client(service_usage_v1.ServiceUsageClient, "serviceusage")

    @cached_property
    def projects(self) -> Any:
        """Resource Manager."""
        return self._client(resourcemanager_v3.ProjectsClient, "cloudresourcemanager")

    @cached_property
    def instances(self) -> Any:
        """Compute Engine's instances."""
        return self._client(compute_v1.InstancesClient, "compute")

    @cached_property
    def disks(self) -> Any:
        """Compute Engine's zonal disks."""
        return self._client(compute_v1.DisksClient, "compute")

    @cached_property
    def disk_images(self) -> Any:
        """Compute Engine's images."""
        return self._client(compute_v1.ImagesClient, "compute")

    @cached_property
    def zone_operations(self) -> Any:
        """Compute Engine's operations in zones."""
        return self._client(compute_v1.ZoneOperationsClient, "compute")

    @cached_property
    def global_operations(self) -> Any:
        """Compute Engine's operations without a place."""
        return self._client(compute_v1.GlobalOperationsClient, "compute")

    @cached_property
    def session(self) -> Any:
        """An authorized HTTP session, for the few paths that no client has."""
        return AuthorizedSession(self.credentials)

    def _client(self, client: Any, service: str) -> Any:
        endpoint = self._endpoints.get(service)
        options = {"api_endpoint": endpoint} if endpoint else None
        return client(credentials=self.credentials, transport="rest", client_options=options)

    def long_running(self, service: str, name: str) -> dict[str, Any]:
        """Return a google.longrunning.Operation of `service` as plain JSON.

        Not by the client: it fails on the whole operation where it cannot decode the message in `metadata` or
        `response`, which are never read here.
        """
        return self._json(self.session.get(f"{self._base(service)}/v1/{name}", timeout=20.0))

    def services_call(self, path: str) -> dict[str, Any]:
        """POST to Service Usage where the client cannot decode the answer (see `long_running`)."""
        return self._json(self.session.post(f"{self._base('serviceusage')}/v1/{path}", json={}, timeout=20.0))

    def _base(self, service: str) -> str:
        return self._endpoints.get(service, f"https://{service}.googleapis.com")

    def registry_call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call Artifact Registry where google-cloud-artifact-registry 1.23 has no method yet (prewarming)."""
        url = f"{self._base('artifactregistry')}/v1/{path}"
        return self._json(self.session.request(method, url, json=body, timeout=20.0))

    def bucket(self, name: str) -> dict[str, Any]:
        """Return where a bucket of Cloud Storage is: {location, locationType} (storage v1, buckets.get)."""
        url = f"{self._base('storage')}/storage/v1/b/{quote(name, safe='')}?fields=location,locationType"
        return self._json(self.session.get(url, timeout=20.0))

    def manifest(self, host: str, name: str, reference: str) -> dict[str, Any]:
        """Return an image's manifest by the registry protocol (OCI distribution: GET /v2/<name>/manifests/<ref>)."""
        base = self._endpoints.get("registry", f"https://{host}")
        accept = (
            "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
            "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
        )
        url = f"{base}/v2/{name}/manifests/{reference}"
        return self._json(self.session.get(url, headers={"Accept": accept}, timeout=20.0))

    @staticmethod
    def _json(response: requests.Response) -> dict[str, Any]:
        if response.status_code >= 400:
            raise from_http_response(response)
        answer: dict[str, Any] = response.json()
        return answer

    def close(self) -> None:
        """Close every client that was opened."""
        for name in _CLIENTS:
            if name in self.__dict__:
                self.__dict__.pop(name).transport.close()
        if "session" in self.__dict__:
            self.__dict__.pop("session").close()
