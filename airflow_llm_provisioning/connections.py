"""The only reader of Airflow connections. Extras are read by name; none is ever spread into a call.

Each function opens one gateway: the official provider's hook gives the credentials, the gateway gets objects and never
sees a connection. Cloud SDKs and hooks are imported inside the functions, so that a missing extra hurts only who needs
it.
"""

import copy
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.exceptions import ConfigurationError, ConnectionConfigError, MissingExtraError
from airflow_llm_provisioning.gateways.ledger import ReadOnlyLedger

if TYPE_CHECKING:
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
    from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook

    from airflow_llm_provisioning.gateways.clouds.aks import AksCloud
    from airflow_llm_provisioning.gateways.clouds.base import Cloud, ClusterAccess
    from airflow_llm_provisioning.gateways.clouds.eks import EksCloud
    from airflow_llm_provisioning.gateways.clouds.gke import GkeCloud
    from airflow_llm_provisioning.gateways.kubernetes import Cluster, Credentials
    from airflow_llm_provisioning.gateways.kubernetes.clock import ClusterClock
    from airflow_llm_provisioning.gateways.ledger import Ledger
    from airflow_llm_provisioning.gateways.store import ResultsStore

DEFAULT_STORE: Final = "llm_provisioning_results"


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

    return Cluster(connect, name=name)


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


async def cluster_clock(reference: Mapping[str, Any] | None) -> "ClusterClock":
    """Return the clock that a cluster declares, or UTC where there is no cluster to ask."""
    from airflow_llm_provisioning.gateways.kubernetes.clock import ClusterClock

    if not reference:
        return ClusterClock()
    async with open_cluster(reference) as cluster:
        return ClusterClock.declared(cluster.version())


def open_store(conn_id: str = DEFAULT_STORE) -> "ResultsStore":
    """Return the results store behind an Airflow connection; the default one is a SQLite file in AIRFLOW_HOME."""
    from airflow_llm_provisioning.gateways.store import ResultsStore

    return ResultsStore.open(store_url(conn_id))


