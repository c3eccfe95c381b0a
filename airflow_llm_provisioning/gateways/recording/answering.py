"""Asks the served model until it answers validly: the endpoint is ready, but does it serve?

It asks through the Service, as users do, and so cannot choose who answers: one valid answer may be the one good
replica's. The first valid completion is therefore the first of an unbroken row of them.
"""

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
# An unbroken row of valid answers: for one replica, so that no server that errs now and then passes; for several, so
# many for each that a bad one of them answers in between (one of eight stays away with a chance of 2 in 10,000).
ROW_ALONE: Final = 3
ROW_PER_REPLICA: Final = 8
# No completion of a few tokens is longer.
LONGEST_ANSWER_BYTES: Final = 1 << 20
# A first completion may still compile; one that takes longer is asked again.
ANSWER_CLUSTER_S: Final = 60.0
ANSWER_REAL_S: Final = 5.0


class Asking:
    """The attempts at a first completion. `flaw`: what was wrong with the last one.

    `completion`: {path, body, expect_model, replicas?}; `replicas`: how many stand behind the Service, 1 if not said.
    """

    def __init__(self, cluster: Cluster, namespace: str, scope: Scope, completion: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._scope = scope
        self._completion = completion
        self.flaw = "not asked yet"

    async def first_valid(self, emit: Emit) -> datetime:
        """Ask until answers are valid in an unbroken row, and return when the first of it was received; marks each new
        flaw and the success.
        """
        replicas = int(self._completion.get("replicas") or 1)
        wanted = ROW_ALONE if replicas == 1 else ROW_PER_REPLICA * replicas
        row: list[tuple[datetime, datetime]] = []
        while len(row) < wanted:
            asked_at = self._cluster.clock()
            found = await self._ask()
            received_at = self._cluster.clock()
            if found is None:
                row.append((asked_at, received_at))
                continue
            row.clear()
            if found != self.flaw:
                self.flaw = found
                emit(mark_line(received_at, "completion_refused", why=found, **self._detail(asked_at)))
            await asyncio.sleep(max(PAUSE_REAL_S, self._cluster.real_seconds(PAUSE_CLUSTER_S)))
        asked_at, received_at = row[0]
        emit(mark_line(received_at, "first_completion", confirmed_by=len(row) - 1, **self._detail(asked_at)))
        return received_at

    def _detail(self, asked_at: datetime) -> dict[str, str]:
        return {"path": self._completion["path"], "asked_at": format_instant(asked_at)}

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
                at_most_bytes=LONGEST_ANSWER_BYTES,
            )
        except ClusterError as error:
            return str(error)
        return reply_flaw(status, headers, body, expect_model=self._completion.get("expect_model"))
