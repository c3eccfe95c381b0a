"""One wait for every long operation of every cloud: build, snapshot, conversion, node pool."""

import asyncio
from datetime import UTC
from typing import Any

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.triggers.base import Wait


class CloudOperationWait(Wait):
    """Polls an operation until it ends. The SDKs block, so each look runs in a thread.

    A killed triggerer begins again with the first operation: the gateways find what exists instead of making it twice.

    :param cloud: the cloud's reference as `connections.open_cloud` takes it.
    :param operation: `Operation.as_dict()` as `start` returned it.
    :param poll_s: seconds between looks, in the cloud's clock.
    """

    def __init__(
        self, *, cloud: dict[str, Any], operation: dict[str, Any], results_conn_id: str, poll_s: float = 10
    ) -> None:
        super().__init__(cloud=cloud, operation=operation, results_conn_id=results_conn_id, poll_s=poll_s)
        self.cloud = cloud
        self.operation = operation
        self.results_conn_id = results_conn_id
        self.poll_s = poll_s

    async def outcome(self) -> dict[str, Any]:
        """Return {"operation": the ended operation, "ended_at": ISO instant in the cloud's clock}."""
        from asgiref.sync import sync_to_async

        from airflow_llm_provisioning.connections import cluster_clock, open_cloud

        clock = await cluster_clock(self.cloud.get("cluster"))
        cloud = await sync_to_async(open_cloud, thread_sensitive=False)(
            self.cloud, results_conn_id=self.results_conn_id, clock=clock.now
        )
        operation = Operation.from_dict(self.operation)
        step = ""
        while operation.state == "running":
            operation = await asyncio.to_thread(cloud.poll, operation)
            if operation.step != step:
                step = operation.step
                self.log.info("%s: %s", operation.verb, step)
            if operation.state == "running":
                await asyncio.sleep(clock.real_seconds(self.poll_s))
        return {"operation": operation.as_dict(), "ended_at": clock.now().astimezone(UTC).isoformat()}
