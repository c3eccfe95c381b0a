"""A GKE cluster as this package needs to see it, and how to reach its API server."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from google.api_core import exceptions as google
from google.auth.transport.requests import Request

from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.steps import Project


@dataclass(frozen=True, slots=True)
class PoolView:
    """A node pool. `labels`: the resource labels, where ours are; `trouble`: what Google says of a pool in error."""

    name: str
    status: str
    streaming: bool
    image_type: str
    service_account: str
    labels: Mapping[str, str]
    trouble: str


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster. `streaming`: its node pool default; `auto_*`: of auto-provisioned pools, None without."""

    name: str
    status: str
    version: str
    autopilot: bool
    streaming: bool
    pools: Mapping[str, PoolView]
    auto_image_type: str | None
    auto_service_account: str | None

    def service_accounts(self, pools: Sequence[str]) -> list[str]:
        """Return the service accounts, other than the project's default, that nodes of these pools run as."""
        chosen = [self.pools[name].service_account for name in pools if name in self.pools]
        if not pools:
            chosen = [pool.service_account for pool in self.pools.values()] + [self.auto_service_account or ""]
        return sorted({name for name in chosen if name and name != "default"})


def read_cluster(project: Project, name: str) -> ClusterView:
    """Return a cluster, or a CloudError that says where it was looked for."""
    return view(_get(project, name))


def view(found: Any) -> ClusterView:
    """Return what a container v1 Cluster says."""
    auto = found.autoscaling
    defaults = auto.autoprovisioning_node_pool_defaults
    provisions = bool(auto.enable_node_autoprovisioning)
    autopilot = bool(found.autopilot.enabled)
    return ClusterView(
        name=found.name,
        status=found.status.name,
        version=found.current_master_version,
        autopilot=autopilot,
        streaming=autopilot or bool(found.node_pool_defaults.node_config_defaults.gcfs_config.enabled),
        pools={pool.name: pool_view(pool) for pool in found.node_pools},
        auto_image_type=(defaults.image_type or "COS_CONTAINERD") if provisions else None,
        auto_service_account=(defaults.service_account or "default") if provisions else None,
    )


def pool_view(pool: Any) -> PoolView:
    """Return what a container v1 NodePool says."""
    return PoolView(
        name=pool.name,
        status=pool.status.name,
        streaming=bool(pool.config.gcfs_config.enabled),
        image_type=pool.config.image_type,
        service_account=pool.config.service_account,
        labels=dict(pool.config.resource_labels),
        trouble="; ".join(c.message for c in pool.conditions if c.message) or pool.status_message,
    )


def access(project: Project, name: str) -> ClusterAccess:
    """Return endpoint, certificate and a fresh token. A simulated cluster's endpoint is a whole http:// URL."""
    found = _get(project, name)
    if not found.endpoint:
        raise CloudError(f"Cluster {name} in {project.path} has no endpoint yet: it is {found.status.name}.")
    plain = found.endpoint.startswith("http://")
    server = found.endpoint if plain or found.endpoint.startswith("https://") else f"https://{found.endpoint}"
    certificate = found.master_auth.cluster_ca_certificate
    credentials = project.clients.credentials
    token = expires_at = None
    if not _anonymous(credentials):
        with google_errors(f"get a token for cluster {name}"):
            credentials.refresh(Request())
        # google-auth gives the expiry as a naive UTC datetime.
        expires_at = credentials.expiry.replace(tzinfo=UTC) if credentials.expiry else None
        token = credentials.token
    return ClusterAccess(
        server=server,
        ca_pem=base64.b64decode(certificate).decode() if certificate and not plain else None,
        token=token,
        expires_at=expires_at,
    )


def _anonymous(credentials: Any) -> bool:
    from google.auth.credentials import AnonymousCredentials

    return isinstance(credentials, AnonymousCredentials)


def _get(project: Project, name: str) -> Any:
    with google_errors(f"read cluster {name} in {project.path}"):
        try:
            return project.clients.container.get_cluster(request={"name": f"{project.path}/clusters/{name}"}, **READ)
        except google.NotFound as error:
            raise CloudError(
                f"There is no cluster {name!r} in {project.path}: check `cluster_name`, project and location "
                "(a zonal cluster's location is its zone)."
            ) from error
