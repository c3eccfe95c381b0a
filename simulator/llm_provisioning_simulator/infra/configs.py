"""The Secrets and ConfigMaps that a container's environment comes from: is every one of them there?

What they hold does not matter here, but a key that is asked for must exist. Wordings are kubelet's (1.34,
pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables).
"""

from collections.abc import Iterator
from typing import Any, Final

from llm_provisioning_simulator.kube.store import ObjectStore

# Field of `valueFrom`, field of `envFrom`, resource, the word in messages.
_SOURCES: Final = (
    ("secretKeyRef", "secretRef", "secrets", "secret"),
    ("configMapKeyRef", "configMapRef", "configmaps", "configmap"),
)


def missing_config(store: ObjectStore, namespace: str, container: dict[str, Any]) -> str | None:
    """Return why a container cannot be created, in the kubelet's words; None when everything it names is there."""
    for resource, word, name, key in _references(container):
        found = store.peek(resource, name, namespace)
        if found is None:
            return f'{word} "{name}" not found'
        if key and key not in {**(found.get("data") or {}), **(found.get("stringData") or {})}:
            return f"couldn't find key {key} in {word.capitalize()} {namespace}/{name}"
    return None


def _references(container: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield resource, word, name and key ("" for all) of what the environment needs; optional ones are left out."""
    for field_of_key, field_of_all, resource, word in _SOURCES:
        asked = [(item.get("valueFrom") or {}).get(field_of_key) for item in container.get("env") or ()]
        asked += [item.get(field_of_all) for item in container.get("envFrom") or ()]
        for reference in asked:
            if reference and not reference.get("optional"):
                yield resource, word, reference["name"], reference.get("key", "")
