"""Asks the served model until it answers validly: the endpoint is ready, but does it serve?"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.completion import reply_flaw
from airflow_llm_provisioning.core.instants import format_instant
from airflow_llm_provisioning.core.trace import mark_line
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.ray_api import Emit
from airflow_llm_provisioning.gateways.recording.scope import Scope

SERVE_PORT: Final = 8000
PAUSE_CLUSTER_S: Final = 0.5
PAUSE_REAL_S: Final = 0.1
# A first completion may still compile; one that takes longer is asked again.
ANSWER_CLUSTER_S: Final = 60.0
ANSWER_REAL_S: Final = 5.0


class Asking:
    """The attempts at a first completion. `flaw`: what was wrong with the last one."""

    def __init__(self, cluster: Cluster, namespace: str, scope: Scope, completion: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._scope = scope
        self._completion = completion
        self.flaw = "not asked yet"

    async def first_valid(self, emit: Emit) -> datetime:
        """Ask until an answer is valid and return when it was received; marks each new flaw and the success."""
        while True:
            asked_at = self._cluster.clock()
            found = await self._ask()
            received_at = self._cluster.clock()
            detail = {"path": self._completion["path"], "asked_at": format_instant(asked_at)}
            if found is None:
                emit(mark_line(received_at, "first_completion", **detail))
                return received_at
            if found != self.flaw:
                self.flaw = found
                emit(mark_line(received_at, "completion_refused", why=found, **detail))
            await asyncio.sleep(max(PAUSE_REAL_S, self._cluster.real_seconds(PAUSE_CLUSTER_S)))

    async def _ask(self) -> str | None:
        timeout_s = max(ANSWER_REAL_S, self._cluster.real_seconds(ANSWER_CLUSTER_S))
        try:
            status, headers, body = await self._cluster.proxy(
                self._scope.serve_service,
                SERVE_PORT,
                self._completion["path"],
                namespace=self._namespace,
                method="POST",
                body=self._completion["body"],
                timeout_s=timeout_s,
            )
        except ClusterError as error:
            return str(error)
        return reply_flaw(status, headers, body, expect_model=self._completion.get("expect_model"))
