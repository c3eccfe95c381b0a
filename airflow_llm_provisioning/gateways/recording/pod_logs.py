"""The output of a trial's containers, read once at the end; `wait-gcs-ready` logs when the head answered."""

from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, objects, text
from airflow_llm_provisioning.core.trace import line, mark_line
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.ray_api import Emit

MAX_LOG_BYTES: Final = 64 * 1024
MAX_PODS: Final = 6


async def collect_pod_logs(cluster: Cluster, namespace: str, rayservice: str, emit: Emit) -> None:
    """Emit the beginning of every container's log; unreadable logs are marked."""
    try:
        for pod in (await cluster.pods(rayservice, namespace))[:MAX_PODS]:
            for container in _started(pod):
                await _read(cluster, namespace, text(dig(pod, "metadata", "name")), container, emit)
    except ClusterError as error:
        emit(mark_line(cluster.clock(), "not_collected", what="pod-log", why=str(error)))


async def _read(cluster: Cluster, namespace: str, pod: str, container: str, emit: Emit) -> None:
    log = await cluster.logs(pod, namespace, container=container, limit_bytes=MAX_LOG_BYTES)
    if log:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&timestamps=true"
        emit(line(cluster.clock(), None, "pod-log", log, status_code=200, path=path))


def _started(pod: Any) -> list[str]:
    """Return the containers that have run or are running: the log of another one is an error."""
    statuses = objects(pod, "status", "initContainerStatuses") + objects(pod, "status", "containerStatuses")
    return [text(one.get("name")) for one in statuses if not dig(one, "state", "waiting")]
