"""What pods of a preparation have told of a trial, read once at the end: agents on the nodes of its pods, and others.

A pod asks for it by an annotation that names the lines to keep: an agent logs every piece of an image, and a trace has
no room for that.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, objects, text
from airflow_llm_provisioning.core.ownership import labels_of
from airflow_llm_provisioning.core.prepared_objects import EVIDENCE, LABEL_PREPARES
from airflow_llm_provisioning.core.trace import line, mark_line
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.ray_api import Emit

# An agent that serves an image of 10 GB in pieces of 4 MiB writes some hundred bytes a piece.
READ_BYTES: Final = 8 << 20
KEPT_BYTES: Final = 256 * 1024
MAX_PODS: Final = 12


async def collect_agent_logs(cluster: Cluster, namespace: str, rayservice: str, emit: Emit) -> None:
    """Emit the wanted lines of the agents on the nodes of the trial's pods, and of every other pod of a preparation
    that asks for it; with the pod's node and since when it has been ready.
    """
    try:
        found = [pod for pod in (await cluster.list("pods", namespace, labels=LABEL_PREPARES))[0] if _wanted(pod)]
        if not found:
            return
        trials = [pod for pod in await cluster.pods(rayservice, namespace) if LABEL_PREPARES not in labels_of(pod)]
        hosts = {text(dig(pod, "spec", "nodeName")) for pod in trials}
        near = [pod for pod in found if not _on_every_node(pod) or text(dig(pod, "spec", "nodeName")) in hosts]
        for pod in near[:MAX_PODS]:
            await _read(cluster, pod, emit)
    except ClusterError as error:
        emit(mark_line(cluster.clock(), "not_collected", what="agent-log", why=str(error)))


async def _read(cluster: Cluster, pod: Mapping[str, Any], emit: Emit) -> None:
    namespace, name = text(dig(pod, "metadata", "namespace")), text(dig(pod, "metadata", "name"))
    container = text(dig(objects(pod, "spec", "containers")[0], "name"))
    started = any(
        not dig(mapping(status), "state", "waiting") for status in objects(pod, "status", "containerStatuses")
    )
    log = await cluster.logs(name, namespace, container=container, limit_bytes=READ_BYTES) if started else ""
    emit(
        line(
            cluster.clock(),
            None,
            "agent-log",
            _kept(log or "", _wanted(pod)),
            status_code=200,
            path=f"/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&timestamps=true",
            treatment=labels_of(pod).get(LABEL_PREPARES, ""),
            node=text(dig(pod, "spec", "nodeName")),
            on_every_node=_on_every_node(pod),
            ready_at=_ready_at(pod),
        )
    )


def _kept(log: str, wanted: Sequence[str]) -> str:
    lines = [told for told in log.splitlines(keepends=True) if any(mark in told for mark in wanted)]
    return "".join(lines)[:KEPT_BYTES]


def _wanted(pod: Mapping[str, Any]) -> list[str]:
    marks = text(mapping(dig(pod, "metadata", "annotations")).get(EVIDENCE))
    return [mark for mark in marks.split("|") if mark]


def _on_every_node(pod: Mapping[str, Any]) -> bool:
    return any(owner.get("kind") == "DaemonSet" for owner in objects(pod, "metadata", "ownerReferences"))


def _ready_at(pod: Mapping[str, Any]) -> str | None:
    conditions = objects(pod, "status", "conditions")
    ready = next((item for item in conditions if item.get("type") == "Ready" and item.get("status") == "True"), {})
    return text(ready.get("lastTransitionTime")) or None
