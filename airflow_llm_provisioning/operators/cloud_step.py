"""One long operation of a cloud as a task: the base of `BuildServingImage`, `SnapshotImage` and `EnableStreaming`.

Each step keeps its seconds and its price beside the results, and can be used alone in any DAG.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from airflow.sdk import Context

from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.operators.links import TargetLink
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.cloud_operation import CloudOperationWait


class CloudStep(WaitingOperator):
    """One long operation of a cloud: start it, wait for it, keep what it cost.

    :param cloud: {cloud, conn_id, ...} as `connections.opened_cloud` takes it; `cloud` is the name by which it is
        registered (`eks`, `gke`, `aks`, or another package's); `cluster` in it names the cluster whose clock counts and
        that says whether all this is simulated.
    :param target: the target this prepares, for the results store; "" for none.
    :param results_conn_id: connection of the results store, which also holds the ledger.
    :param timeout_s: at most this long in real time; the gateway's own limits are shorter.
    """

    verb: ClassVar[str]
    template_fields: Sequence[str] = ("cloud", "target")
    operator_extra_links = (TargetLink(),)
    template_fields_renderers = {"cloud": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f6efd9"

    def __init__(
        self,
        *,
        cloud: Mapping[str, Any],
        target: str = "",
        results_conn_id: str = DEFAULT_STORE,
        timeout_s: float = 3 * 3600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cloud = cloud
        self.target = target
        self.results_conn_id = results_conn_id
        self.timeout_s = timeout_s

    @abstractmethod
    def request(self) -> dict[str, Any]:
        """Return the operation's request, JSON."""

    def looked_up(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts of the cluster that this cloud's verb needs and that the request does not hold yet."""
        from airflow_llm_provisioning.gateways.clouds.registry import cloud_named
        from airflow_llm_provisioning.preparation.operations import cluster_fact

        cluster = self.cloud.get("cluster")
        if not cluster:
            return {}
        needed = cloud_named(str(self.cloud.get("cloud"))).cluster_facts(self.verb)
        return {fact: cluster_fact(fact, cluster) for fact in needed if fact not in request}

    def execute(self, context: Context) -> Any:
        """Start the operation and wait for it."""
        from airflow_llm_provisioning.preparation.operations import start_operation, usual_duration

        request = self.request()
        request |= self.looked_up(request) | {"target": self.target or None}
        operation = start_operation(self.cloud, self.verb, request, self.results_conn_id)
        wait = CloudOperationWait(
            cloud=dict(self.cloud),
            operations=[operation.as_dict()],
            results_conn_id=self.results_conn_id,
            usual=usual_duration(self.target, self.verb, self.results_conn_id),
        )
        return self.wait_for(context, wait, at_most=timedelta(seconds=self.timeout_s))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Keep the preparation's row and return the operation's result."""
        from airflow_llm_provisioning.preparation.operations import keep_operation

        raise_error(event)
        return keep_operation(self.cloud, self.target, event, context["ti"].run_id, self.results_conn_id)
