"""Who we are to an API server, and how to stay it: a client configuration and the moment to renew it.

Tokens live in memory only. What mints them (a cloud's gateway, an Airflow hook) is a callable handed in from above.
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
    """A kubernetes_asyncio `Configuration` and when its token ends (real UTC; None: it has no known end).

    `ca_pem`: the API server's certificate where it is text and not a file of the configuration.
    """

    configuration: Any
    expires_at: datetime | None = None
    ca_pem: str | None = None


# Twice this is the longest line of a watch: an object may have 1.5 MiB (etcd's default limit of a request).
READ_BUFFER_BYTES: Final = 2**21

Connect = Callable[[], Awaitable[Credentials]]
"""Returns fresh credentials; called on entry, before expiry, and when the API server says 401."""


def from_access(mint: Callable[[], ClusterAccess]) -> Connect:
    """Return a Connect on a cloud's `cluster_access`; `mint` may block (it runs in a thread)."""

    async def connect() -> Credentials:
        return _of(await asyncio.to_thread(mint))

    return connect


async def open_client(credentials: Credentials) -> Any:
    """Return a kubernetes_asyncio ApiClient; the caller closes it."""
    client = _made(credentials)
    await _trust_no_netrc(client.rest_client, credentials.configuration.host)
    return client


def _made(credentials: Credentials) -> Any:
    from kubernetes_asyncio.client import ApiClient

    if credentials.ca_pem is None:
        return ApiClient(credentials.configuration)
    # The client reads certificates from files only, and only while it is made.
    with tempfile.TemporaryDirectory(prefix="llm-provisioning-") as folder:
        file = Path(folder, "ca.pem")
        file.write_text(credentials.ca_pem)
        credentials.configuration.ssl_ca_cert = str(file)
        return ApiClient(credentials.configuration)


async def _trust_no_netrc(rest: Any, host: str) -> None:
    """Give the client a session that takes proxies from the environment, as before, and no credentials.

    Its own looks for a ~/.netrc before every request, in a thread, and refuses to send our token where it finds an
    entry (kubernetes_asyncio 36.1, rest.py: trust_env=True; aiohttp 3.14, client.py). With hundreds of recordings in
    one process those threads took a third of its time.
    """
    import aiohttp

    own = rest.pool_manager
    rest.pool_manager = aiohttp.ClientSession(connector=own.connector, read_bufsize=READ_BUFFER_BYTES, trust_env=False)
    own.detach()
    url = urlsplit(host)
    if rest.proxy is None and not proxy_bypass(url.hostname or ""):
        rest.proxy = getproxies().get(url.scheme)


def _of(access: ClusterAccess) -> Credentials:
    from kubernetes_asyncio.client import Configuration

    configuration = Configuration(host=access.server.rstrip("/"))
    if access.token:
        configuration.api_key["BearerToken"] = f"Bearer {access.token}"
    return Credentials(configuration, access.expires_at, access.ca_pem)
