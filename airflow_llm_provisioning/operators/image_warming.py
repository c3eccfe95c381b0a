"""GKE: one pull that fills the region's streaming caches before the trials."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import Context

from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.exceptions import NotDeletedError
from airflow_llm_provisioning.operators.links import TargetLink
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.pod_run import PodRunWait


class WarmImageCache(WaitingOperator):
    """GKE: pull an image once on a streaming node, by a short pod, so that the region's caches hold it.

    Waits until the pod has run, and then until its node is gone, so that no trial finds it. Returns {pod, node,
    instance_type, pulled_s, seconds, node_s, price_usd, price_basis}; the price is the node's until it was gone.

    :param target: the target, as a dict. :param image: {image, digest} as `BuildServingImage` returns it.
    """

    template_fields: Sequence[str] = ("target", "image")
    operator_extra_links = (TargetLink(),)
    template_fields_renderers = {"target": "json", "image": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f6efd9"

    def __init__(
        self,
        *,
        target: Mapping[str, Any],
        image: Mapping[str, Any],
        timeout_s: float = 3600,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.image = image
        self.timeout_s = timeout_s
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> Any:
        """Create the pod (or find it) and wait."""
        from airflow_llm_provisioning.preparation.warm import begin_warming

        arguments = asyncio.run(begin_warming(self.target, self.image, self.timeout_s, self.results_conn_id))
        return self.wait_for(context, PodRunWait(**arguments), at_most=timedelta(seconds=self.timeout_s + 300))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Close the ledger's entry once the pod is gone, and keep what the warming took."""
        from airflow_llm_provisioning.preparation.operations import close_entry
        from airflow_llm_provisioning.preparation.warm import finish_warming

        if event.get("pod_gone"):
            close_entry(event["ledger_entry"], self.results_conn_id)
        raise_error(event)
        if not event.get("pod_gone"):
            raise NotDeletedError(
                f"The image was pulled, but pod {event['pod']} is not gone, so its node {event['node']} may cost "
                "money. Look why it stays, then clear this task: it deletes the pod again."
            )
        if event.get("node_gone") is False:
            self.log.warning(
                "Node %s of pod %s is not gone: the next trial may start warm", event["node"], event["pod"]
            )
        return finish_warming(self.target, self.image, event, context["ti"].run_id, self.results_conn_id)
