"""The connection to one API server: a client with its sockets, its credentials and their renewal.

The waits of a process that reach the same server by the same connection share one session, and with it its watches
(`shared_watch`). A TLS connection costs a third of a megabyte in CPython, so hundreds of waits must not have ten each.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from airflow_llm_provisioning.gateways.kubernetes.credentials import Connect, Credentials, open_client

# Renew this long before a token expires, because a request that starts now must still be accepted.
RENEW_BEFORE: Final = timedelta(seconds=90)
# Renewal interval for connections without an expiry (exec plugins of a kubeconfig): EKS tokens live 15 minutes, the
# shortest time.
RENEW_EVERY: Final = timedelta(minutes=10)


# Many waits begin together, and each lists ten kinds: without a limit each list has a new connection of its own, which
# then stays open, unused, for a while. One wait alone must not be held up: what changes before its list is not seen.
LISTS_AT_ONCE: Final = 12


@dataclass(eq=False)
class Session:
    """An open client. `watches`: the watches that its users share, by request; `users`: how many have it open; `lists`:
    taken by each list.
    """

    client: Any
    connect: Connect
    expires_at: datetime | None
    key: Hashable | None = None
    users: int = 1
    watches: dict[Hashable, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lists = asyncio.Semaphore(LISTS_AT_ONCE)
        self._renewing = asyncio.Lock()
        self._schedule(self.expires_at)

    def is_due(self) -> bool:
        """Return whether the credentials are to be renewed."""
        return datetime.now(UTC) >= self._renew_at

    async def renew(self, *, force: bool = False) -> None:
        """Renew the credentials, once for all tasks that ask for it meanwhile."""
        known = self._renew_at
        async with self._renewing:
            if self._renew_at != known and not force:
                return
            fresh = await self.connect()
            self.client.configuration.api_key = fresh.configuration.api_key
            self._schedule(fresh.expires_at)

    def _schedule(self, expires_at: datetime | None) -> None:
        now = datetime.now(UTC)
        # A token with a life shorter than the margin is renewed at half its life, not at every request.
        self._renew_at = now + RENEW_EVERY
        if expires_at is not None:
            self._renew_at = now + max((expires_at - now) / 2, expires_at - now - RENEW_BEFORE)


# A client belongs to its event loop.
_OPEN: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Session]]" = WeakKeyDictionary()


async def open_session(connect: Connect, shared_as: str | None) -> Session:
    """Open a session, or join the one that is open to the same server; `close_session` ends the use.

    `shared_as`: the name of the connection whose users may share; None: do not share. The connection is read each time,
    so one that was changed meanwhile leads to another session.
    """
    credentials = await connect()
    if shared_as is None:
        return Session(await open_client(credentials), connect, credentials.expires_at)
    key = await asyncio.to_thread(_key, shared_as, credentials)
    sessions = _OPEN.setdefault(asyncio.get_running_loop(), {})
    if key not in sessions:
        made = Session(await open_client(credentials), connect, credentials.expires_at, key, users=0)
        if sessions.setdefault(key, made) is not made:
            await made.client.close()
    sessions[key].users += 1
    return sessions[key]


async def close_session(session: Session) -> None:
    """End the use of a session; its last user closes it."""
    session.users -= 1
    if session.users > 0:
        return
    sessions = _OPEN.get(asyncio.get_running_loop(), {})
    if sessions.get(session.key) is session:
        del sessions[session.key]
    await session.client.close()


def _key(shared_as: str, credentials: Credentials) -> Hashable:
    """Return what must be equal for a session to be shared. Tokens may differ: each is minted anew."""
    made = credentials.configuration
    files = tuple((path, _changed_at(path)) for path in (made.ssl_ca_cert, made.cert_file, made.key_file))
    return shared_as, made.host, made.verify_ssl, made.proxy, credentials.ca_pem, files


def _changed_at(path: str | None) -> int | None:
    try:
        return Path(path).stat().st_mtime_ns if path else None
    except OSError:
        return None
