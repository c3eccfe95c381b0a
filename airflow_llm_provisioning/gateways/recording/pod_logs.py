"""The output of a trial's containers, read once at the end; `wait-gcs-ready` logs when the head answered.

A container that was started again has its last words in the log of the one before it: they may be the cause of a crash
loop, which the kubelet states by exit code only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, objects, text
from airflow_llm_provisioning.core.trace import line, mark_line
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.ray_api import Emit

MAX_LOG_BYTES: Final = 64 * 1024
MAX_PODS: Final = 6
LAST_LINES: Final = 300


async def collect_pod_logs(cluster: Cluster, namespace: str, rayservice: str, emit: Emit) -> None:
    """Emit the last words of every container that was started again, and the beginning of every container's log;
    unreadable logs are marked.
    """
    try:
        pods = (await cluster.pods(rayservice, namespace))[:MAX_PODS]
        for pod, status in _containers(pods):
            if dig(status, "lastState", "terminated"):
                await _read(cluster, pod, text(status.get("name")), emit, previous=True)
        for pod, status in _containers(pods):
            if not dig(status, "state", "waiting"):  # the log of one that has not run is an error
                await _read(cluster, pod, text(status.get("name")), emit)
    except ClusterError as error:
        emit(mark_line(cluster.clock(), "not_collected", what="pod-log", why=str(error)))


async def _read(
    cluster: Cluster, pod: Mapping[str, Any], container: str, emit: Emit, *, previous: bool = False
) -> None:
    namespace, name = text(dig(pod, "metadata", "namespace")), text(dig(pod, "metadata", "name"))
    asked: dict[str, Any] = {"previous_lines": LAST_LINES} if previous else {}
    log = await cluster.logs(name, namespace, container=container, limit_bytes=MAX_LOG_BYTES, **asked)
    if not log:
        return
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&timestamps=true"
    told = {"previous_of": f"{name}/{container}"} if previous else {}
    emit(line(cluster.clock(), None, "pod-log", log, status_code=200, path=path, **told))


def _containers(pods: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield every container's status with its pod."""
    for pod in pods:
        for kind in ("initContainerStatuses", "containerStatuses"):
            for status in objects(pod, "status", kind):
                yield pod, mapping(status)
