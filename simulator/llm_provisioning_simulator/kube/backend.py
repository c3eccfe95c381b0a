"""What the API server needs of the processes in a cluster's pods: answers on their ports, and their logs."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Protocol

Answer = tuple[int, dict[str, str], bytes | AsyncIterator[bytes]]
"""HTTP status, headers, and the body: whole, or in pieces as they come."""


class ProxyBackend(Protocol):
    """The processes in one cluster's pods."""

    async def request(
        self,
        pod: dict[str, Any],
        port: int,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        """Answer an HTTP request to a pod's port. ConnectionRefusedError when nothing listens there."""
        ...

    def logs(self, pod: dict[str, Any], container: str) -> list[tuple[datetime, str]]:
        """Return everything a container has written so far: (when, line without its end), oldest first."""
        ...
