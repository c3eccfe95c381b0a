"""What the API server does to an object on its way in: defaults, and the checks that clients of this project can fail.

Built-in kinds get the defaults seen in the recordings of Kubernetes 1.34; custom kinds follow the schema in their
CustomResourceDefinition. Controllers' work (scheduling, endpoints) is not done here.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from llm_provisioning_simulator.kube import podadmission
from llm_provisioning_simulator.kube.changes import copy_tree
from llm_provisioning_simulator.kube.definitions import storage_version
from llm_provisioning_simulator.kube.resources import CRDS, Resource
from llm_provisioning_simulator.kube.schemas import Cause, checked, fill_defaults, type_name, unknown_fields
from llm_provisioning_simulator.kube.statuses import bad_request, forbidden, invalid

if TYPE_CHECKING:
    from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_ANY_NAME: Final = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings", "events"})
"""RBAC names may hold colons; an event's name ends in any text that its object's name allows."""
_LABEL_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_UNREACHABLE: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_ANNOTATION_BYTES: Final = 256 * 1024


def admit(kind: Resource, new: Object, old: Object | None, store: "ObjectStore") -> None:
    """Fill in defaults, in place, and raise a 422 for what the real server would refuse. `old`: None on create."""
    _check_strings(kind, new["metadata"])
    causes = [*_metadata_causes(kind, new["metadata"], old)]
    if not kind.builtin:
        fill_in(kind, new, store)
        causes += checked(new, _schema(kind, store))
    elif old is None and kind.plural in _DEFAULTS:
        _DEFAULTS[kind.plural](new, store)
    if not causes and kind.plural in store.limits and (old is None or old.get("spec") != new.get("spec")):
        found = store.limits[kind.plural](new)
        causes += [("FieldValueForbidden", "spec", f"Forbidden: the simulator cannot run this: {why}") for why in found]
    if old is None and kind.plural == "pods":
        causes += podadmission.invalid_fields(new)
    if causes:
        raise invalid(kind, new["metadata"]["name"], causes)
    if old is None and kind.plural == "pods":
        _admit_pod(kind, new, store)


def _admit_pod(kind: Resource, pod: Object, store: "ObjectStore") -> None:
    """Ask the webhooks and the admission plug-ins about a new pod."""
    if (gate := store.gates.get(kind.plural)) is not None:
        gate(pod)
    why = podadmission.refusal(pod, store)
    if why is not None:
        raise forbidden(kind, pod["metadata"]["name"], why)


def fill_in(kind: Resource, item: Object, store: "ObjectStore") -> None:
    """Set, in place, the defaults of a custom kind's schema."""
    fill_defaults(item, _schema(kind, store))


def check_strictly(kind: Resource, item: Object, store: "ObjectStore") -> None:
    """Refuse fields that a custom kind's schema does not know (`fieldValidation=Strict`)."""
    plain = {key: value for key, value in item.items() if key not in ("apiVersion", "kind", "metadata")}
    found = list(unknown_fields(plain, _schema(kind, store))) if not kind.builtin else []
    if found:
        listed = ", ".join(f'unknown field "{field}"' for field in found)
        what = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        raise bad_request(f"{what}: strict decoding error: {listed}")


def _schema(kind: Resource, store: "ObjectStore") -> Object:
    definition = None if kind.builtin else store.peek(CRDS, kind.group_resource)
    schema: Object = storage_version(definition)["schema"]["openAPIV3Schema"] if definition else {}
    return schema


