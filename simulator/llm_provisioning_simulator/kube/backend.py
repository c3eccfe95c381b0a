"""What the API server needs of the processes in a cluster's pods: answers on their ports, and their logs."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

Answer = tuple[int, dict[str, str], bytes | AsyncIterator[bytes]]
"""HTTP status, headers, and the body: whole, or in pieces as they come."""


@dataclass(frozen=True)
class PodRequest:
    """An HTTP request to a port of a pod, as the API server's proxy sends it on."""

    pod: dict[str, Any]
    port: int
    path: str
    method: str = "GET"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class ProxyBackend(Protocol):
    """The processes in one cluster's pods."""

    async def request(self, asked: PodRequest) -> Answer:
        """Answer a request. ConnectionRefusedError when nothing listens on its port."""
        ...

    def logs(self, pod: dict[str, Any], container: str) -> list[tuple[datetime, str]]:
        """Return everything a container has written so far: (when, line without its end), oldest first."""
        ...
