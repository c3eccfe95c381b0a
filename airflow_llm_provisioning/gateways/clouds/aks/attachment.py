"""May a cluster's nodes pull from a registry as themselves?

Artifact Streaming works only for nodes whose kubelet identity has a role on the registry (`az aks update --attach-acr`
gives it AcrPull); with a token or a secret the plain image is pulled, and with nothing at all the pods never start
(AKS docs, artifact-streaming.md and cluster-container-registry-integration.md). A registry in the mode "RBAC Registry
+ ABAC Repository Permissions" honours neither AcrPull nor the roles of its owners, only those of repositories (ACR
docs, container-registry-rbac-abac-repository-permissions). It changes nothing in Azure.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, azure_errors
from airflow_llm_provisioning.gateways.clouds.aks.tags import word

ASSUMED: Final = "registry_attached"
# Built-in roles by the ids that are the same in every tenant (Azure RBAC docs, "Azure built-in roles"): those with
# content/read of repositories, which every registry honours, and those with registries/pull/read.
MAY_PULL_REPOSITORIES: Final[Mapping[str, str]] = {
    "b93aa761-3e63-49ed-ac28-beffa264f7ac": "Container Registry Repository Reader",
    "2a1e307c-b015-4ebd-883e-5b7698a07328": "Container Registry Repository Writer",
    "2efddaa5-3f1f-4df3-97df-af3f13818f4c": "Container Registry Repository Contributor",
}
MAY_PULL: Final[Mapping[str, str]] = {
    **MAY_PULL_REPOSITORIES,
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "8311e382-0749-4cb8-b61a-304f252e45ec": "AcrPush",
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": "Reader",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
}


MAY_PULL_ROLE: Final = "Container Registry Repository Reader"
ABAC: Final = "AbacRepositoryPermissions"


def in_abac_mode(registry: Any) -> bool:
    """Return whether a registry, as Azure describes it, honours the roles of repositories alone."""
    return word(registry.role_assignment_mode) == ABAC


def attachment_problems(account: AzureAccount, request: Mapping[str, Any], cluster: Any, registry: Any) -> list[str]:
    """Return why the cluster's nodes may not pull from the registry; empty where they may, or where it cannot be known.

    `cluster`, `registry`: as Azure describes them. A cluster without a kubelet identity (service principal), and an
    identity of ours that may not read role assignments, are not judged.
    """
    identity = (cluster.properties.identity_profile or {}).get("kubeletidentity")
    principal = identity.object_id if identity is not None else None
    if principal is None or ASSUMED in (request.get("assume") or ()):
        return []
    roles = _roles(account, str(registry.id), str(principal))
    abac = in_abac_mode(registry)
    if roles is None or roles & (MAY_PULL_REPOSITORIES if abac else MAY_PULL).keys():
        return []
    otherwise = f"or, where a role of your own allows it, set the option assume: [{ASSUMED}]"
    if abac:
        honoured = "its mode is ABAC, which honours neither AcrPull (so --attach-acr does not help) nor Owner"
        found = f"the nodes of cluster {cluster.name!r} may not pull from registry {registry.name!r}: {honoured}"
        return [f"{found}: {assignment(MAY_PULL_ROLE, str(principal), str(registry.id))} ({otherwise})"]
    command = f"az aks update --name {cluster.name} --resource-group {account.resource_group}"
    found = (
        f"registry {registry.name!r} is not attached to cluster {cluster.name!r}, and its nodes may not pull from it"
    )
    return [f"{found}: {command} --attach-acr {registry.name} ({otherwise})"]


def assignment(role: str, principal: str, scope: str) -> str:
    """Return the command that gives an identity a role. `principal`: its object id."""
    return (
        f'az role assignment create --role "{role}" --assignee-object-id {principal} '
        f"--assignee-principal-type ServicePrincipal --scope {scope}"
    )


def _roles(account: AzureAccount, scope: str, principal: str) -> set[str] | None:
    """Return the ids of a principal's roles on a resource, groups and wider scopes included; None if not allowed."""
    # Azure RBAC REST, "Role Assignments - List For Scope": assignedTo() counts group memberships too.
    wanted = quote(f"assignedTo('{principal}')", safe="")
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter={wanted}"
    with azure_errors(f"Reading who may pull from {scope.rpartition('/')[2]}"):
        response = account.registries.send_request(HttpRequest("GET", "{endpoint}" + path))
        if response.status_code == 403:
            return None
        if response.status_code >= 400:
            raise HttpResponseError(response=response)
    found = (item["properties"] for item in response.json()["value"])
    # An assignment further down (a repository's own) says nothing about the registry.
    return {
        str(item["roleDefinitionId"]).rpartition("/")[2].lower()
        for item in found
        if scope.lower().startswith(str(item["scope"]).rstrip("/").lower())
    }
