"""A GKE cluster as this package needs to see it, and how to reach its API server."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from google.api_core import exceptions as google
from google.auth.transport.requests import Request

from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.steps import Project

# How Google says that a pool lacked machines when it grew (k8s-config-connector issue 321, terraform-provider-google
# pull 10121: GCE_QUOTA_EXCEEDED, GCE_STOCKOUT, "does not have enough resources available").
CAPACITY: Final = re.compile(r"quota|stockout|resource_pool_exhausted|enough resources", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PoolView:
    """A node pool. `streaming`: its own setting, or the cluster's default where it has none.

    `labels`: the resource labels, where ours are; `trouble`: what Google says of a pool in error, also of an error that
    has passed; `lacked_capacity`: every such sentence is about quota or machines that were not there.
    """

    name: str
    status: str
    streaming: bool
    image_type: str
    service_account: str
    labels: Mapping[str, str]
    trouble: str
    lacked_capacity: bool


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster. `streaming`: its node pool default; `auto_*`: of auto-provisioned pools, None without; `zones`: where
    its nodes are.
    """

    name: str
    status: str
    version: str
    autopilot: bool
    streaming: bool
    pools: Mapping[str, PoolView]
    auto_image_type: str | None
    auto_service_account: str | None
    zones: Sequence[str] = ()

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
    node_defaults = found.node_pool_defaults.node_config_defaults
    # An Autopilot cluster streams by itself since 1.25.5 (image-streaming page); its default says so (cloud-custodian,
    # recorded 2023-06-20).
    streaming = bool(node_defaults.gcfs_config.enabled) if "gcfs_config" in node_defaults else autopilot
    return ClusterView(
        name=found.name,
        status=found.status.name,
        version=found.current_master_version,
        autopilot=autopilot,
        streaming=streaming,
        pools={pool.name: pool_view(pool, inherited=streaming) for pool in found.node_pools},
        auto_image_type=(defaults.image_type or "COS_CONTAINERD") if provisions else None,
        auto_service_account=(defaults.service_account or "default") if provisions else None,
        zones=tuple(found.locations),
    )


def pool_view(pool: Any, *, inherited: bool = False) -> PoolView:
    """Return what a container v1 NodePool says.

    `inherited`: the cluster's default for image streaming. The pools of Autopilot and of node auto-provisioning have no
    gcfsConfig and follow it.
    """
    told = [(found.code.name, found.message) for found in pool.conditions if found.message]
    told = told or ([("", pool.status_message)] if pool.status_message else [])
    return PoolView(
        name=pool.name,
        status=pool.status.name,
        streaming=bool(pool.config.gcfs_config.enabled) if "gcfs_config" in pool.config else inherited,
        image_type=pool.config.image_type,
        service_account=pool.config.service_account,
        labels=dict(pool.config.resource_labels),
        trouble="; ".join(message.rstrip(".") for _, message in told),
        lacked_capacity=bool(told) and all(CAPACITY.search(" ".join(words)) for words in told),
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
