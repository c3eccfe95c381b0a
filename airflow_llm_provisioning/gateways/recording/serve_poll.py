"""Polls Serve's applications during the start. Almost every answer is the one before, so answers are compared as bytes.

Only one that differs is parsed, redacted and recorded. Every answer bounds the instants of the next one that differs:
until then it was as before.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from airflow_llm_provisioning.core.instants import format_instant
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.ray_api import SERVE_PATH, VOLATILE, Emit, answer_line, body_of
from airflow_llm_provisioning.gateways.recording.scope import Scope
from airflow_llm_provisioning.gateways.recording.turns import turns

POLL_CLUSTER_S: Final = 1.0
# However fast a simulated clock is, a poll costs real milliseconds.
POLL_REAL_S: Final = 0.1
POLL_TIMEOUT_S: Final = 5.0
# The values of a JSON object, unparsed.
_PARTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def poll_serve(cluster: Cluster, namespace: str, scope: Scope, emit: Emit) -> None:
    """Poll Serve's applications without end; emit an answer when it differs from the previous one."""
    answers = _Answers()
    same_until: datetime | None = None
    pause_s = max(POLL_REAL_S, cluster.real_seconds(POLL_CLUSTER_S))
    while True:
        # Where more versions wait than there is time for, a poll waits for its turn too: it is asked less often then.
        await turns().turn()
        service, asked_at = scope.head_service, cluster.clock()
        if service and (found := await _asked(cluster, service, namespace)) is not None:
            status, headers, body = found
            before = answers.service
            if answers.is_new(service, status, headers, body):
                extra = {"unchanged_until": format_instant(same_until)} if same_until and before == service else {}
                told = answers.told
                emit(answer_line(cluster, "serve-rest", status, told, service=service, path=SERVE_PATH, **extra))
            # The answer was true at some time after the request.
            same_until = asked_at
        await asyncio.sleep(pause_s)


async def _asked(cluster: Cluster, service: str, namespace: str) -> tuple[int, Mapping[str, str], bytes] | None:
    try:
        return await cluster.proxy(service, "dashboard", SERVE_PATH, namespace=namespace, timeout_s=POLL_TIMEOUT_S)
    except ClusterError:
        return None


class _Answers:
    """The last answer that differed. `service`: who gave it; `told`: its body, parsed."""

    def __init__(self) -> None:
        self.service: str | None = None
        self.told: Any = None
        self._status = 0
        self._bytes: Any = None

    def is_new(self, service: str, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Return whether an answer differs from the one before, and remember it."""
        same_source = (service, status) == (self.service, self._status)
        parts = headers.get("Content-Type"), _lasting(body)
        if same_source and parts == self._bytes:
            return False
        self._bytes = parts
        told = body_of(headers, body)
        if same_source and told == self.told:
            return False
        self.service, self._status, self.told = service, status, told
        return True


def _lasting(body: bytes) -> Any:
    """Return what of a body is the same in equal answers: its values, unparsed; or itself, if it is no JSON object."""
    try:
        parts = _PARTS.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        return body
    parts.pop(VOLATILE, None)
    return parts
