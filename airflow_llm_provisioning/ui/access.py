"""Who asks, and what they may see and do: Airflow's own login and permissions, asked at every request.

Airflow does not protect the applications of plugins (its documentation of plugins says so), so every route depends on
`current_user`. The functions used here are not part of Airflow's public interface. Where they are missing, the
application is not built (`ui.app`), so nothing is served without a check.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, HTTPException, Request

User = Annotated[Any, Depends(get_user)]
"""A user as Airflow's auth manager knows them; a request without a valid token ends here with 401 or 403."""

Method = Literal["GET", "POST", "PUT"]


def readable_dags(user: Any, dag_ids: Iterable[str]) -> set[str]:
    """Return those of the DAGs that the user may read."""
    found: set[str] = set()
    for team, members in _by_team(set(dag_ids)).items():
        # Airflow 3.1 has no teams and not this argument.
        of_team: dict[str, Any] = {} if team is None else {"team_name": team}
        found |= get_auth_manager().filter_authorized_dag_ids(dag_ids=members, user=user, method="GET", **of_team)
    return found


def may(user: Any, method: Method, dag_id: str, *, runs: bool = False) -> bool:
    """Return whether a user may do something with a DAG, or with its runs."""
    (team,) = _by_team({dag_id})
    return bool(
        get_auth_manager().is_authorized_dag(
            method=method,
            access_entity=DagAccessEntity.RUN if runs else None,
            details=DagDetails(id=dag_id, team_name=team),
            user=user,
        )
    )


def may_start(user: Any, dag_id: str) -> bool:
    """Return whether a user may trigger a DAG: what Airflow's own route asks (`trigger_dag_run`, Airflow 3.3)."""
    return may(user, "POST", dag_id, runs=True)


def require_change(user: Any, dag_id: str) -> None:
    """Refuse a user who may not change the runs of a DAG, as Airflow does before a run's note or state is set."""
    if not may(user, "PUT", dag_id, runs=True):
        raise HTTPException(403, f"You need the permission to edit runs of DAG {dag_id}.")


def require_same_origin(request: Request, user: User) -> None:
    """Refuse a change that another site's page sends with the cookie of a user, who must be known first.

    Airflow's cookie is SameSite=Lax and its API takes JSON only, which another site's page cannot send without being
    asked for leave first. The same is required here, and where the browser says that the request comes from another
    site (Sec-Fetch-Site), it is refused.
    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(415, "Send JSON.")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "This request comes from another site.")


def _by_team(dag_ids: set[str]) -> dict[str | None, set[str]]:
    """Return DAG ids by their team: Airflow decides by team where it has several."""
    from airflow_llm_provisioning.compat import teams_of

    teams = teams_of(dag_ids)
    found: dict[str | None, set[str]] = {}
    for dag_id in dag_ids:
        found.setdefault(teams.get(dag_id), set()).add(dag_id)
    return found
