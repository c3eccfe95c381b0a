"""What only a running deployment can tell, read once after the end of a recording: Ray's state, and logs.

GPU nodes run on meanwhile, so the time is bounded, and what was not read in it is marked in the trace.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from airflow_llm_provisioning.core.trace import mark_line
from airflow_llm_provisioning.exceptions import ProvisioningError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.agent_logs import collect_agent_logs
from airflow_llm_provisioning.gateways.recording.pod_logs import collect_pod_logs
from airflow_llm_provisioning.gateways.recording.ray_api import Emit, collect
from airflow_llm_provisioning.gateways.recording.scope import Scope

# Real seconds. Measured on a real control plane (KubeRay 1.7, 2026-11): 2 to 4 s, 31 s where pod logs may not be read.
EVIDENCE_S: Final = 5.0


async def collect_evidence(
    cluster: Cluster, subject: Mapping[str, str], scope: Scope, emit: Emit, *, limit_s: float
) -> None:
    """Emit Ray's state, the logs of Serve and engine, and the output of the containers; mark what is missing.

    `limit_s`: real seconds for all of it together; 0: nothing is read, and that is marked too.
    """
    namespace, name = subject["namespace"], subject["name"]
    reading = {
        "ray": asyncio.create_task(collect(cluster, namespace, scope, emit)),
        "agent-log": asyncio.create_task(collect_agent_logs(cluster, namespace, name, emit)),
        "pod-log": asyncio.create_task(collect_pod_logs(cluster, namespace, name, emit)),
    }
    try:
        await asyncio.wait(reading.values(), timeout=max(0.0, limit_s))
    finally:
        for task in reading.values():
            task.cancel()
        ended = await asyncio.gather(*reading.values(), return_exceptions=True)
    for what, end in zip(reading, ended, strict=True):
        if isinstance(end, asyncio.CancelledError):
            why = f"it was not read to its end within {limit_s:g} s (evidence_s)"
            emit(mark_line(cluster.clock(), "not_collected", what=what, why=why))
        elif isinstance(end, ProvisioningError):
            emit(mark_line(cluster.clock(), "not_collected", what=what, why=str(end)))
        elif isinstance(end, BaseException):
            raise end
