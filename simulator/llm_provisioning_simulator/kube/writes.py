"""Creates, updates, patches and deletes as they come over HTTP: what a client may set, and what is refused.

`ObjectStore` stores what controllers inside the simulator give it; the rules for outsiders are here.
"""

import base64
from typing import Any, Final, cast

from llm_provisioning_simulator.kube.admission import check_strictly, fill_in
from llm_provisioning_simulator.kube.apply import apply
from llm_provisioning_simulator.kube.calls import Call
from llm_provisioning_simulator.kube.changes import copy_tree
from llm_provisioning_simulator.kube.events import core_event, events_view
from llm_provisioning_simulator.kube.garbage import Propagation
from llm_provisioning_simulator.kube.patches import json_patch, merge_patch, strategic_merge
from llm_provisioning_simulator.kube.resources import Resource
from llm_provisioning_simulator.kube.selectors import selector
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.kube.statuses import (
    StatusError,
    bad_request,
    conflict,
    invalid,
    not_found,
    precondition_failed,
    success,
    version_required,
)
from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

APPLY: Final = ("application/apply-patch+yaml", "application/apply-patch+json")
_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_STRATEGIC: Final = "application/strategic-merge-patch+json"
# A kubelet registers its Node with the status it has; everybody else's status on create is dropped.
_KEEP_STATUS: Final = frozenset({"nodes"})
# Kinds whose update must name the version it was made from (AllowUnconditionalUpdate in their strategies, v1.34).
_CONDITIONAL: Final = frozenset({"leases", "customresourcedefinitions"})
# Kinds that a PUT creates where they are absent (AllowCreateOnUpdate in their strategies, v1.34).
_CREATED_BY_PUT: Final = frozenset(
    {
        "clusterrolebindings",
        "clusterroles",
        "endpoints",
        "events",
        "leases",
        "limitranges",
        "rolebindings",
        "roles",
        "services",
    }
)


def create(call: Call, store: ObjectStore) -> Object:
    """Store the object in the body; return it."""
    place = call.place
    item = _checked(call, call.mapping())
    if call.query.get("fieldValidation") == "Strict":
        check_strictly(place.resource, item, store)
    if place.resource.status and place.resource.plural not in _KEEP_STATUS:
        item.pop("status", None)
    return store.add(place.resource.plural, item, namespace=place.namespace, manager=call.manager, dry_run=call.dry_run)


def update(call: Call, store: ObjectStore) -> tuple[Object, bool]:
    """Store the body over the object; return it, and whether it is new: a PUT creates some kinds."""
    place = call.place
    found = store.peek(place.resource.plural, place.name, place.namespace)
    if found is None and place.resource.plural in _CREATED_BY_PUT and not place.subresource:
        return create(call, store), True
    live = _live(call, store)
    new = _checked(call, call.mapping())
    version = (new.get("metadata") or {}).get("resourceVersion")
    if not version and (not place.resource.builtin or place.resource.plural in _CONDITIONAL):
        raise version_required(place.resource, place.name)
    return _store(call, store, live, new), False


def patch(call: Call, store: ObjectStore) -> tuple[Object, bool]:
    """Patch the object, or by server-side apply create it; return it, and whether it is new."""
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip()
    if kind in APPLY:
        return _apply(call, store)
    live = _live(call, store)
    shown = _outside(call, live)
    if kind == _JSON_PATCH:
        new = json_patch(shown, call.document())
    elif kind == _MERGE_PATCH:
        new = merge_patch(shown, call.mapping())
    elif kind == _STRATEGIC and call.place.resource.builtin:
        new = strategic_merge(shown, call.mapping())
    else:
        raise _unknown_patch(call.place.resource)
    return _store(call, store, live, _inside(call, new)), False


def delete(call: Call, store: ObjectStore) -> Object:
    """Delete the object; return it where it stays for now, and else the Status of a success."""
    live = _live(call, store)
    options = call.mapping() if call.body.strip() else {}
    metadata = live["metadata"]
    for field, shown in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        asked = (options.get("preconditions") or {}).get(field)
        if asked is not None and asked != metadata[field]:
            raise precondition_failed(call.place.resource, call.place.name, shown, asked, metadata[field])
    gone = success(call.place.resource, metadata["name"], metadata["uid"])
    if call.dry_run or "All" in (options.get("dryRun") or ()):
        return gone
    left = _delete_one(call, store, live, options)
    plural = call.place.resource.plural
    stays = store.peek(plural, metadata["name"], metadata.get("namespace")) is left
    return left if stays or plural == "pods" else gone


def delete_collection(call: Call, store: ObjectStore) -> list[Object]:
    """Delete what the selectors choose; return it."""
    options = call.mapping() if call.body.strip() else {}
    found = chosen(call, store)
    return found if call.dry_run else [_delete_one(call, store, item, options) for item in found]


def chosen(call: Call, store: ObjectStore) -> list[Object]:
    """Return the stored objects a list or delete-collection is about: read only."""
    place = call.place
    if token := call.query.get("continue"):
        raise bad_request(f"invalid continue token: {_why_no_token(token)}")
    labels, fields = call.query.get("labelSelector", ""), call.query.get("fieldSelector", "")
    test = selector(labels, fields, place.resource) if labels or fields else None
    found = store.peek_all(place.resource.plural, place.namespace)
    return found if test is None else [item for item in found if test(item)]


def _why_no_token(token: str) -> str:
    """Return what is wrong with a continue token: lists come whole here, so that no token is the server's own."""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, UnicodeDecodeError):
        return "continue key is not valid: illegal base64 data at input byte 0"
    if not text.startswith("{"):
        return f"continue key is not valid: invalid character {text[:1]!r} looking for beginning of value"
    return "continue key is not valid: unrecognized token version"


