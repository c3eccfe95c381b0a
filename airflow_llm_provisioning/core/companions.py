"""Companions: objects of a trial beside its RayService, created right after it, owned by it and gone with it."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from airflow_llm_provisioning.core.fields import mapping


def placed(companions: Iterable[Mapping[str, Any]], service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the companions of a RayService that was created: named after it, in its namespace, with its labels, and
    owned by it, so that Kubernetes removes them with it.

    `service`: the object as the cluster returned it. The names follow from its name, so that a restarted task finds
    its companions again.
    """
    metadata = service["metadata"]
    owner = {
        "apiVersion": service.get("apiVersion", "ray.io/v1"),
        "kind": "RayService",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    found = []
    for number, given in enumerate(companions):
        obj = deepcopy(dict(given))
        own = mapping(obj.get("metadata"))
        obj["metadata"] = {
            **own,
            "name": f"{metadata['name']}-companion-{number}",
            "namespace": metadata["namespace"],
            "labels": {**mapping(own.get("labels")), **mapping(metadata.get("labels"))},
            "ownerReferences": [owner],
        }
        found.append(obj)
    return found
