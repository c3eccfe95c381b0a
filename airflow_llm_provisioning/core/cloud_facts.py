"""What a cloud is told of a trial, so that it can answer for its treatments (`gateways.clouds.base.Cloud.verify`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.image_arrival import image_arrival
from airflow_llm_provisioning.core.trace import TraceView, decode_trace


def trial_facts(
    trial: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], chunks: Sequence[bytes]
) -> dict[str, Any]:
    """Return the facts of a trial: what was prepared for it, the nodes it ran on, what its trace says of the pulls.

    `trial`: what `OpenTrial` returned; `nodes`: the Node objects its pods are on; `chunks`: its trace so far.
    """
    view = TraceView(decode_trace(chunks).lines)
    pods = [pod for pod in (view.head, view.worker) if pod is not None]
    arrivals = [(pod, image_arrival(view, pod)) for pod in pods]
    pulled = [
        event.received_at for pod in pods for event in view.events_of(pod) if event.reason in ("Pulling", "Pulled")
    ]
    secrets = [text(mapping(entry).get("name")) for pod in pods for entry in items(dig(pod.last, "spec", _SECRETS))]
    return {
        "image": trial["image"],
        "digest": trial["prepared"].get("digest"),
        "snapshot_id": trial["prepared"].get("snapshot_id"),
        "volume_initialization_rate_mib_s": trial["prepared"].get("volume_initialization_rate_mib_s"),
        "cluster": (trial.get("cloud_ref") or {}).get("cluster_name") or trial["cluster"],
        "nodes": [{"name": node["metadata"]["name"], "labels": node["metadata"].get("labels") or {}} for node in nodes],
        "provider_ids": [node["spec"]["providerID"] for node in nodes if node["spec"].get("providerID")],
        "image_pull_secrets": sorted(set(secrets)) if pods else None,
        "pulls": [
            {"node": view.node_name_of(pod), "size_bytes": how.size_bytes, "pull_s": how.pull_s}
            for pod, how in arrivals
            if how.pull_s is not None
        ],
        "pulled_at": min(pulled).isoformat() if pulled else None,
        "events": [
            {"reason": event.reason, "node": event.involved_name, "message": event.message}
            for event in view.events
            if event.involved_kind == "Node" and event.reason == "ImageStreaming"
        ],
    }


_SECRETS = "imagePullSecrets"
