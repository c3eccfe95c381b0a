"""The objects of a cluster: apply, create, replace, patch, get, list, watch and delete.

Objects are plain dicts. The resources are defined in `resources`, the meaning of refusals in `errors`.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes.errors import Attempt, ExpiredError, NotFoundError
from airflow_llm_provisioning.gateways.kubernetes.resources import Resource, discovered, resource_named, resource_of
from airflow_llm_provisioning.gateways.kubernetes.shared_watch import shared_watch
from airflow_llm_provisioning.gateways.kubernetes.transport import Call, Transport
from airflow_llm_provisioning.gateways.kubernetes.watch import WatchEvent, watch

FIELD_MANAGER: Final = "airflow-llm-provisioning"
PAGE: Final = 500

Object = dict[str, Any]
Objects = list[Object]
Query = tuple[tuple[str, str], ...]

# Kubernetes, "Alternate representations of resources": without spec and data, where the server can.
_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_WITHOUT_CONTENT: Final = ("secrets", "configmaps")

_PATCH: Final = {
    "merge": "application/merge-patch+json",
    # JSON is valid YAML; the client sends the body of this type as JSON.
    "apply": "application/apply-patch+yaml",
}


class ObjectApi:
    """The objects of one cluster. Resources are named by their plural: `rayservices`, `pods`, `events.events.k8s.io`,
    ...

    Every call raises ClusterUnreachableError, ForbiddenError, ConflictError or another ClusterError, each one sentence.
    """

    def __init__(self, transport: Transport) -> None:
        self.name = transport.name
        self._transport = transport
        self._discovered: dict[tuple[str, str], Resource] = {}

    async def apply(
        self, manifest: Mapping[str, Any], *, field_manager: str = FIELD_MANAGER, force: bool = False
    ) -> Object:
        """Create or change an object by server-side apply. Raises ConflictError if another manager owns a field."""
        call = await self._on_object("PATCH", "patch", manifest, content_type=_PATCH["apply"])
        query = (("fieldManager", field_manager), ("force", "true" if force else "false"))
        return await self._transport.json(replace(call, query=query))

    async def create(
        self, manifest: Mapping[str, Any], *, field_manager: str = FIELD_MANAGER, dry_run: bool = False
    ) -> Object:
        """Create an object. Raises ConflictError if one of that name exists. `dry_run`: store nothing, and return what
        would be stored.

        A lost reply is not retried. After a ClusterUnreachableError the object may exist: `get` it and compare a label
        that only this caller sets.
        """
        resource, name, namespace = await self._identify(manifest)
        attempt = self._attempt("create", resource.plural, name, namespace)
        return await self._transport.json(
            Call(
                "POST",
                resource.path(namespace),
                attempt,
                query=(("fieldManager", field_manager), *((("dryRun", "All"),) if dry_run else ())),
                body=dict(manifest),
                repeatable=dry_run,
            )
        )

    async def replace(self, manifest: Mapping[str, Any]) -> Object:
        """Replace a whole object; with a resourceVersion, only if it was not changed since (ConflictError)."""
        return await self._transport.json(await self._on_object("PUT", "update", manifest))

    async def patch_merge(
        self, resource: str, name: str, patch: Mapping[str, Any], namespace: str | None = None
    ) -> Object:
        """Change fields of an object by a JSON merge patch."""
        found = resource_named(resource)
        return await self._transport.json(
            Call(
                "PATCH",
                found.path(namespace, name),
                self._attempt("patch", resource, name, namespace),
                body=dict(patch),
                content_type=_PATCH["merge"],
            )
        )

    async def get(self, resource: str, name: str, namespace: str | None = None) -> Object | None:
        """Return an object, or None if it does not exist."""
        found = resource_named(resource)
        attempt = self._attempt("get", resource, name, namespace)
        try:
            return await self._transport.json(Call("GET", found.path(namespace, name), attempt))
        except NotFoundError:
            return None

    async def find(self, manifest: Mapping[str, Any]) -> Object | None:
        """Return the object with a manifest's apiVersion, kind, name and namespace; None without one. The cluster is
        asked about kinds that are not in `resources`.
        """
        call = await self._on_object("GET", "get", manifest)
        try:
            return await self._transport.json(replace(call, body=None))
        except NotFoundError:
            return None

    async def remove(self, manifest: Mapping[str, Any], *, uid: str | None = None) -> bool:
        """Request the deletion of the object of a manifest's identity, with what it owns; False if it is gone."""
        call = await self._on_object("DELETE", "delete", manifest)
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        body = {**options, **({"preconditions": {"uid": uid}} if uid else {})}
        try:
            await self._transport.send(replace(call, body=body))
        except NotFoundError:
            return False
        return True

    async def list(
        self, resource: str, namespace: str | None = None, labels: str | None = None, fields: str | None = None
    ) -> tuple[Objects, str | None]:
        """Return the objects and the resourceVersion to watch from; `namespace` None lists all namespaces.

        For an optional resource that the cluster does not serve (`nodeclaims`) the result is ([], None). The content of
        Secrets and ConfigMaps is not asked for.
        """
        found = resource_named(resource)
        async with self._transport.session(self._attempt("list", resource, "", namespace)).lists:
            try:
                return await self._pages(found, resource, namespace, _selectors(labels, fields), limit=PAGE)
            except ExpiredError:
                # The snapshot of the pages expired during reading; without a limit the list is one answer.
                return await self._pages(found, resource, namespace, _selectors(labels, fields), limit=None)
            except NotFoundError:
                if found.optional:
                    return [], None
                raise

    def watch(
        self,
        resource: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        *,
        resource_version: str,
        timeout_s: float = 50.0,
        on_open: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[WatchEvent]:
        """Yield changes after `resource_version` until the server ends the watch after `timeout_s` real seconds.

        `on_open` is called when the server has accepted the watch. Raises ExpiredError (410: list again) and
        ClusterUnreachableError (watch again). `follow` handles both.
        """
        call = Call(
            "GET",
            resource_named(resource).path(namespace),
            self._attempt("watch", resource, "", namespace),
            query=_selectors(labels, fields),
        )
        session = self._transport.session(call.attempt)
        # The watch may outlive the wait that opened it.
        transport = self._transport.of_session(session)

        def opens(version: str, accepted: Callable[[], None]) -> AsyncIterator[WatchEvent]:
            return watch(transport, call, resource_version=version, timeout_s=timeout_s, on_open=accepted)

        request = (call.path, *call.query)
        return shared_watch(session, request, resource_version, opens, on_open)

    async def delete(
        self,
        resource: str,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_s: int | None = None,
        propagation: str | None = None,
    ) -> bool:
        """Request an object's deletion; False if it is already gone. It may still exist afterwards: see `wait_gone`.

        `uid`, `resource_version`: only this object or version (ConflictError otherwise). `propagation`: Foreground,
        Background or Orphan.
        """
        conditions = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "gracePeriodSeconds": grace_s,
            "propagationPolicy": propagation,
            "preconditions": {key: value for key, value in conditions.items() if value is not None} or None,
        }
        call = Call(
            "DELETE",
            resource_named(resource).path(namespace, name),
            self._attempt("delete", resource, name, namespace),
            body={key: value for key, value in options.items() if value is not None},
        )
        try:
            await self._transport.send(call)
        except NotFoundError:
            return False
        return True

    def _attempt(self, verb: str, resource: str, name: str = "", namespace: str | None = None) -> Attempt:
        return Attempt(verb, resource, f"{namespace}/{name}" if namespace and name else name, self.name)

    async def resource_for(self, manifest: Mapping[str, Any]) -> Resource:
        """Return the resource of a manifest's apiVersion and kind; the cluster is asked about kinds that are not in
        `resources`. Raises ClusterError where it does not serve that kind.
        """
        return resource_of(manifest) or await self._discover(manifest)

    async def other_versions(self, resource: str) -> tuple[str, ...]:
        """Return in which other versions (`<group>/<version>`) the cluster serves a resource of `resources`."""
        wanted = resource_named(resource)
        attempt = self._attempt("find", f"versions of {wanted.group}")
        try:
            group = await self._transport.json(Call("GET", f"/apis/{wanted.group}", attempt))
            named = [str(item.get("groupVersion")) for item in group.get("versions") or ()]
            served = [
                (api, await self._transport.json(Call("GET", f"/apis/{api}", attempt)))
                for api in named
                if api != wanted.api
            ]
        except NotFoundError:
            return ()
        return tuple(api for api, answer in served if discovered(api, wanted.kind, answer))

    async def _identify(self, manifest: Mapping[str, Any]) -> tuple[Resource, str, str | None]:
        metadata = manifest.get("metadata") or {}
        resource = await self.resource_for(manifest)
        namespace = (metadata.get("namespace") or "default") if resource.namespaced else None
        return resource, str(metadata.get("name", "")), namespace

    async def _on_object(
        self, method: str, verb: str, manifest: Mapping[str, Any], content_type: str = "application/json"
    ) -> Call:
        resource, name, namespace = await self._identify(manifest)
        attempt = self._attempt(verb, resource.plural, name, namespace)
        return Call(method, resource.path(namespace, name), attempt, body=dict(manifest), content_type=content_type)

    async def _discover(self, manifest: Mapping[str, Any]) -> Resource:
        api, kind = str(manifest.get("apiVersion")), str(manifest.get("kind"))
        if (api, kind) not in self._discovered:
            attempt = self._attempt("find", f"kind {kind} of {api}")
            path = f"/apis/{api}" if "/" in api else f"/api/{api}"
            try:
                resource = discovered(api, kind, await self._transport.json(Call("GET", path, attempt)))
            except NotFoundError:
                resource = None  # not even its group
            if resource is None:
                raise ClusterError(f"Could not {attempt}: the cluster does not serve that kind. Install its CRD first.")
            self._discovered[api, kind] = resource
        return self._discovered[api, kind]

    async def _pages(
        self,
        found: Resource,
        resource: str,
        namespace: str | None,
        query: Query,
        limit: int | None,
    ) -> tuple[Objects, str | None]:
        items: Objects = []
        token = ""
        accept = _METADATA if resource in _WITHOUT_CONTENT else "application/json"
        while True:
            paging: Query = (("limit", str(limit)),) if limit else ()
            paging += (("continue", token),) if token else ()
            attempt = self._attempt("list", resource, "", namespace)
            call = Call("GET", found.path(namespace), attempt, query=query + paging, accept=accept)
            answer = await self._transport.json(call)
            if not _is_list(answer):
                raise ClusterError(
                    f"Could not {attempt}: the answer is no list of objects. Is {self._transport.name} an API server?"
                )
            # The items of a list contain neither kind nor apiVersion; stored objects need both.
            named = {"apiVersion": found.api, "kind": found.kind}
            items += [{**named, **item, **named} for item in answer["items"] or ()]
            metadata, last = answer["metadata"], token
            token = metadata.get("continue") or ""
            if not token:
                return items, metadata.get("resourceVersion")
            if token == last:
                raise ClusterError(f"Could not {attempt}: the server answers with the same page again and again.")


def _is_list(answer: Mapping[str, Any]) -> bool:
    """Return whether an answer is a list of the API (meta/v1 ListMeta). One without `items` is no empty list: what is
    not seen must not be called gone. `null` is Go's empty slice.
    """
    items = answer.get("items") or []
    if "items" not in answer or not isinstance(items, list) or not isinstance(answer.get("metadata"), dict):
        return False
    return all(isinstance(item, dict) and isinstance(item.get("metadata"), dict) for item in items)


def _selectors(labels: str | None, fields: str | None) -> Query:
    asked = (("labelSelector", labels), ("fieldSelector", fields))
    return tuple((key, value) for key, value in asked if value)
