"""The volumes of a pod that its kubelet mounts before any container: Secrets and ConfigMaps must be there.

Wordings are those of kubelet 1.34 (pkg/volume/secret, pkg/volume/configmap, operationexecutor).
"""

from collections.abc import Iterator
from typing import Any, Final

from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.infra.podreport import PodReport

# Field of a volume, name's key in it, resource, the word in messages.
_SOURCES: Final = (("secret", "secretName", "secrets", "secret"), ("configMap", "name", "configmaps", "configmap"))
_FIRST_RETRY_S: Final = 0.5
# The exponential back-off of a volume's operations (pkg/util/goroutinemap/exponentialbackoff): 500 ms to 2m2s.
_LAST_RETRY_S: Final = 122.0


async def mount_volumes(ctx: ClusterContext, report: PodReport) -> bool:
    """Wait until every volume can be mounted; tell whether that took any time."""
    retry_s, waited = _FIRST_RETRY_S, False
    while found := list(_missing(ctx, report.pod)):
        waited = True
        for message in found:
            report.warn("FailedMount", message)
        await ctx.clock.sleep(retry_s)
        retry_s = min(2 * retry_s, _LAST_RETRY_S)
    return waited


def _missing(ctx: ClusterContext, pod: dict[str, Any]) -> Iterator[str]:
    namespace = pod["metadata"]["namespace"]
    for volume in pod["spec"].get("volumes") or ():
        for field, key, resource, word in _SOURCES:
            for name, items, optional in _named(volume, field, key):
                found = ctx.store.peek(resource, name, namespace)
                if optional:
                    continue
                start = f'MountVolume.SetUp failed for volume "{volume["name"]}" : '
                if found is None:
                    yield f'{start}{word} "{name}" not found'
                    continue
                held = {
                    **(found.get("data") or {}),
                    **(found.get("stringData") or {}),
                    **(found.get("binaryData") or {}),
                }
                lacking = [item["key"] for item in items if item["key"] not in held]
                if lacking:
                    yield f"{start}references non-existent {word} key: {lacking[0]}"


def _named(volume: dict[str, Any], field: str, key: str) -> Iterator[tuple[str, list[dict[str, Any]], bool]]:
    """Yield name, wanted items and whether it may be missing, of a volume of this kind. Projected volumes of the
    token that every pod gets are left out: the API server makes what they need.
    """
    source = volume.get(field)
    if source is not None:
        yield str(source.get(key, "")), list(source.get("items") or ()), bool(source.get("optional"))
    for part in (volume.get("projected") or {}).get("sources") or ():
        inner = part.get(field)
        if inner is not None and inner.get("name") != "kube-root-ca.crt":
            yield str(inner.get("name", "")), list(inner.get("items") or ()), bool(inner.get("optional"))
