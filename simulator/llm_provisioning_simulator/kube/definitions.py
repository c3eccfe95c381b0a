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

_QUANTITY: Final[Schema] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": (
        r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+)"
        r")))?$"
    ),
    "x-kubernetes-int-or-string": True,
}
_QUANTITIES: Final[Schema] = {"type": "object", "additionalProperties": _QUANTITY}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": _STRING}
_PORT: Final[Schema] = {
    "type": "object",
    "required": ["containerPort"],
    "properties": {
        "containerPort": _INTEGER,
        "hostIP": _STRING,
        "hostPort": _INTEGER,
        "name": _STRING,
        "protocol": {"type": "string", "default": "TCP"},
    },
}
_CONTAINER: Final[Schema] = {
    **_ANYTHING,
    "required": ["name"],
    "properties": {
        "name": _STRING,
        "image": _STRING,
        "ports": {"type": "array", "items": _PORT},
        "env": {"type": "array", "items": {**_ANYTHING, "required": ["name"], "properties": {"value": _STRING}}},
        "resources": {**_ANYTHING, "properties": {"limits": _QUANTITIES, "requests": _QUANTITIES}},
    },
}
_CONTAINERS: Final[Schema] = {"type": "array", "items": _CONTAINER}
_TEMPLATE: Final[Schema] = {
    **_ANYTHING,
    "properties": {
        "metadata": {**_ANYTHING, "properties": {"labels": _TEXTS, "annotations": _TEXTS}},
        "spec": {
            **_ANYTHING,
            "required": ["containers"],
            "properties": {"containers": _CONTAINERS, "initContainers": _CONTAINERS},
        },
    },
}


_MANAGED_BY: Final[Schema] = {
    "type": "string",
    "x-kubernetes-validations": [{"message": "the managedBy field is immutable", "rule": "self == oldSelf"}],
}


def _known(*names: str) -> Schema:
    """Return fields that are known and not checked."""
    return {name: {"x-kubernetes-preserve-unknown-fields": True} for name in names}


_GROUP: Final[Schema] = {"rayStartParams": _TEXTS, "template": _TEMPLATE, **_known("labels", "resources")}
_RAY_CLUSTER_SPEC: Final[Schema] = {
    "type": "object",
    "required": ["headGroupSpec"],
    "properties": {
        **_known("authOptions", "autoscalerOptions", "gcsFaultToleranceOptions", "headServiceAnnotations"),
        **_known("historyServerOptions", "networkPolicy", "suspend", "tlsOptions", "upgradeStrategy"),
        "enableInTreeAutoscaling": {"type": "boolean"},
        "managedBy": _MANAGED_BY,
        "rayVersion": _STRING,
        "headGroupSpec": {
            "type": "object",
            "required": ["template"],
            "properties": {**_GROUP, **_known("enableIngress", "headService", "ingressOptions", "serviceType")},
        },
        "workerGroupSpecs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["groupName", "maxReplicas", "minReplicas", "template"],
                "properties": {
                    **_GROUP,
                    **_known("idleTimeoutSeconds", "scaleStrategy", "suspend"),
                    "groupName": _STRING,
                    "maxReplicas": {"type": "integer", "default": 2147483647},
                    "minReplicas": {"type": "integer", "default": 0},
                    "numOfHosts": {"type": "integer", "default": 1},
                    "priority": {"type": "integer", "default": 0},
                    "replicas": {"type": "integer", "default": 0},
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
            "spec": {
                "type": "object",
                "required": ["rayClusterConfig"],
                "properties": {
                    **_known("deploymentUnhealthySecondThreshold", "excludeHeadPodFromServeSvc"),
                    **_known("serveService", "serviceUnhealthySecondThreshold", "suspend", "upgradeStrategy"),
                    "managedBy": _MANAGED_BY,
                    "rayClusterConfig": _RAY_CLUSTER_SPEC,
                    "rayClusterDeletionDelaySeconds": _INTEGER,
                    "serveConfigV2": _STRING,
                },
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
