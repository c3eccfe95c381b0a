"""GKE behind a `google_cloud_platform` connection."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.connections.clock import utc_now
from airflow_llm_provisioning.connections.typed import typed_connection
from airflow_llm_provisioning.exceptions import ConnectionConfigError, MissingExtraError
from airflow_llm_provisioning.gateways.ledger import ReadOnlyLedger

if TYPE_CHECKING:
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

    from airflow_llm_provisioning.gateways.clouds.gke import GkeCloud
    from airflow_llm_provisioning.gateways.ledger import Ledger


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
    extra: dict[str, Any] = typed_connection(conn_id, "google_cloud_platform", "docs/gke.md").extra_dejson
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
