"""CustomResourceDefinitions: the ones a cluster begins with, and how a cluster takes up one that is installed.

The schemas here are the few rules of KubeRay's CRDs (v1.7.0, helm-chart/kuberay-operator/crds) that a client meets:
required fields, conditions and defaults. A client that installs the real CRD gets the real rules instead.
"""

from typing import Any, Final

from llm_provisioning_simulator.kube.resources import Resource, ResourceTable, resource_of_crd

Schema = dict[str, Any]

_STRING: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_ANYTHING: Final[Schema] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

# metav1.Condition as controller-gen writes it.
_CONDITIONS: Final[Schema] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": {
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "message": {"type": "string", "maxLength": 32768},
            "observedGeneration": {"type": "integer", "minimum": 0},
            "reason": {
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            },
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "type": {"type": "string", "maxLength": 316},
        },
    },
}

_RAY_CLUSTER_SPEC: Final[Schema] = {
    **_ANYTHING,
    "required": ["headGroupSpec"],
    "properties": {
        "enableInTreeAutoscaling": {"type": "boolean"},
        "rayVersion": _STRING,
        "headGroupSpec": {**_ANYTHING, "required": ["template"], "properties": {"template": _ANYTHING}},
        "workerGroupSpecs": {
            "type": "array",
            "items": {
                **_ANYTHING,
                "required": ["groupName", "maxReplicas", "minReplicas", "template"],
                "properties": {
                    "groupName": _STRING,
                    "maxReplicas": {"type": "integer", "default": 2147483647},
                    "minReplicas": {"type": "integer", "default": 0},
                    "numOfHosts": {"type": "integer", "default": 1},
                    "priority": {"type": "integer", "default": 0},
                    "replicas": {"type": "integer", "default": 0},
                    "template": _ANYTHING,
                },
            },
        },
    },
}

_RAY_CLUSTER_STATUS: Final[Schema] = {**_ANYTHING, "properties": {"conditions": _CONDITIONS, "state": _STRING}}

_SCHEMAS: Final[dict[str, Schema]] = {
    "rayclusters": {
        **_ANYTHING,
        "properties": {"spec": _RAY_CLUSTER_SPEC, "status": _RAY_CLUSTER_STATUS},
    },
    "rayservices": {
        **_ANYTHING,
        "properties": {
            # KubeRay's operator refuses longer names (ray-operator/controllers/ray/utils, v1.7.0); its CRD does not.
            "metadata": {**_ANYTHING, "properties": {"name": {"type": "string", "maxLength": 47}}},
            "spec": {
                **_ANYTHING,
                "required": ["rayClusterConfig"],
                "properties": {"rayClusterConfig": _RAY_CLUSTER_SPEC, "serveConfigV2": _STRING},
            },
            "status": {
                **_ANYTHING,
                "properties": {
                    "conditions": _CONDITIONS,
                    "numServeEndpoints": _INTEGER,
                    "observedGeneration": _INTEGER,
                    "serviceStatus": _STRING,
                },
            },
        },
    },
}

_AGE: Final = {"name": "age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _column(name: str, path: str, type_: str = "string", priority: int = 0) -> dict[str, Any]:
    return {"name": name, "type": type_, "jsonPath": path} | ({"priority": priority} if priority else {})


_READY: Final = '.status.conditions[?(@.type=="Ready")].status'
# additionalPrinterColumns of KubeRay 1.7.0 and Karpenter 1.x.
_COLUMNS: Final[dict[str, list[dict[str, Any]]]] = {
    "rayservices": [
        _column("service status", ".status.serviceStatus"),
        _column("num serve endpoints", ".status.numServeEndpoints"),
    ],
    "rayclusters": [
        _column("desired workers", ".status.desiredWorkerReplicas", "integer"),
        _column("available workers", ".status.availableWorkerReplicas", "integer"),
        _column("cpus", ".status.desiredCPU"),
        _column("memory", ".status.desiredMemory"),
        _column("gpus", ".status.desiredGPU"),
        _column("tpus", ".status.desiredTPU", priority=1),
        _column("status", ".status.state"),
        _AGE,
        _column("head pod IP", ".status.head.podIP", priority=1),
        _column("head service IP", ".status.head.serviceIP", priority=1),
    ],
    "nodepools": [
        _column("NodeClass", ".spec.template.spec.nodeClassRef.name"),
        _column("Nodes", ".status.resources.nodes"),
        _column("Ready", _READY),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ],
    "nodeclaims": [
        _column("Type", r".metadata.labels.node\.kubernetes\.io/instance-type"),
        _column("Capacity", r".metadata.labels.karpenter\.sh/capacity-type"),
        _column("Zone", r".metadata.labels.topology\.kubernetes\.io/zone"),
        _column("Node", ".status.nodeName"),
        _column("Ready", _READY),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ],
    "ec2nodeclasses": [_column("Ready", _READY), _column("Age", ".metadata.creationTimestamp", "date")],
}


def builtin_definitions(table: ResourceTable) -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions of the custom kinds a cluster begins with."""
    return [_definition(resource) for resource in table if not resource.builtin]


def establish(table: ResourceTable, definition: dict[str, Any]) -> None:
    """Serve what a stored definition defines, and say so in its status."""
    resource = resource_of_crd(definition)
    if resource.plural not in table:
        table.add(resource)
    since = definition["metadata"]["creationTimestamp"]
    definition["status"] = {
        "acceptedNames": definition["spec"]["names"],
        "conditions": [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", since),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", since),
        ],
        "storedVersions": [resource.version],
    }


def storage_version(definition: dict[str, Any]) -> dict[str, Any]:
    """Return the version entry of a definition under which objects are stored: schema, columns, subresources."""
    versions: list[dict[str, Any]] = definition["spec"]["versions"]
    return next((version for version in versions if version.get("storage")), versions[0])


def _definition(resource: Resource) -> dict[str, Any]:
    names: dict[str, Any] = {
        "plural": resource.plural,
        "singular": resource.singular,
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
    }
    if resource.short:
        names["shortNames"] = list(resource.short)
    if resource.categories:
        names["categories"] = list(resource.categories)
    version = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _SCHEMAS.get(resource.plural, _ANYTHING)},
        "additionalPrinterColumns": _COLUMNS.get(resource.plural, [_AGE]),
        "subresources": {"status": {}},
    }
    metadata: dict[str, Any] = {"name": resource.group_resource}
    spec = {
        "group": resource.group,
        "names": names,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "versions": [version],
        "conversion": {"strategy": "None"},
    }
    return {"metadata": metadata, "spec": spec}


def _condition(type_: str, reason: str, message: str, since: str) -> dict[str, Any]:
    return {"type": type_, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message}
