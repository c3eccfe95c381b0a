"""Objects as `kubectl get` prints them: the columns of each kind, and Table answers of meta.k8s.io/v1.

Columns of built-in kinds follow k8s.io/kubernetes pkg/printers/internalversion (v1.34); custom kinds print what their
CustomResourceDefinition lists. Ages are counted in the cluster's own time.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from llm_provisioning_simulator.kube.definitions import storage_version
from llm_provisioning_simulator.kube.podstatus import pod_cells
from llm_provisioning_simulator.kube.resources import CRDS, Resource
from llm_provisioning_simulator.kube.stamps import parse_stamp

if TYPE_CHECKING:
    from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]
Cells = list[Any]
Column = tuple[str, str, int]
"""name, type, priority (above 0: only with -o wide)."""


def table(kind: Resource, items: Sequence[Object], store: "ObjectStore", *, version: int, include: str) -> Object:
    """Return a Table of objects. `include`: what a row carries of its object: Metadata, Object or None."""
    columns, cells = _printer(kind, store)
    now = store.clock.now()
    rows = [{"cells": cells(item, now), "object": _row_object(item, include)} for item in items]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": str(version)},
        "columnDefinitions": [
            {
                "name": name,
                "type": type_,
                "format": "name" if name == "Name" else "",
                "description": name,
                "priority": priority,
            }
            for name, type_, priority in columns
        ],
        "rows": rows,
    }


def partial(item: Object) -> Object:
    """Return an object's metadata alone, as PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def age(text: str | None, now: datetime) -> str:
    """Return the time since a stamp as kubectl writes it: 5s, 3m20s, 4h5m, 2d."""
    then = parse_stamp(text)
    return "<unknown>" if then is None else _duration(int((now - then).total_seconds()))


def _duration(seconds: int) -> str:
    """k8s.io/apimachinery pkg/util/duration, HumanDuration, as far as hours and days go."""
    if seconds < 0:
        return "0s" if seconds >= -2 else "<invalid>"
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    return _two(days, "d", hours % 24, "h") if days < 8 else f"{days}d"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def _row_object(item: Object, include: str) -> Object | None:
    if include == "None":
        return None
    return item if include == "Object" else partial(item)


def _printer(kind: Resource, store: "ObjectStore") -> tuple[Sequence[Column], Callable[[Object, datetime], Cells]]:
    if kind.plural in _PRINTERS:
        return _PRINTERS[kind.plural]
    definition = None if kind.builtin else store.peek(CRDS, kind.group_resource)
    if definition is None:
        return _PLAIN
    columns: Sequence[Object] = storage_version(definition).get("additionalPrinterColumns") or _AGE_ONLY
    readers = [(_path(column["jsonPath"]), column.get("type", "string")) for column in columns]
    shown: list[Column] = [
        ("Name", "string", 0),
        *((_title(item["name"]), item.get("type", "string"), item.get("priority", 0)) for item in columns),
    ]

    def cells(item: Object, now: datetime) -> Cells:
        return [item["metadata"]["name"], *(_cell(_follow(item, path), type_, now) for path, type_ in readers)]

    return shown, cells


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]


def _cell(value: Any, type_: str, now: datetime) -> Any:
    if type_ == "date":
        return age(value, now)
    if value is None or type_ in ("integer", "number", "boolean"):
        return value
    return str(value)


_STEP: Final = re.compile(r"""\[\?\(@\.(\w+)==["']([^"']*)["']\)\]|\[(\d+)\]|\.((?:[^.\[\\]|\\.)+)""")


def _path(text: str) -> list[tuple[str, ...]]:
    """Return the steps of a CRD column's jsonPath: field, index, or `?(@.field=="value")`."""
    steps: list[tuple[str, ...]] = []
    for name, value, index, field in _STEP.findall(text):
        if name:
            steps.append((name, value))
        else:
            steps.append((field.replace("\\", "") or index,))
    return steps


def _follow(item: Any, path: Sequence[tuple[str, ...]]) -> Any:
    for step in path:
        if len(step) == 2:
            item = next((entry for entry in item or () if str(entry.get(step[0])) == step[1]), None)
        elif isinstance(item, list):
            item = item[int(step[0])] if step[0].isdigit() and int(step[0]) < len(item) else None
        else:
            item = item.get(step[0]) if isinstance(item, dict) else None
    return item


def _created(item: Object, now: datetime) -> str:
    return age(item["metadata"].get("creationTimestamp"), now)


def _plain(item: Object, now: datetime) -> Cells:
    return [item["metadata"]["name"], _created(item, now)]


def _node(item: Object, now: datetime) -> Cells:
    status, labels = item.get("status") or {}, item["metadata"].get("labels") or {}
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions") or ()}
    state = {"True": "Ready", None: "Unknown"}.get(conditions.get("Ready"), "NotReady")
    if (item.get("spec") or {}).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(key[len(prefix) :] for key in labels if key.startswith(prefix))) or "<none>"
    addresses = {entry["type"]: entry["address"] for entry in status.get("addresses") or ()}
    info = status.get("nodeInfo") or {}
    return [
        item["metadata"]["name"],
        state,
        roles,
        _created(item, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage", "<unknown>"),
        info.get("kernelVersion", "<unknown>"),
        info.get("containerRuntimeVersion", "<unknown>"),
    ]


def _service(item: Object, now: datetime) -> Cells:
    spec = item.get("spec") or {}
    ingress = ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    external = ",".join(entry.get("ip") or entry.get("hostname", "") for entry in ingress)
    if not external:
        external = "<pending>" if spec.get("type") == "LoadBalancer" else "<none>"
    ports = ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in spec.get("ports") or ())
    chosen = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
    name = item["metadata"]["name"]
    kind, address = spec.get("type", "ClusterIP"), spec.get("clusterIP") or "None"
    return [name, kind, address, external, ports or "<none>", _created(item, now), chosen or "<none>"]


