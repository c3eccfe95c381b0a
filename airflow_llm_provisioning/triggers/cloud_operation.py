"""One wait for every long operation of every cloud: build, snapshot, conversion, node pool."""

import asyncio
import logging
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.triggers.base import Wait

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.clouds.base import Cloud
    from airflow_llm_provisioning.gateways.kubernetes.clock import ClusterClock

log = logging.getLogger(__name__)

# However fast a simulated cloud's clock is, a poll costs real time.
MIN_POLL_S: Final = 0.2


class CloudOperationWait(Wait):
    """Polls operations of one cloud until all have ended. The SDKs block, so each look runs in a thread.

    A killed triggerer begins again with the first operation: the gateways find what exists instead of making it twice.

    :param cloud: the cloud's reference as `connections.opened_cloud` takes it.
    :param operations: `Operation.as_dict()` of each, as `start` returned them.
    :param poll_s: seconds between looks, in the cloud's clock.
    :param usual: what such an operation usually takes, in words, for the log's lines.
    """

    def __init__(
        self,
        *,
        cloud: dict[str, Any],
        operations: list[dict[str, Any]],
        results_conn_id: str,
        poll_s: float = 10,
        usual: str = "",
    ) -> None:
        super().__init__(
            cloud=cloud, operations=operations, results_conn_id=results_conn_id, poll_s=poll_s, usual=usual
        )
        self.usual = usual
        self.cloud = cloud
        self.operations = operations
        self.results_conn_id = results_conn_id
        self.poll_s = poll_s

    async def outcome(self) -> dict[str, Any]:
        """Return {"operations": the ended operations without their requests, "ended_at": ISO instant in the cloud's
        clock}.
        """
        from asgiref.sync import sync_to_async

        from airflow_llm_provisioning.connections import cluster_clock, opened_cloud
        from airflow_llm_provisioning.preparation.operations import without_request

        clock = await cluster_clock(self.cloud.get("cluster"))
        opening = opened_cloud(self.cloud, results_conn_id=self.results_conn_id, clock=clock.now)
        stack = ExitStack()
        try:
            cloud = await sync_to_async(stack.enter_context, thread_sensitive=False)(opening)
            ended = await asyncio.gather(
                *(self._ended(cloud, Operation.from_dict(operation), clock) for operation in self.operations)
            )
        finally:
            await asyncio.to_thread(stack.close)
        ended_at = clock.now().astimezone(UTC).isoformat()
        return {"operations": [without_request(item).as_dict() for item in ended], "ended_at": ended_at}

    async def _ended(self, cloud: "Cloud", operation: Operation, clock: "ClusterClock") -> Operation:
        from airflow_llm_provisioning.core.progress import Standing

        standing = Standing(_instant(operation.progress.get("started_at")) or clock.now(), self.usual)
        while operation.state == "running":
            operation = await asyncio.to_thread(cloud.poll, operation)
            if line := standing.due(clock.now(), f"{operation.verb}: {operation.step}"):
                log.info("%s", line)
            if operation.state == "running":
                await asyncio.sleep(max(MIN_POLL_S, clock.real_seconds(self.poll_s)))
        return operation


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
