"""How a target's nodes are made: set up once, before its trials."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import Context

from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.operators.links import TargetLink
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.cloud_operation import CloudOperationWait


class SetUpNodes(WaitingOperator):
    """Tell a target's node autoscaler how its nodes are made: once, before the trials, never between them.

    Returns {applied: [kind/name, ..], restarted: [namespace/name, ..], written: [path, ..], seconds, ...} or, for pools
    of the cloud, {pools: [..], reused, seconds, price_usd, price_basis}.

    :param target: the target, as a dict.
    :param prepared: results of the earlier steps; the snapshot, its size and its initialization rate go into the node
        profile.
    :param files_dir: write what would be applied into this folder, `<folder>/<target>/`, and apply nothing.
    """

    template_fields: Sequence[str] = ("target", "prepared", "files_dir")
    operator_extra_links = (TargetLink(),)
    template_fields_renderers = {"target": "json", "prepared": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f6efd9"

    def __init__(
        self,
        *,
        target: Mapping[str, Any],
        prepared: Mapping[str, Any] | None = None,
        files_dir: str | None = None,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.prepared = prepared or {}
        self.files_dir = files_dir
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> Any:
        """Apply what the autoscaler reads; where pools are the cloud's objects, start those and wait."""
        from airflow_llm_provisioning.preparation.nodes import set_up_nodes
        from airflow_llm_provisioning.preparation.operations import start_operation, usual_duration

        done = asyncio.run(set_up_nodes(self.target, self.prepared, self.files_dir, self.results_conn_id))
        if not done.pools:
            return self._kept(context, done.result, done.ended_at)
        operations = [
            start_operation(done.cloud, "set_up_node_pool", request, self.results_conn_id) for request in done.pools
        ]
        wait = CloudOperationWait(
            cloud=done.cloud,
            operations=[operation.as_dict() for operation in operations],
            results_conn_id=self.results_conn_id,
            usual=usual_duration(self.target["name"], "set_up_nodes", self.results_conn_id),
        )
        return self.wait_for(context, wait, at_most=timedelta(hours=1))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Keep and return what the cloud set up."""
        from airflow_llm_provisioning.preparation.nodes import pools_result

        raise_error(event)
        return self._kept(context, pools_result(event), event["ended_at"])

    def _kept(self, context: Context, result: dict[str, Any], ended_at: str) -> dict[str, Any]:
        from airflow_llm_provisioning.preparation.nodes import keep_nodes

        run_id = context["ti"].run_id
        return keep_nodes(self.target, self.prepared, result, ended_at, run_id, self.results_conn_id)
