"""What a cluster says it serves: API groups, their resources, and the little of OpenAPI that kubectl asks for."""

from collections.abc import Iterable
from typing import Any, Final

from llm_provisioning_simulator.kube.resources import Resource, ResourceTable

Object = dict[str, Any]

_ALWAYS_STATUS_VERBS: Final = ["get", "patch", "update"]
_SUBRESOURCE_VERBS: Final[dict[str, list[str]]] = {
    "log": ["get"],
    "proxy": ["create", "delete", "get", "patch", "update"],
}


def document(table: ResourceTable, parts: tuple[str, ...], address: str) -> Object | None:
    """Return the document at a path (its parts); None when there is none. `address`: host and port of this server."""
    match parts:
        case ("api",):
            return _core_versions(address)
        case ("apis",):
            return _group_list(table)
        case ("apis", name):
            return _named_group(table, name)
        case ("api", version):
            return _resource_list(table, "", version)
        case ("apis", name, version):
            return _resource_list(table, name, version)
        case ("openapi", "v3", *place):
            return _openapi(table, place)
    return None


def _openapi(table: ResourceTable, place: list[str]) -> Object | None:
    match place:
        case []:
            return _openapi_root(table)
        case ["api", version]:
            return _openapi_document(table, "", version)
        case ["apis", name, version]:
            return _openapi_document(table, name, version)
    return None


def _core_versions(address: str) -> Object:
    """Return /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _group_list(table: ResourceTable) -> Object:
    """Return /apis."""
    groups = dict.fromkeys(group for group, _ in table.group_versions() if group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(table, name) for name in groups]}


def _named_group(table: ResourceTable, name: str) -> Object | None:
    """Return /apis/NAME, or None when nothing of that group is served."""
    if all(name != found for found, _ in table.group_versions()):
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(table, name)}


def _resource_list(table: ResourceTable, name: str, version: str) -> Object | None:
    """Return /api/v1 or /apis/NAME/VERSION, or None when it is not served."""
    served = [resource for resource in table if (resource.group, resource.version) == (name, version)]
    if not served:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": [
            entry for resource in sorted(served, key=lambda item: item.plural) for entry in _entries(resource)
        ],
    }


def _openapi_root(table: ResourceTable) -> Object:
    """Return /openapi/v3: where each group version's document is."""
    paths = [f"apis/{name}/{version}" if name else f"api/{version}" for name, version in table.group_versions()]
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}


def _openapi_document(table: ResourceTable, name: str, version: str) -> Object:
    """Return a document that says only that patches take `fieldValidation`: without it kubectl refuses to apply."""
    served = (resource for resource in table if (resource.group, resource.version) == (name, version))
    prefix = f"/apis/{name}/{version}" if name else f"/api/{version}"
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes (simulated)", "version": "v1.34.9"},
        "paths": {f"{prefix}/{_template(resource)}": _path_item(resource) for resource in served},
        "components": {"schemas": {}},
    }


def _group(table: ResourceTable, name: str) -> Object:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for found, version in table.group_versions()
        if found == name
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _entries(resource: Resource) -> Iterable[Object]:
    base = {"singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind}
    entry: Object = {"name": resource.plural, **base, "verbs": list(resource.verbs)}
    if resource.short:
        entry["shortNames"] = list(resource.short)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    yield entry
    below = {name: _SUBRESOURCE_VERBS[name] for name in resource.subresources}
    if resource.status:
        below["status"] = _ALWAYS_STATUS_VERBS
    for name, verbs in sorted(below.items()):
        yield {"name": f"{resource.plural}/{name}", **base, "singularName": "", "verbs": verbs}


def _template(resource: Resource) -> str:
    return (
        f"namespaces/{{namespace}}/{resource.plural}/{{name}}" if resource.namespaced else f"{resource.plural}/{{name}}"
    )


def _path_item(resource: Resource) -> Object:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")]
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    operation = {"parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": kind}
    return {"patch": operation}
