"""The RayCluster that KubeRay 1.7.0 makes of a RayService, and the hash by which it knows a changed one. Pure."""

import base64
import copy
import hashlib
import json
import marshal
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

Object = dict[str, Any]

KUBERAY: Final = "v1.7.0"
HASH: Final = "ray.io/hash-without-replicas-and-workers-to-delete"
NUM_GROUPS: Final = "ray.io/num-worker-groups"
OPERATOR: Final[Mapping[str, str]] = {
    "app.kubernetes.io/created-by": "kuberay-operator",
    "app.kubernetes.io/name": "kuberay",
}


def ray_cluster(service: Object, name: str) -> Object:
    """Return the RayCluster of a RayService."""
    spec = copy.deepcopy(service["spec"]["rayClusterConfig"])
    metadata = service["metadata"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "annotations": {
                **(metadata.get("annotations") or {}),
                HASH: spec_hash(spec),
                "ray.io/kuberay-version": KUBERAY,
                NUM_GROUPS: str(len(spec.get("workerGroupSpecs") or ())),
            },
            "labels": {
                **(metadata.get("labels") or {}),
                "ray.io/originated-from-cr-name": metadata["name"],
                "ray.io/originated-from-crd": "RayService",
            },
            "ownerReferences": [owner(service)],
        },
        "spec": spec,
    }


def spec_hash(spec: Object) -> str:
    """Return the hash KubeRay tells a changed cluster by: 32 letters of base32. Replicas have no part in it, and an
    empty field is none, because it is taken over Go's structures.
    """
    # The operator asks at every pass, and the spec seldom changes.
    return _hash_of(marshal.dumps(spec))


@lru_cache(maxsize=64)
def _hash_of(marshalled: bytes) -> str:
    plain = _without_empty(marshal.loads(marshalled))  # noqa: S302 - our own bytes
    for group in plain.get("workerGroupSpecs") or ():
        for field in ("replicas", "minReplicas", "maxReplicas", "scaleStrategy"):
            group.pop(field, None)
    digest = hashlib.sha1(json.dumps(plain, sort_keys=True).encode(), usedforsecurity=False).digest()
    return base64.b32hexencode(digest).decode()


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ({}, [], None)}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def owner(obj: Object) -> Object:
    """Return a controlling owner reference."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
