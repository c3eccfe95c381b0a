"""Credentials for an API server: a client configuration and its expiry.

Tokens are kept in memory only. The source of tokens (a cloud's gateway, an Airflow hook) is passed in as a callable.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess


@dataclass(frozen=True, slots=True)
class Credentials:
    """A kubernetes_asyncio `Configuration` and the expiry of its token (real UTC; None: unknown).

    `ca_pem`: the API server's certificate as text, if it is not a file of the configuration.
    """

    configuration: Any
    expires_at: datetime | None = None
    ca_pem: str | None = None


# Twice the longest line of a watch: an object may have 1.5 MiB (etcd's default limit of a request).
READ_BUFFER_BYTES: Final = 2**21

Connect = Callable[[], Awaitable[Credentials]]
"""Returns fresh credentials. It is called on entry, before expiry, and after a 401 of the API server."""


def from_access(mint: Callable[[], ClusterAccess]) -> Connect:
    """Return a Connect that uses a cloud's `cluster_access`; `mint` may block (it runs in a thread)."""

    async def connect() -> Credentials:
        return _credentials(await asyncio.to_thread(mint))

    return connect


async def open_client(credentials: Credentials) -> Any:
    """Return a kubernetes_asyncio ApiClient; the caller closes it."""
    # A watch occupies a connection until its end, so a limit would stop every further request.
    credentials.configuration.connection_pool_maxsize = 0
    client = _create_client(credentials)
    await _ignore_netrc(client.rest_client, credentials.configuration.host)
    return client


def _create_client(credentials: Credentials) -> Any:
    from kubernetes_asyncio.client import ApiClient

    if credentials.ca_pem is None:
        return ApiClient(credentials.configuration)
    # The client reads certificates from files only, and only when it is created.
    with tempfile.TemporaryDirectory(prefix="llm-provisioning-") as folder:
        file = Path(folder, "ca.pem")
        file.write_text(credentials.ca_pem)
        credentials.configuration.ssl_ca_cert = str(file)
        return ApiClient(credentials.configuration)


async def _ignore_netrc(rest: Any, host: str) -> None:
    """Give the client a session that reads proxies from the environment, but no credentials.

    The client's default session looks for a ~/.netrc before every request, in a thread, and does not send the token if
    it finds an entry (kubernetes_asyncio 36.1, rest.py: trust_env=True; aiohttp 3.14, client.py). With hundreds of
    recordings in one process these threads used a third of its time.
    """
    import aiohttp

    default = rest.pool_manager
    rest.pool_manager = aiohttp.ClientSession(
        connector=default.connector, read_bufsize=READ_BUFFER_BYTES, trust_env=False
    )
    default.detach()
    url = urlsplit(host)
    if rest.proxy is None and not proxy_bypass(url.hostname or ""):
        rest.proxy = getproxies().get(url.scheme)


def _credentials(access: ClusterAccess) -> Credentials:
    from kubernetes_asyncio.client import Configuration

    configuration = Configuration(host=access.server.rstrip("/"))
    if access.token:
        configuration.api_key["BearerToken"] = f"Bearer {access.token}"
    return Credentials(configuration, access.expires_at, access.ca_pem)
