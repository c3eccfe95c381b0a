"""Probes the served model until its completions are valid.

The probe goes through the Service, like a user's request, so it cannot choose the replica. One valid answer may come
from the only good replica. The first valid completion is therefore the first of an uninterrupted series of valid ones.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.completion import reply_flaw
from airflow_llm_provisioning.core.instants import format_instant
from airflow_llm_provisioning.core.ready_instant import Instant
from airflow_llm_provisioning.core.serving_speed import (
    LENGTHS,
    TimedAnswer,
    is_whole,
    serving_speed,
    timed_body,
    tokens_written,
)
from airflow_llm_provisioning.core.trace import mark_line
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.ray_api import Emit
from airflow_llm_provisioning.gateways.recording.scope import Scope

SERVE_PORT: Final = 8000
PAUSE_CLUSTER_S: Final = 0.5
PAUSE_REAL_S: Final = 0.1
# Length of the series. One replica: a server that sometimes fails must not pass. Several replicas: so many per replica
# that a bad one answers within the series (one bad replica of eight is missed with a probability of 2 in 10,000).
SERIES_ONE_REPLICA: Final = 3
SERIES_PER_REPLICA: Final = 8
# A completion of a few tokens is never longer.
MAX_ANSWER_BYTES: Final = 1 << 20
# The first completion may still compile; a request that takes longer is repeated.
ANSWER_CLUSTER_S: Final = 60.0
ANSWER_REAL_S: Final = 5.0
# All answers that are timed, together: a GPU node runs on meanwhile.
SPEED_CLUSTER_S: Final = 30.0


class CompletionProbe:
    """The requests for a first completion. `flaw`: the fault of the last answer. `answers`: how many there were.

    `completion`: {path, body, expect_model, replicas?}; `replicas`: number of replicas behind the Service, default 1.
    """

    def __init__(self, cluster: Cluster, namespace: str, scope: Scope, completion: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._scope = scope
        self._completion = completion
        self.flaw = "no request sent yet"
        self.answers = 0
        self._last = b""

    async def first_valid(self, emit: Emit, possible_since: datetime | None = None) -> Instant:
        """Send requests until a series of answers is valid, and return when the first answer of it was received. Mark
        each new fault and the success.

        `possible_since`: the model may have answered from then on, and nothing asked it; None: it is asked from the
        first moment. Until an answer was refused, this is the lower bound.
        """
        replicas = int(self._completion.get("replicas") or 1)
        wanted = SERIES_ONE_REPLICA if replicas == 1 else SERIES_PER_REPLICA * replicas
        series: list[tuple[datetime, datetime]] = []
        while len(series) < wanted:
            asked_at = self._cluster.clock()
            found = await self._ask()
            received_at = self._cluster.clock()
            self.answers += 1
            if found is None:
                series.append((asked_at, received_at))
                continue
            series.clear()
            possible_since = None
            if found != self.flaw:
                self.flaw = found
                emit(mark_line(received_at, "completion_refused", why=found, **self._detail(asked_at)))
            await asyncio.sleep(max(PAUSE_REAL_S, self._cluster.real_seconds(PAUSE_CLUSTER_S)))
        asked_at, received_at = series[0]
        told = {"possible_since": format_instant(possible_since)} if possible_since else {}
        emit(mark_line(received_at, "first_completion", confirmed_by=len(series) - 1, **self._detail(asked_at), **told))
        return Instant(possible_since or asked_at, received_at, watched=possible_since is None)

    async def measure_speed(self, emit: Emit) -> None:
        """Time answers of two lengths, and mark what they took. Nothing is asked of a server whose valid answer did not
        say how many tokens it wrote, and the first answer that is not whole ends it.
        """
        if tokens_written(self._last) is None:
            return
        timed: list[TimedAnswer] = []
        why = f"they took longer than {SPEED_CLUSTER_S:.0f} s"
        with suppress(TimeoutError):
            async with asyncio.timeout(max(ANSWER_REAL_S, self._cluster.real_seconds(SPEED_CLUSTER_S))):
                why = await self._time(timed)
        found = serving_speed(timed)
        detail = {"answers": [one.as_dict() for one in timed], **({"why": why} if why else {})}
        emit(mark_line(self._cluster.clock(), "serving_speed" if found else "speed_unknown", **detail))

    async def _time(self, timed: list[TimedAnswer]) -> str:
        """Add an answer of each length; return why one of them is missing, "" if none is."""
        for tokens in LENGTHS:
            body = timed_body(self._completion["body"], tokens)
            if body is None:
                return "the completion request has neither messages nor a prompt"
            asked_at = self._cluster.clock()
            flaw = await self._ask(body)
            seconds = (self._cluster.clock() - asked_at).total_seconds()
            written = tokens_written(self._last)
            if flaw is not None or written is None or not is_whole(written, tokens):
                return flaw or f"the model wrote {written} of {tokens} tokens"
            timed.append(TimedAnswer(written, seconds))
        return ""

    def _detail(self, asked_at: datetime) -> dict[str, str]:
        return {"path": self._completion["path"], "asked_at": format_instant(asked_at)}

    async def _ask(self, other: Mapping[str, Any] | None = None) -> str | None:
        timeout_s = max(ANSWER_REAL_S, self._cluster.real_seconds(ANSWER_CLUSTER_S))
        try:
            status, headers, body = await self._cluster.proxy(
                self._scope.serve_service,
                SERVE_PORT,
                self._completion["path"],
                namespace=self._namespace,
                method="POST",
                body=self._completion["body"] if other is None else other,
                timeout_s=timeout_s,
                at_most_bytes=MAX_ANSWER_BYTES,
            )
        except ClusterError as error:
            self._last = b""
            return str(error)
        self._last = body
        return reply_flaw(status, headers, body, expect_model=self._completion.get("expect_model"))
