"""A cluster's gateway from a `kubernetes` connection, or from a cloud's and a cluster name."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_llm_provisioning.connections.cloud import opened_cloud
from airflow_llm_provisioning.connections.extra import given_fields, is_true
from airflow_llm_provisioning.connections.stored import searched_places, see_stored_connections
from airflow_llm_provisioning.core.one_line import one_line
from airflow_llm_provisioning.exceptions import ConnectionConfigError, ManifestError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
    from airflow_llm_provisioning.gateways.kubernetes import Cluster, Credentials
    from airflow_llm_provisioning.gateways.kubernetes.clock import ClusterClock

# Of a `kubernetes` connection.
_ONE_OF: Final = ("kube_config_path", "kube_config", "in_cluster")


def open_cluster(reference: Mapping[str, Any]) -> "Cluster":
    """Return a cluster's gateway, to be entered with `async with`; the connection is read only then.

    `reference` (JSON): `conn_id`; for a cloud's connection also `cluster_name` and, where the connection does not say
    it, `region`; `namespace` is the caller's. Connection types: `kubernetes` (kubeconfig path or text, in-cluster), or
    `aws`, `google_cloud_platform`, `azure`, whose gateway mints the token. Works in a worker (`asyncio.run`) and in a
    triggerer.
    """
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

    conn_id = str(reference.get("conn_id") or "")
    if not conn_id:
        raise ConnectionConfigError(f"A cluster was asked for without `conn_id`: found {dict(reference)!r}.")
    name = str(reference.get("cluster_name") or conn_id)

    async def connect() -> "Credentials":
        connection = await _connection(conn_id)
        if connection.conn_type == "kubernetes":
            return await _kubernetes_credentials(conn_id, connection.extra_dejson)
        return await _cloud_credentials(str(connection.conn_type), reference)

    # The namespace is the caller's; everything else says which server is reached as whom.
    shared_as = json.dumps({key: value for key, value in reference.items() if key != "namespace"}, sort_keys=True)
    return Cluster(connect, name=name, shared_as=shared_as)


async def cluster_clock(reference: Mapping[str, Any] | None) -> "ClusterClock":
    """Return the clock that a cluster declares, or UTC where there is no cluster to ask."""
    from airflow_llm_provisioning.gateways.kubernetes.clock import ClusterClock

    if not reference:
        return ClusterClock()
    async with open_cluster(reference) as cluster:
        return ClusterClock.declared(cluster.version())


async def _connection(conn_id: str) -> Any:
    from airflow.providers.common.compat.connection import get_async_connection

    from airflow_llm_provisioning.compat import AirflowNotFoundException, AirflowRuntimeError

    await asyncio.to_thread(see_stored_connections)
    try:
        return await get_async_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        searched = await asyncio.to_thread(searched_places, conn_id)
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is not defined: create it (type kubernetes, aws, google_cloud_platform or "
            f"azure) under Admin, Connections, or name another.{searched}"
        ) from error


async def _kubernetes_credentials(conn_id: str, extras: Any) -> "Credentials":
    from kubernetes_asyncio.client import ApiClient, Configuration
    from kubernetes_asyncio.config import ConfigException

    from airflow_llm_provisioning.gateways.kubernetes import Credentials

    if not isinstance(extras, Mapping):
        raise _no_cluster(conn_id, "its extra fields are no mapping")
    configuration = Configuration()
    given = given_fields(extras, "kubernetes")
    given["in_cluster"] = is_true(given.get("in_cluster"))
    try:
        await _load(configuration, given)
        # It reads the certificates.
        await ApiClient(configuration).close()
    except (ConfigException, ManifestError, OSError, ValueError) as error:
        raise _no_cluster(conn_id, str(error)) from error
    except (AssertionError, AttributeError, LookupError, TypeError, RecursionError) as error:
        # The client takes a kubeconfig's shape for granted. What it says may repeat the text, so it is not shown.
        raise _no_cluster(conn_id, "its kubeconfig is not understood") from error
    _check_server(conn_id, str(configuration.host))
    if is_true(given.get("disable_verify_ssl")):
        configuration.verify_ssl = False
    return Credentials(configuration)


async def _load(configuration: Any, given: Mapping[str, Any]) -> None:
    """Set server and credentials, by the fields that Airflow's hook knows and in its order.

    The hook (apache-airflow-providers-cncf-kubernetes 10.25, `AsyncKubernetesHook._load_config`) is not used: its
    module imports the synchronous client of Kubernetes too, half a second of processor time in every task, and it
    writes a kubeconfig that is in the connection to a file.
    """
    from kubernetes_asyncio import config

    from airflow_llm_provisioning.core.yaml_text import load_with_dates

    if sum(bool(given.get(name)) for name in _ONE_OF) > 1:
        raise ValueError(f"{', '.join(_ONE_OF)} exclude each other")
    chosen = {"context": given.get("cluster_context"), "client_configuration": configuration}
    if given.get("in_cluster"):
        config.load_incluster_config(client_configuration=configuration)
    elif "kube_config_path" in given:
        await config.load_kube_config(config_file=_path(str(given["kube_config_path"])), **chosen)
    elif "kube_config" in given:
        told = given["kube_config"]
        read = told if isinstance(told, dict) else load_with_dates(told, where="its kubeconfig")
        if isinstance(read, str):
            # JSON text inside of JSON text, as a secrets backend or a script may store it.
            read = load_with_dates(read, where="its kubeconfig")
        await config.load_kube_config_from_dict(read, **chosen)
    else:
        await config.load_kube_config(**chosen)


def _path(told: str) -> str:
    """Return a path with the home directory in place of `~`; the client knows it in its default path only."""
    try:
        return str(Path(told).expanduser())
    except RuntimeError:
        return told


def _no_cluster(conn_id: str, why: str) -> ConnectionConfigError:
    # The client repeats the names that stand in a kubeconfig.
    told = one_line(why).rstrip(".")
    return ConnectionConfigError(
        f"Airflow connection {conn_id!r} does not lead to a cluster: {told}. Give exactly one of "
        "kube_config_path, kube_config and in_cluster in it, and check that the file exists."
    )


def _check_server(conn_id: str, server: str) -> None:
    """Refuse an address that the client cannot use, before it is used: the client's own error shows a password."""
    try:
        parsed = urlsplit(server)
        usable = parsed.scheme in ("http", "https") and bool(parsed.hostname) and (parsed.port or 0) >= 0
    except ValueError:
        usable = False
    if not usable:
        raise _no_cluster(conn_id, "the server's address in its kubeconfig is no http or https URL")
    if parsed.username is not None or parsed.password is not None:
        raise _no_cluster(
            conn_id, "the server's address in its kubeconfig holds a user, which belongs into the section `users`"
        )


async def _cloud_credentials(conn_type: str, reference: Mapping[str, Any]) -> "Credentials":
    from airflow_llm_provisioning.gateways.clouds.registry import cloud_of_connection_type, each_cloud
    from airflow_llm_provisioning.gateways.kubernetes.credentials import from_access

    conn_id, cluster_name = str(reference["conn_id"]), str(reference.get("cluster_name") or "")
    cloud = cloud_of_connection_type(conn_type)
    if cloud is None:
        types = [known for descriptor in each_cloud() for known in descriptor.connection_types]
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} has the type {conn_type!r}: a cluster is reached by kubernetes, "
            f"{', '.join(types)}."
        )
    name = cloud.name
    if not cluster_name:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is a cloud's ({conn_type}): say which cluster of it, by `cluster_name`."
        )

    def mint() -> "ClusterAccess":
        with opened_cloud({**reference, "cloud": name}) as opened:
            return opened.cluster_access(cluster_name)

    return await from_access(mint)()