def _event(item: Object, now: datetime) -> Cells:
    series = item.get("series") or {}
    first = item.get("firstTimestamp") or item.get("eventTime") or item["metadata"].get("creationTimestamp")
    last = item.get("lastTimestamp") or series.get("lastObservedTime") or first
    count = item.get("count") or series.get("count") or 1
    involved = item.get("involvedObject") or {}
    source = item.get("source") or {}
    component = source.get("component") or item.get("reportingComponent", "")
    writer = f"{component}, {source['host']}" if source.get("host") else component
    seen = age(last, now)
    if count > 1:
        seen = f"{seen} (x{count} over {age(first, now)})"
    return [
        seen,
        item.get("type", ""),
        item.get("reason", ""),
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        writer,
        (item.get("message") or "").strip(),
        age(first, now),
        count,
        item["metadata"]["name"],
    ]


def _endpoint_slice(item: Object, now: datetime) -> Cells:
    ports = ",".join(str(port.get("port", "*")) for port in item.get("ports") or ()) or "<unset>"
    addresses = [address for entry in item.get("endpoints") or () for address in entry.get("addresses") or ()]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [item["metadata"]["name"], item.get("addressType", ""), ports, shown or "<unset>", _created(item, now)]


def _deployment(item: Object, now: datetime) -> Cells:
    status = item.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{(item.get('spec') or {}).get('replicas', 1)}"
    name, updated, available = (
        item["metadata"]["name"],
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
    )
    return [name, ready, updated, available, _created(item, now)]


def _daemon_set(item: Object, now: datetime) -> Cells:
    status = item.get("status") or {}
    fields = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    counts = [status.get(field, 0) for field in (*fields, "numberAvailable")]
    return [item["metadata"]["name"], *counts, _created(item, now)]


def _config_map(item: Object, now: datetime) -> Cells:
    count = len(item.get("data") or ()) + len(item.get("binaryData") or ())
    return [item["metadata"]["name"], count, _created(item, now)]


def _secret(item: Object, now: datetime) -> Cells:
    return [item["metadata"]["name"], item.get("type", "Opaque"), len(item.get("data") or ()), _created(item, now)]


def _namespace(item: Object, now: datetime) -> Cells:
    return [item["metadata"]["name"], (item.get("status") or {}).get("phase", ""), _created(item, now)]


def _lease(item: Object, now: datetime) -> Cells:
    return [item["metadata"]["name"], (item.get("spec") or {}).get("holderIdentity", ""), _created(item, now)]


def _definition(item: Object, now: datetime) -> Cells:
    del now
    return [item["metadata"]["name"], item["metadata"]["creationTimestamp"]]


def _columns(*names: str, wide: Sequence[str] = (), numbers: Sequence[str] = ()) -> list[Column]:
    """Return columns in order; a name in `wide` shows only with -o wide."""
    return [(name, "integer" if name in numbers else "string", 1 if name in wide else 0) for name in names]


_AGE_ONLY: Final = [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
_PLAIN: Final = (_columns("Name", "Age"), _plain)
_NODE_WIDE: Final = ("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime")
_POD_WIDE: Final = ("IP", "Node", "Nominated Node", "Readiness Gates")
_EVENT_WIDE: Final = ("Subobject", "Source", "First Seen", "Count", "Name")


def _pod(item: Object, now: datetime) -> Cells:
    return pod_cells(item, _created(item, now), lambda stamped: age(stamped, now))


_PRINTERS: Final[dict[str, tuple[Sequence[Column], Callable[[Object, datetime], Cells]]]] = {
    "pods": (_columns("Name", "Ready", "Status", "Restarts", "Age", *_POD_WIDE, wide=_POD_WIDE), _pod),
    "nodes": (_columns("Name", "Status", "Roles", "Age", "Version", *_NODE_WIDE, wide=_NODE_WIDE), _node),
    "services": (
        _columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector", wide=("Selector",)),
        _service,
    ),
    "events": (
        _columns(
            *("Last Seen", "Type", "Reason", "Object", "Subobject", "Source", "Message", "First Seen", "Count", "Name"),
            wide=_EVENT_WIDE,
            numbers=("Count",),
        ),
        _event,
    ),
    "endpointslices": (_columns("Name", "AddressType", "Ports", "Endpoints", "Age"), _endpoint_slice),
    "deployments": (_columns("Name", "Ready", "Up-to-date", "Available", "Age"), _deployment),
    "daemonsets": (
        _columns("Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Age"),
        _daemon_set,
    ),
    "configmaps": (_columns("Name", "Data", "Age"), _config_map),
    "secrets": (_columns("Name", "Type", "Data", "Age"), _secret),
    "namespaces": (_columns("Name", "Status", "Age"), _namespace),
    "leases": (_columns("Name", "Holder", "Age"), _lease),
    CRDS: (_columns("Name", "Created At"), _definition),
}
