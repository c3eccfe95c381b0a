"""A cluster's gateway from a `kubernetes` connection, or from a cloud's and a cluster name."""

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_llm_provisioning.connections.cloud import opened_cloud
from airflow_llm_provisioning.connections.stored import searched_places, see_stored_connections
from airflow_llm_provisioning.core.secrets import redacted_text
from airflow_llm_provisioning.exceptions import ConnectionConfigError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
    from airflow_llm_provisioning.gateways.kubernetes import Cluster, Credentials
    from airflow_llm_provisioning.gateways.kubernetes.clock import ClusterClock


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
        conn_type = await _connection_type(conn_id)
        if conn_type == "kubernetes":
            return await _kubernetes_credentials(conn_id)
        return await _cloud_credentials(conn_type, reference)

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


async def _connection_type(conn_id: str) -> str:
    from airflow.providers.common.compat.connection import get_async_connection

    from airflow_llm_provisioning.compat import AirflowNotFoundException, AirflowRuntimeError

    await asyncio.to_thread(see_stored_connections)
    try:
        connection = await get_async_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        searched = await asyncio.to_thread(searched_places, conn_id)
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is not defined: create it (type kubernetes, aws, google_cloud_platform or "
            f"azure) under Admin, Connections, or name another.{searched}"
        ) from error
    return str(connection.conn_type)


async def _kubernetes_credentials(conn_id: str) -> "Credentials":
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
    from kubernetes_asyncio.config import ConfigException
    from yaml import YAMLError

    from airflow_llm_provisioning.compat import AirflowException
    from airflow_llm_provisioning.gateways.kubernetes import Credentials

    class Hook(AsyncKubernetesHook):
        """Counts an empty field as not given, as the synchronous hook does.

        Airflow's form stores an empty text for a field that was left empty (apache/airflow 20626), and the asynchronous
        hook takes it for a value (apache-airflow-providers-cncf-kubernetes 10.25).
        """

        async def get_conn_extras(self) -> dict[str, Any]:
            return {name: value for name, value in (await super().get_conn_extras()).items() if value not in ("", None)}

    hook = Hook(conn_id=conn_id)
    try:
        async with hook.get_conn() as client:
            configuration = client.configuration
        extras = await hook.get_conn_extras()
    except (AirflowException, ConfigException, OSError, ValueError) as error:
        raise _no_cluster(conn_id, str(error)) from error
    except (AssertionError, AttributeError, LookupError, TypeError, YAMLError, RecursionError) as error:
        # The client takes a kubeconfig's shape for granted. What it says may repeat the text, so it is not shown.
        raise _no_cluster(conn_id, "its kubeconfig is not understood") from error
    _check_server(conn_id, str(configuration.host))
    if extras.get("disable_verify_ssl") or extras.get("extra__kubernetes__disable_verify_ssl"):
        configuration.verify_ssl = False
    return Credentials(configuration)


def _no_cluster(conn_id: str, why: str) -> ConnectionConfigError:
    told = redacted_text(why).rstrip(".")
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
