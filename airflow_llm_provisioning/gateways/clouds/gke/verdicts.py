"""What Google and the cluster say about a trial's image: streamed or not. Absent evidence is unknown, never success."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import Evidence
from airflow_llm_provisioning.gateways.clouds.gke.clusters import ClusterView, read_cluster
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.images import RegistryImage, prewarmed
from airflow_llm_provisioning.gateways.clouds.gke.services import STREAMING_API, streaming_api_state
from airflow_llm_provisioning.gateways.clouds.gke.steps import Project

# GKE puts it on nodes of a streaming pool (a public node listing of a cluster with auto-provisioning).
NODE_LABEL = "cloud.google.com/gke-image-streaming"
# GKE puts it on every node of a pool.
POOL_LABEL = "cloud.google.com/gke-nodepool"


def verify(project: Project, claim: str, facts: Mapping[str, Any]) -> Evidence:
    """Return evidence for one claim: `streaming_enabled`, `image_streamed`, `image_warm`, `weights_bucket_region`;
    others are unknown here.

    `facts`: {image, digest?, cluster?, pools?: [name], nodes?: [name | {name, labels}], events?: [{reason, node,
    message}], weights_source?}.
    """
    judge = _JUDGES.get(claim)
    if judge is None:
        return Evidence(claim, None, "GKE has no way to say this.", "gateways/clouds/gke")
    try:
        return judge(project, claim, facts)
    except CloudError as error:
        return Evidence(claim, None, f"It could not be asked: {error}", "gateways/clouds/gke")


def _enabled(project: Project, claim: str, facts: Mapping[str, Any]) -> Evidence:
    source = "serviceusage.services.get, container.projects.locations.clusters.get"
    if streaming_api_state(project) != "done":
        return Evidence(claim, False, f"API {STREAMING_API} is off in project {project.name}.", source)
    if not facts.get("cluster"):
        return Evidence(claim, None, "The trial names no cluster to look at.", source)
    cluster = read_cluster(project, str(facts["cluster"]))
    pools: Sequence[str] = list(facts.get("pools") or _pools_of(facts, cluster))
    off = [name for name in pools if name not in cluster.pools or not cluster.pools[name].streaming]
    if off:
        return Evidence(claim, False, f"Node pools without image streaming: {', '.join(off)}.", source)
    if not pools and not cluster.streaming:
        return Evidence(claim, False, f"Cluster {cluster.name} has image streaming off.", source)
    where = f"node pools {', '.join(pools)}" if pools else f"cluster {cluster.name}"
    return Evidence(claim, True, f"Image streaming is on for {where}.", source)


def _pools_of(facts: Mapping[str, Any], cluster: ClusterView) -> list[str]:
    """Return the cluster's pools that the trial's nodes name; nodes without a pool follow the cluster's setting."""
    named = {labels.get(POOL_LABEL, "") for _, labels in map(_node, facts.get("nodes") or ())}
    return sorted(named & set(cluster.pools)) if named <= set(cluster.pools) else []


def _streamed(project: Project, claim: str, facts: Mapping[str, Any]) -> Evidence:
    nodes = dict(map(_node, facts.get("nodes") or ()))
    for event in facts.get("events") or ():
        if event.get("reason") == "ImageStreaming" and _speaks_of(event, facts) and event.get("node") in nodes:
            return Evidence(claim, True, f"Node {event['node']}: {event.get('message')}", "event ImageStreaming")
    enabled = _enabled(project, claim, facts)
    if enabled.holds is False:
        return enabled
    labelled = sorted(name for name, labels in nodes.items() if labels.get(NODE_LABEL) == "true")
    hint = f"nodes {', '.join(labelled)} carry {NODE_LABEL}" if labelled else f"no node carries {NODE_LABEL}"
    return Evidence(claim, None, f"No node said that the image was streamed; {hint}.", "events and labels of the nodes")


def _warm(project: Project, claim: str, facts: Mapping[str, Any]) -> Evidence:
    source = "artifactregistry.repositories.checkPrewarmedArtifact"
    image, digest = RegistryImage.parse(str(facts.get("image", ""))), facts.get("digest")
    if digest and prewarmed(project, image, str(digest)):
        return Evidence(claim, True, f"Google's cache in {project.region} holds {digest}.", source)
    return Evidence(claim, None, "Not prewarmed on request; whether a pull warmed it, Google does not say.", source)


def _bucket_region(project: Project, claim: str, facts: Mapping[str, Any]) -> Evidence:
    """A bucket of a region has that region's name as its location; one of several regions names none that it reads
    from (Cloud Storage, "Bucket locations").
    """
    source, address = "storage.buckets.get", str(facts.get("weights_source") or "")
    if not address.lower().startswith("gs://"):
        return Evidence(claim, None, "The trial names no bucket of Cloud Storage.", source)
    name = address[len("gs://") :].partition("/")[0]
    with google_errors(f"read where bucket {name} is"):
        found = project.clients.bucket(name)
    location = str(found.get("location") or "").lower()
    told = f"Bucket {name} is in {location}, the nodes are in {project.region}."
    if not location or found.get("locationType") not in (None, "region"):
        return Evidence(claim, None, f"{told} Which region it is read from is not said.", source)
    return Evidence(claim, location == project.region, told, source)


_JUDGES: Final[Mapping[str, Callable[[Project, str, Mapping[str, Any]], Evidence]]] = {
    "streaming_enabled": _enabled,
    "image_streamed": _streamed,
    "image_warm": _warm,
    "weights_bucket_region": _bucket_region,
}


def _node(node: Any) -> tuple[str, Mapping[str, str]]:
    return (str(node["name"]), node.get("labels") or {}) if isinstance(node, Mapping) else (str(node), {})


def _speaks_of(event: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    message = str(event.get("message", ""))
    return any(str(facts[key]) in message for key in ("image", "digest") if facts.get(key))