def _metadata_causes(kind: Resource, metadata: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    name = metadata["name"]
    if old is None and kind.plural not in _ANY_NAME and not (_SUBDOMAIN.fullmatch(name) and len(name) <= 253):
        causes.append(("FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": {_SUBDOMAIN_TEXT}'))
    before = (old or {}).get("metadata", {})
    labels, annotations = metadata.get("labels"), metadata.get("annotations")
    if labels and labels != before.get("labels"):
        causes.extend(_label_causes(labels))
    if annotations and annotations != before.get("annotations"):
        size = sum(len(key) + len(value) for key, value in annotations.items())
        if size > _ANNOTATION_BYTES:
            causes.append(("FieldValueTooLong", "metadata.annotations", "Too long: may not be more than 262144 bytes"))
    return causes


def _check_strings(kind: Resource, metadata: Object) -> None:
    """Refuse what the real server cannot decode: labels and annotations are maps of strings."""
    for field in ("labels", "annotations"):
        for key, value in (metadata.get(field) or {}).items():
            if not isinstance(value, str):
                raise bad_request(
                    f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: json: cannot "
                    f"unmarshal {type_name(value)} into Go struct field ObjectMeta.metadata.{field} of type string "
                    f"(key {key!r})"
                )


def _label_causes(labels: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    for value in labels.values():
        shown = f'Invalid value: "{value}"'
        if not _LABEL_VALUE.fullmatch(value):
            causes.append(("FieldValueInvalid", "metadata.labels", f"{shown}: {_LABEL_TEXT}"))
        elif len(value) > 63:
            causes.append(("FieldValueInvalid", "metadata.labels", f"{shown}: must be no more than 63 characters"))
    return causes


def _drop_image_volumes(spec: Object) -> None:
    """Drop what a gate that is off does not know: the volumes and their mounts (pkg/api/pod/util.go, v1.34)."""
    names = {volume["name"] for volume in spec.get("volumes") or () if "image" in volume}
    if not names:
        return
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in names]
    for container in [*(spec.get("initContainers") or ()), *spec.get("containers", ())]:
        mounts = container.get("volumeMounts") or ()
        container["volumeMounts"] = [mount for mount in mounts if mount["name"] not in names]


def _default_pod(pod: Object, store: "ObjectStore") -> None:
    spec = pod.setdefault("spec", {})
    if not store.image_volumes:
        _drop_image_volumes(spec)
    token = f"kube-api-access-{store.random_suffix()}"
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": token, **copy_tree(_TOKEN_VOLUME)}]
    for container in [*(spec.get("initContainers") or ()), *spec.get("containers", ())]:
        _default_container(container, token)
    _set_priority(spec, store)
    for key, value in _POD_SPEC.items():
        spec.setdefault(key, copy_tree(value))
    spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    tolerations = spec.setdefault("tolerations", [])
    present = {item.get("key") for item in tolerations}
    for key in _UNREACHABLE:
        if key not in present:
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            tolerations.append(toleration)
    pod["status"] = {"phase": "Pending", "qosClass": _qos(spec)} | (pod.get("status") or {})


def _set_priority(spec: Object, store: "ObjectStore") -> None:
    """Compute a pod's priority from its class, or from the class that is everybody's (Priority admission plug-in)."""
    name = spec.get("priorityClassName")
    if name in _SYSTEM_PRIORITIES:
        spec["priority"] = _SYSTEM_PRIORITIES[name]
        return
    shared = (item for item in store.peek_all("priorityclasses") if item.get("globalDefault"))
    found = store.peek("priorityclasses", name) if name else next(shared, None)
    if found is not None:
        spec["priorityClassName"] = found["metadata"]["name"]
        spec["priority"] = found["value"]
        spec["preemptionPolicy"] = found.get("preemptionPolicy", "PreemptLowerPriority")


def _default_container(container: Object, token: str) -> None:
    reference = container.get("image", "")
    latest = ":" not in reference.rpartition("/")[2] or reference.endswith(":latest")
    container.setdefault("imagePullPolicy", "Always" if latest and "@" not in reference else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    mount = {"name": token, "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _qos(spec: Object) -> str:
    """Return the quality-of-service class (pkg/apis/core/v1/helper/qos, v1.34)."""
    containers = [*(spec.get("initContainers") or ()), *spec.get("containers", ())]
    amounts = [container.get("resources") or {} for container in containers]
    if not any(item.get(part) for item in amounts for part in ("requests", "limits")):
        return "BestEffort"
    for item in amounts:
        limits, requests = item.get("limits") or {}, item.get("requests") or {}
        if any(limits.get(name) is None or requests.get(name) != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def _default_service(service: Object, store: "ObjectStore") -> None:
    spec = service.setdefault("spec", {})
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    spec.setdefault("type", "ClusterIP")
    if spec["type"] != "ExternalName":
        address = spec.setdefault("clusterIP", store.next_cluster_ip())
        spec.setdefault("clusterIPs", [address])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("sessionAffinity", "None")
    service.setdefault("status", {"loadBalancer": {}})


def _default_namespace(namespace: Object, store: "ObjectStore") -> None:
    del store
    metadata = namespace["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    namespace["spec"] = {"finalizers": ["kubernetes"]}
    namespace["status"] = {"phase": "Active"}


_DEFAULTS: Final[dict[str, Callable[[Object, "ObjectStore"], None]]] = {
    "pods": _default_pod,
    "services": _default_service,
    "namespaces": _default_namespace,
}
# kubernetes pkg/apis/scheduling: SystemCriticalPriority and the node's, above it.
_SYSTEM_PRIORITIES: Final = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_POD_SPEC: Final[Object] = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "priority": 0,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
}
_TOKEN_VOLUME: Final[Object] = {
    "projected": {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {
                            "path": "namespace",
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                        }
                    ]
                }
            },
        ],
        "defaultMode": 420,
    }
}
