"""Work that outlasts an outage of the API server: the cluster is opened again, and the work is done again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from airflow_llm_provisioning.exceptions import ClusterError, ClusterUnreachableError, ConflictError, NotDeletedError
from airflow_llm_provisioning.gateways.kubernetes.cluster import Cluster
from airflow_llm_provisioning.gateways.kubernetes.follow import REFUSED_S

PAUSE_S: Final = 1.0
# A call is retried for 30 s (`Cluster`), so work that lasted longer than this had an answer meanwhile.
WORKED_S: Final = 90.0

Result = TypeVar("Result")


async def through_outages(
    open_cluster: Callable[[], Cluster], work: Callable[[Cluster], Awaitable[Result]], *, limit_s: float
) -> Result:
    """Open a cluster and return what `work` returns; after an outage open it again and repeat `work`.

    `work` must be safe to repeat, and reads the facts before its own time limit. `limit_s`: real seconds for which the
    API server may be away; then its ClusterUnreachableError is raised. An API server that has just started refuses what
    it will allow a moment later, so after an outage refusals are repeated too, for `follow.REFUSED_S`. Every other
    error is raised at once.
    """
    loop = asyncio.get_running_loop()
    away_since: float | None = None
    failed_at: float | None = None
    while True:
        began_at = loop.time()
        try:
            async with open_cluster() as cluster:
                return await work(cluster)
        except ClusterUnreachableError:
            failed_at = loop.time()
            if away_since is None or failed_at - began_at > WORKED_S:
                away_since = began_at if failed_at - began_at <= WORKED_S else failed_at
            if failed_at - away_since >= limit_s:
                raise
        except (ConflictError, NotDeletedError):
            raise
        except ClusterError:
            if failed_at is None or loop.time() - failed_at >= REFUSED_S:
                raise
        await asyncio.sleep(PAUSE_S)