def _delete_one(call: Call, store: ObjectStore, live: Object, options: Object) -> Object:
    asked = call.query.get("gracePeriodSeconds", options.get("gracePeriodSeconds"))
    policy = call.query.get("propagationPolicy") or options.get("propagationPolicy") or "Background"
    if options.get("orphanDependents"):
        policy = "Orphan"
    if policy not in ("Background", "Foreground", "Orphan"):
        raise bad_request(f"invalid propagationPolicy {policy!r}")
    grace_s = None if asked is None else float(asked)
    return store.delete_object(
        call.place.resource.plural, live, grace_s=grace_s, propagation=cast("Propagation", policy)
    )


def _live(call: Call, store: ObjectStore) -> Object:
    place = call.place
    found = store.peek(place.resource.plural, place.name, place.namespace)
    if found is None:
        raise not_found(place.resource, place.name)
    return found


def _checked(call: Call, item: Object) -> Object:
    """Return the body as it is stored, after checking that it is what the path says."""
    place = call.place
    version, kind = item.get("apiVersion", ""), item.get("kind", "")
    if version and version != place.resource.api_version:
        expected = place.resource.api_version
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({expected})"
        )
    if kind and kind != place.resource.kind:
        raise bad_request(f"{kind} in version {version!r} cannot be handled as a {place.resource.kind}")
    metadata = item.get("metadata") or {}
    _check_url(place.name, metadata.get("name"), "name of the object")
    _check_url(place.namespace, metadata.get("namespace"), "namespace of the provided object")
    return core_event(item) if call.is_events_view else item


def _check_url(asked: str | None, given: str | None, what: str) -> None:
    if asked and given and asked != given:
        if what.startswith("namespace"):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        raise bad_request(f"the {what} ({given}) does not match the name on the URL ({asked})")


def _outside(call: Call, item: Object) -> Object:
    """Return a stored object as the client knows it."""
    return events_view(item) if call.is_events_view else item


def _inside(call: Call, item: Object) -> Object:
    return core_event(item) if call.is_events_view else item


def _store(call: Call, store: ObjectStore, live: Object, new: Object, managed: list[Object] | None = None) -> Object:
    """Put a client's version over the live one, as far as the subresource allows."""
    place = call.place
    before, metadata = live["metadata"], new.get("metadata") or {}
    if metadata.get("uid", before["uid"]) != before["uid"]:
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {before['uid']}"
        raise conflict(place.resource, place.name, why)
    if metadata.get("resourceVersion") not in (None, "", before["resourceVersion"]):
        raise conflict(place.resource, place.name)
    if managed is None and metadata.get("managedFields", before["managedFields"]) != before["managedFields"]:
        # A client that rewrites the owners (kubectl, from client-side to server-side apply); [{}] clears them.
        managed = [entry for entry in metadata["managedFields"] if entry]
    return store.replace(
        place.resource.plural,
        live,
        copy_tree(_allowed(place.resource, place.subresource, live, new)),
        subresource=place.subresource or None,
        manager=call.manager,
        managed=managed,
        dry_run=call.dry_run,
    )


def _allowed(kind: Resource, subresource: str, live: Object, new: Object) -> Object:
    """Return what of a write counts: /status changes the status alone, a plain write everything else."""
    if subresource == "status":
        return live | ({"status": new["status"]} if "status" in new else {})
    if not kind.status:
        return new
    kept = {key: value for key, value in new.items() if key != "status"}
    return kept | ({"status": live["status"]} if "status" in live else {})


def _apply(call: Call, store: ObjectStore) -> tuple[Object, bool]:
    place = call.place
    manager = call.query.get("fieldManager")
    if not manager:
        message = "Required value: is required for apply patch"
        options = Resource("patchoptions", "PatchOptions", "meta.k8s.io")
        raise invalid(options, "", [("FieldValueRequired", "fieldManager", message)])
    config = _checked(call, call.mapping())
    part = place.subresource or None
    config = _applied_part(place.resource, part, config)
    live = store.peek(place.resource.plural, place.name, place.namespace)
    if live is None and part:
        raise not_found(place.resource, place.name)
    wanted_uid = (config.get("metadata") or {}).get("uid")
    if live is None and wanted_uid:
        why = f"Precondition failed: UID in precondition: {wanted_uid}, UID in object meta: "
        raise conflict(place.resource, place.name, why)
    now = stamp(store.clock.now())
    new, managed = apply(
        live,
        config,
        manager,
        force=call.flag("force"),
        now=now,
        subresource=part,
        fill_in=lambda item: fill_in(place.resource, item, store),
    )
    if live is not None:
        return _store(call, store, live, new, managed), False
    new["metadata"] = {**(new.get("metadata") or {}), "name": place.name}
    created = store.add(
        place.resource.plural,
        new,
        namespace=place.namespace,
        manager=manager,
        managed=managed,
        dry_run=call.dry_run,
    )
    return created, True


def _applied_part(kind: Resource, part: str | None, config: Object) -> Object:
    """Return what of an applied configuration counts, so that no manager owns a field that it cannot write."""
    if part == "status":
        kept = ("apiVersion", "kind", "metadata", "status")
        return {key: value for key, value in config.items() if key in kept}
    if kind.status and kind.plural not in _KEEP_STATUS:
        return {key: value for key, value in config.items() if key != "status"}
    return dict(config)


def _unknown_patch(kind: Resource) -> StatusError:
    types = [_JSON_PATCH, _MERGE_PATCH, *((_STRATEGIC,) if kind.builtin else ()), APPLY[0]]
    message = "the body of the request was in an unknown format - accepted media types include: "
    return StatusError(415, "UnsupportedMediaType", message + ", ".join(types))
