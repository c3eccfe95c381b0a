"""Waiting for the deletion of objects, with a time limit that continues after a restart of the process.

This module knows no trial: the wait that uses it provides the objects and the start of the limit.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

# Real seconds between two tellings of what is still waited for; they cost no request.
TELL_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Deadline:
    """`limit_s` seconds from `started_at`, in the cluster's clock; a restarted triggerer does not extend it. `gone_at`:
    name -> when an object that was waited for was seen to be gone.
    """

    cluster: "Cluster"
    started_at: datetime
    limit_s: float
    gone_at: dict[str, datetime] = field(default_factory=dict)

    def waited_s(self) -> float:
        """Return the cluster seconds since the start."""
        return (self.cluster.clock() - self.started_at).total_seconds()

    def left_s(self) -> float:
        """Return the remaining cluster seconds, at least 0."""
        return max(0.0, self.limit_s - self.waited_s())

    async def gone(
        self,
        resource: str,
        named: Mapping[str, str | None],
        namespace: str | None = None,
        told: Callable[[list[str]], None] = lambda _: None,
    ) -> bool:
        """Wait until all objects are gone; return False if the limit is reached before.

        `named`: name -> uid; None: any object of that name. `told` is called twice a second with the names of those
        that are still there.
        """
        waiting = dict(named)

        async def one(name: str, uid: str | None) -> bool:
            gone = await self.cluster.wait_gone(resource, name, namespace, uid=uid, timeout_s=self.left_s())
            if gone:
                self.gone_at[name] = self.cluster.clock()
                del waiting[name]
            return gone

        telling = asyncio.create_task(self._every_look(lambda: told(sorted(waiting)) if waiting else None))
        try:
            return all(await asyncio.gather(*(one(name, uid) for name, uid in named.items())))
        finally:
            telling.cancel()

    async def _every_look(self, work: Callable[[], None]) -> None:
        while True:
            work()
            await asyncio.sleep(TELL_EVERY_S)
