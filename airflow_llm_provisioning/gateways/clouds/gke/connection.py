"""GKE behind a `google_cloud_platform` connection: which fields are read, docs/gke.md describes them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError

from airflow_llm_provisioning.exceptions import ConnectionConfigError
from airflow_llm_provisioning.gateways.clouds.descriptor import ConnectionReader, endpoints_of
from airflow_llm_provisioning.gateways.clouds.gke.cloud import GkeCloud
from airflow_llm_provisioning.gateways.store.ledger import Ledger

DOCS: Final = "docs/gke.md"


def open_gke(
    reference: Mapping[str, Any], *, connections: ConnectionReader, ledger: Ledger, clock: Callable[[], datetime]
) -> GkeCloud:
    """Return the gateway of a `google_cloud_platform` connection.

    `reference` (JSON): `conn_id`; `project`, `location` and `build_location` override the extras of the same names;
    `region` serves where no `location` (the cluster's zone or region) is given. Credentials are the official hook's.
    """
    hook = connections.hook_class("airflow.providers.google.common.hooks.base_google:GoogleBaseHook")
    conn_id = str(reference.get("conn_id") or "google_cloud_default")
    extra: dict[str, Any] = connections.typed(conn_id, "google_cloud_platform", DOCS).extra_dejson
    endpoints = {str(name): str(url) for name, url in endpoints_of(extra, conn_id, DOCS).items()}
    credentials, default_project = _google_credentials(hook, conn_id, endpoints)
    project = reference.get("project") or default_project or extra.get("project")
    location = reference.get("location") or extra.get("location") or reference.get("region")
    missing = [name for name, value in (("project", project), ("location", location)) if not value]
    if missing:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} lacks the extra {' and '.join(missing)}: add it ({DOCS})."
        )
    return GkeCloud(
        credentials,
        project=str(project),
        location=str(location),
        endpoints=endpoints,
        ledger=ledger,
        clock=clock,
        build_location=str(reference.get("build_location") or extra.get("build_location") or "global"),
    )


def _google_credentials(hook: Any, conn_id: str, endpoints: Mapping[str, str]) -> tuple[Any, str | None]:
    """Return credentials and project as the official hook reads them.

    A stand-in on plain HTTP gets none: real credentials never leave for it.
    """
    if any(url.startswith("http://") for url in endpoints.values()):
        return AnonymousCredentials(), None
    from airflow_llm_provisioning.compat import AirflowException

    try:
        credentials, project = hook(gcp_conn_id=conn_id).get_credentials_and_project_id()
    except (AirflowException, GoogleAuthError, OSError, ValueError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} gives no Google credentials: {error}. Check its key file, key text or "
            f"impersonation chain ({DOCS})."
        ) from error
    return credentials, project