def store_url(conn_id: str = DEFAULT_STORE) -> str:
    """Return the SQLAlchemy URL of a results store. It may hold a password: never log it."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException, AirflowRuntimeError

    try:
        connection = BaseHook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        if conn_id != DEFAULT_STORE:
            raise ConnectionConfigError(
                f"The results store's Airflow connection {conn_id!r} is not defined: create it (sqlite, postgres, "
                f"mysql, ...) or use {DEFAULT_STORE!r}, which is a file by default."
            ) from error
        return f"sqlite:///{default_store_file()}"
    try:
        url = _sqlalchemy_url(connection.get_hook())  # type: ignore[no-untyped-call]
    except (AirflowException, AttributeError, ImportError, NotImplementedError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} ({connection.conn_type}) is no SQL database that SQLAlchemy knows: {error}"
        ) from error
    return url


def _sqlalchemy_url(hook: Any) -> str:
    try:
        url: str = hook.sqlalchemy_url.render_as_string(hide_password=False)
    except NotImplementedError:
        # SqliteHook has only the text (apache-airflow-providers-sqlite 4.3).
        url = hook.get_uri()
    return url


def default_store_file() -> Path:
    """Return where the results are kept when no connection says otherwise."""
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "llm_provisioning" / "results.db"


def utc_now() -> datetime:
    """Return the real time."""
    return datetime.now(UTC)


def eks_cloud(
    reference: Mapping[str, Any], *, ledger: "Ledger | None" = None, clock: Callable[[], datetime] | None = None
) -> "EksCloud":
    """Return the gateway of an `aws` connection: docs/eks.md says which fields it reads.

    `reference` (JSON): `conn_id`; `region` and the names of docs/eks.md (`codebuild_role_arn`, ...) override the
    extras. The official hook makes the session, and a new one when its token has expired.
    """
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        from airflow_llm_provisioning.gateways.clouds.eks import EksCloud
        from airflow_llm_provisioning.gateways.clouds.eks.names import EksNames
    except ImportError as error:
        raise MissingExtraError(
            f"EKS needs packages that are not installed ({error.name}): pip install 'airflow-llm-provisioning[amazon]'."
        ) from error
    conn_id = str(reference.get("conn_id") or "aws_default")
    extra = _aws_extras(AwsBaseHook, conn_id)
    region = reference.get("region") or extra.get("region_name")
    if not region:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} lacks the extra region_name: add it (docs/eks.md)."
        )

    def named(name: str) -> Any:
        return reference.get(name) or extra.get(name) or None

    groups = named("security_group_ids") or ()
    defaults = EksNames()
    return EksCloud(
        # A hook keeps its session; a fresh hook reads the connection again.
        lambda: AwsBaseHook(aws_conn_id=conn_id, region_name=str(region)).get_session(),
        region=str(region),
        endpoint_url=extra.get("endpoint_url"),
        ledger=ledger or ReadOnlyLedger(),
        clock=clock or utc_now,
        names=EksNames(
            codebuild_role_arn=named("codebuild_role_arn"),
            builder_instance_profile=named("builder_instance_profile"),
            source_bucket=named("source_bucket"),
            subnet_id=named("subnet_id"),
            security_group_ids=tuple([groups] if isinstance(groups, str) else groups),
            build_compute_type=named("build_compute_type") or defaults.build_compute_type,
            build_image=named("build_image") or defaults.build_image,
            builder_instance_type=named("builder_instance_type") or defaults.builder_instance_type,
        ),
    )


def _aws_extras(hook: Any, conn_id: str) -> dict[str, Any]:
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        # The hook itself only warns of a missing connection and then uses whatever credentials lie about.
        connection = hook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is not defined: create it (type aws, docs/eks.md) or name another."
        ) from error
    if connection.conn_type != "aws":
        raise ConnectionConfigError(f"Airflow connection {conn_id!r} has the type {connection.conn_type!r}, not aws.")
    extra: dict[str, Any] = connection.extra_dejson
    return extra


def aks_cloud(
    reference: Mapping[str, Any], *, ledger: "Ledger | None" = None, clock: Callable[[], datetime] | None = None
) -> "AksCloud":
    """Return the gateway of an `azure` connection: docs/aks.md says which fields it reads.

    `reference` (JSON): `conn_id`; `subscription_id` (the extra `subscriptionId`), and `registry`, `resource_group` and
    `registry_resource_group` override the extras. The official hook makes the azure-identity object; its `get_conn`
    cannot build today's clients.
    """
    try:
        from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook

        from airflow_llm_provisioning.gateways.clouds.aks import AksCloud
    except ImportError as error:
        raise MissingExtraError(
            f"AKS needs packages that are not installed ({error.name}): "
            "pip install 'airflow-llm-provisioning[microsoft-azure]'."
        ) from error
    conn_id = str(reference.get("conn_id") or "azure_default")
    connection = _azure_connection(AzureBaseHook, conn_id)
    extra: dict[str, Any] = connection.extra_dejson
    endpoints = {str(name): str(url) for name, url in dict(extra.get("endpoints") or {}).items()}

    def named(name: str) -> str | None:
        return reference.get(name) or extra.get(name) or None

    subscription_id = reference.get("subscription_id") or extra.get("subscriptionId")
    found = {"subscriptionId": subscription_id, "resource_group": named("resource_group")}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} lacks the extra {' and '.join(missing)}: add it (docs/aks.md)."
        )
    return AksCloud(
        _azure_credential(AzureBaseHook, connection, endpoints),
        subscription_id=str(subscription_id),
        resource_group=str(named("resource_group")),
        registry=named("registry"),
        registry_resource_group=named("registry_resource_group"),
        endpoints=endpoints,
        tenant_id=extra.get("tenantId"),
        cloud_environment=extra.get("cloud_environment"),
        ledger=ledger or ReadOnlyLedger(),
        clock=clock or utc_now,
    )


def _azure_connection(hook: "type[AzureBaseHook]", conn_id: str) -> Any:
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        connection = hook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is not defined: create it (type azure, docs/aks.md) or name another."
        ) from error
    if connection.conn_type != "azure":
        raise ConnectionConfigError(f"Airflow connection {conn_id!r} has the type {connection.conn_type!r}, not azure.")
    if connection.extra_dejson.get("key_path") or connection.extra_dejson.get("key_json"):
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} has a key file, which azure-identity does not read: "
            "give login, password and tenantId, or a managed or workload identity (docs/aks.md)."
        )
    return connection


def _azure_credential(hook: "type[AzureBaseHook]", connection: Any, endpoints: Mapping[str, str]) -> Any:
    """Return the azure-identity object that the official hook makes of a connection.

    A stand-in on plain HTTP gets a made-up token: real credentials never leave for it.
    """
    from airflow_llm_provisioning.gateways.clouds.aks.arm import LocalCredential

    if any(url.startswith("http://") for url in endpoints.values()):
        return LocalCredential()
    # Without this switch the hook makes objects of the old kind: they call Entra when made and give no tokens.
    asking = copy.copy(connection)
    asking.extra = json.dumps({**connection.extra_dejson, "use_azure_identity_object": True})
    return hook(conn_id=str(connection.conn_id)).get_credential(conn=asking)


def gke_cloud(
    reference: Mapping[str, Any], *, ledger: "Ledger | None" = None, clock: Callable[[], datetime] | None = None
) -> "GkeCloud":
    """Return the gateway of a `google_cloud_platform` connection: docs/gke.md says which fields it reads.

    `reference` (JSON): `conn_id`; `project`, `location` and `build_location` override the extras of the same names;
    `region` serves where no `location` (the cluster's zone or region) is said. Credentials are the official hook's.
    """
    try:
        from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

        from airflow_llm_provisioning.gateways.clouds.gke import GkeCloud
    except ImportError as error:
        raise MissingExtraError(
            f"GKE needs packages that are not installed ({error.name}): pip install 'airflow-llm-provisioning[google]'."
        ) from error
    conn_id = str(reference.get("conn_id") or "google_cloud_default")
    extra = _google_extras(GoogleBaseHook, conn_id)
    endpoints = {str(name): str(url) for name, url in dict(extra.get("endpoints") or {}).items()}
    credentials, default_project = _google_credentials(GoogleBaseHook, conn_id, endpoints)
    project = reference.get("project") or default_project or extra.get("project")
    location = reference.get("location") or extra.get("location") or reference.get("region")
    missing = [name for name, value in (("project", project), ("location", location)) if not value]
    if missing:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} lacks the extra {' and '.join(missing)}: add it (docs/gke.md)."
        )
    return GkeCloud(
        credentials,
        project=str(project),
        location=str(location),
        endpoints=endpoints,
        ledger=ledger or ReadOnlyLedger(),
        clock=clock or utc_now,
        build_location=str(reference.get("build_location") or extra.get("build_location") or "global"),
    )


def _google_extras(hook: "type[GoogleBaseHook]", conn_id: str) -> dict[str, Any]:
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        connection = hook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is not defined: create it (type google_cloud_platform, docs/gke.md) or "
            "name another."
        ) from error
    if connection.conn_type != "google_cloud_platform":
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} has the type {connection.conn_type!r}, not google_cloud_platform."
        )
    extra: dict[str, Any] = connection.extra_dejson
    return extra


def _google_credentials(
    hook: "type[GoogleBaseHook]", conn_id: str, endpoints: Mapping[str, str]
) -> tuple[Any, str | None]:
    """Return credentials and project as the official hook reads them.

    A stand-in on plain HTTP gets none: real credentials never leave for it.
    """
    from airflow.sdk.exceptions import AirflowException
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError

    if any(url.startswith("http://") for url in endpoints.values()):
        return AnonymousCredentials(), None
    try:
        credentials, project = hook(gcp_conn_id=conn_id).get_credentials_and_project_id()
    except (AirflowException, GoogleAuthError, OSError, ValueError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} gives no Google credentials: {error}. Check its key file, key text or "
            "impersonation chain (docs/gke.md)."
        ) from error
    return credentials, project


def _generic_cloud() -> "Cloud":
    from airflow_llm_provisioning.gateways.clouds.generic import GenericCloud

    return GenericCloud()


async def _connection_type(conn_id: str) -> str:
    from airflow.providers.common.compat.connection import get_async_connection
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        connection = await get_async_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is not defined: create it (type kubernetes, aws, google_cloud_platform or "
            "azure) under Admin, Connections, or name another."
        ) from error
    return str(connection.conn_type)


async def _kubernetes_credentials(conn_id: str) -> "Credentials":
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
    from airflow.sdk.exceptions import AirflowException
    from kubernetes_asyncio.config import ConfigException

    from airflow_llm_provisioning.gateways.kubernetes import Credentials

    hook = AsyncKubernetesHook(conn_id=conn_id)
    try:
        async with hook.get_conn() as client:
            configuration = client.configuration
        extras = await hook.get_conn_extras()
    except (AirflowException, ConfigException, OSError, ValueError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} does not lead to a cluster: {error}. Give exactly one of "
            "kube_config_path, kube_config and in_cluster in it, and check that the file exists."
        ) from error
    if extras.get("disable_verify_ssl") or extras.get("extra__kubernetes__disable_verify_ssl"):
        configuration.verify_ssl = False
    return Credentials(configuration)


async def _cloud_credentials(conn_type: str, reference: Mapping[str, Any]) -> "Credentials":
    from airflow_llm_provisioning.gateways.kubernetes.credentials import from_access

    conn_id, cluster_name = str(reference["conn_id"]), str(reference.get("cluster_name") or "")
    cloud = _CLOUD_OF_TYPE.get(conn_type)
    if cloud is None:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} has the type {conn_type!r}: a cluster is reached by kubernetes, "
            f"{', '.join(_CLOUD_OF_TYPE)}."
        )
    if not cluster_name:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is a cloud's ({conn_type}): say which cluster of it, by `cluster_name`."
        )

    def mint() -> "ClusterAccess":
        return open_cloud({**reference, "cloud": cloud}).cluster_access(cluster_name)

    return await from_access(mint)()


_CLOUD_OF_TYPE: Final[Mapping[str, str]] = {"aws": "eks", "google_cloud_platform": "gke", "azure": "aks"}
