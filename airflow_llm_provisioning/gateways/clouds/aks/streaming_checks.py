"""What must hold before an image is converted: of the request, the registry, the image, the pools.

Everything wrong is found at once and before money is spent; on a real node each of these pulls the plain image without
an error. Sources: AKS docs, artifact-streaming.md and -overview.md (2026-07); ACR docs,
troubleshoot-artifact-streaming.md.
"""

from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount
from airflow_llm_provisioning.gateways.clouds.aks.attachment import attachment_problems
from airflow_llm_provisioning.gateways.clouds.aks.build import registry_name
from airflow_llm_provisioning.gateways.clouds.aks.pools import Pools, streaming_problems, streams
from airflow_llm_provisioning.gateways.clouds.aks.tags import word
from airflow_llm_provisioning.gateways.clouds.aks.taints import untolerated


def request_problems(request: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the request itself."""
    if not request.get("image"):
        return ["`image` is missing"]
    name = ImageReference.parse(request["image"])
    problems = []
    if name.digest is not None or name.tag is None:
        problems.append(f"{request['image']!r} must be named by tag: nodes redirect only tags to the artifact")
    if name.host is None:
        problems.append(f"{request['image']!r} names no registry; only images of an Azure registry are streamed")
    if request.get("image_pull_secrets"):
        problems.append(
            "pods with imagePullSecrets pull the plain image: attach the registry to the cluster "
            "(az aks update --attach-acr) and leave the secrets out"
        )
    if request.get("pools") and not request.get("cluster"):
        problems.append("`pools` are named but no `cluster`")
    return problems


def registry_problems(registry: Any, name: ImageReference) -> list[str]:
    """Return why a registry, as Azure describes it, cannot stream."""
    problems = []
    sku = word(registry.sku.name if registry.sku is not None else None)
    if sku.lower() != "premium":
        problems.append(f"registry {registry_name(name)!r} is {sku}, and artifact streaming needs Premium")
    encryption = registry.encryption
    if encryption is not None and word(encryption.status).lower() == "enabled":
        problems.append(f"registry {registry_name(name)!r} encrypts with a customer-managed key, which cannot stream")
    return problems


def image_problems(request: Mapping[str, Any], digest: str | None, attributes: Mapping[str, Any] | None) -> list[str]:
    """Return why the image behind the tag cannot be converted, or is not the one that was meant.

    `attributes`: of its manifest, as `RegistryClient.manifest_attributes` returns them.
    """
    if digest is None:
        return [f"image {request['image']!r} does not exist: build it first"]
    if request.get("digest") and request["digest"] != digest:
        return [f"the tag of {request['image']!r} points at {digest} and not at {request['digest']}: it was moved"]
    listed = [attributes or {}, *((attributes or {}).get("references") or [])]
    platforms = {f"{item.get('os', '?')}/{item['architecture']}" for item in listed if item.get("architecture")}
    if platforms and "linux/amd64" not in platforms:
        return [f"image {request['image']!r} is for {', '.join(sorted(platforms))}, and streaming needs linux/amd64"]
    return []


def cluster_problems(account: AzureAccount, request: Mapping[str, Any], registry: Any) -> list[str]:
    """Return why the cluster's nodes cannot stream, or its named pools cannot be switched on as they are.

    `registry`: as Azure describes it. A cluster that is not there raises.
    """
    if not request.get("cluster"):
        return []
    pools = Pools(account)
    cluster = pools.cluster(request["cluster"])
    problems = attachment_problems(account, request, cluster, registry)
    for name in request.get("pools") or ():
        pool = pools.get(request["cluster"], name)
        if pool is None:
            problems.append(f"cluster {request['cluster']!r} has no pool {name!r}")
        else:
            problems += _pool_problems(request, name, pool.properties)
    return problems


def _pool_problems(request: Mapping[str, Any], name: str, properties: Any) -> list[str]:
    problems = streaming_problems(properties, name)
    kept_away = untolerated(properties.node_taints or (), str(properties.vm_size), request.get("tolerations") or ())
    problems += [f"pool {name!r} serves no trial: {reason}" for reason in kept_away]
    if not streams(properties) and int(properties.count or 0) > 0:
        problems.append(
            f"pool {name!r} has {properties.count} nodes, and switching streaming on would reimage them: "
            "scale it to 0 first, or set up a new pool"
        )
    return problems
