"""Wait for a RayService's serve endpoint, recording what the cluster says meanwhile."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowSensorTimeout

from airflow_llm_provisioning.exceptions import ProvisioningError, TrialFailedError
from airflow_llm_provisioning.triggers.base import default_deferrable, first_event, note_failure, raise_error
from airflow_llm_provisioning.triggers.serve_endpoint import ServeEndpointWait


class WaitServeEndpoint(BaseSensorOperator):
    """Wait until the serve Service of a RayService has a ready endpoint; with `completion`, until it has answered
    validly too.

    Returns {outcome: "ready", endpoint_ready_at, first_completion_at, waited_s, origin}; instants are ISO, in the
    cluster's clock. Fails
    early when the deployment has failed for good, and by AirflowSensorTimeout (never retried) when the limit has
    passed.
    While it waits it records every version of the objects concerned; with `trial` the recording reaches the results
    store as it grows.

    :param rayservice: {cluster, name, namespace, uid, applied_at, replied_at} as `ApplyRayService` returns it.
    :param trial: the trial this belongs to; its time limit counts.
    :param completion: {path, body, expect_model}: the request whose valid answer is waited for after the endpoint; a
    trial has its own.
    :param timeout: limit in seconds of the cluster's clock, where no trial gives one.
    :param deferrable: wait in the triggerer; the default is Airflow's `[operators] default_deferrable`.
    """

    template_fields: Sequence[str] = ("rayservice", "trial", "completion")
    template_fields_renderers = {"rayservice": "json", "trial": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#dce6f2"

    def __init__(
        self,
        *,
        rayservice: Mapping[str, Any],
        trial: Mapping[str, Any] | None = None,
        completion: Mapping[str, Any] | None = None,
        timeout: timedelta | float = 3600,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.rayservice = rayservice
        self.trial = trial
        self.completion = completion
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    def execute(self, context: Context) -> Any:
        """Wait in the triggerer, or here."""
        trial = self.trial or {}
        limit_s = float(trial.get("timeout_s") or self.timeout)
        completion = trial.get("completion") or self.completion
        wait = ServeEndpointWait(
            rayservice=dict(self.rayservice),
            timeout_s=limit_s,
            completion=dict(completion) if completion else None,
            trial=trial_header(trial),
            results_conn_id=trial.get("results_conn_id"),
        )
        at_most = timedelta(seconds=limit_s + COLLECTION_S)
        if self.deferrable:
            self.defer(trigger=wait, method_name="resume", timeout=at_most)
        return self.resume(context, asyncio.run(first_event(wait, at_most)))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return what was seen, or fail with the reason."""
        try:
            raise_error(event)
        except ProvisioningError as error:
            # The trace does not end by itself then: without this the row would call it ended from outside.
            note_failure(self.trial, "wait", error, self.log)
            raise
        if event["outcome"] == "ready":
            return event
        name = f"RayService {self.rayservice['namespace']}/{self.rayservice['name']}"
        if event["outcome"] == "timed_out":
            raise AirflowSensorTimeout(f"{name} was not ready in time: {event['reason']}")
        raise TrialFailedError(f"{name} did not become ready: {event['reason']}")


# After the limit the recorder still reads Ray's own account of what happened.
COLLECTION_S = 300


def trial_header(trial: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a trace's header says of its trial: what it was, not how to reach it."""
    if not trial:
        return None
    dropped = {"manifest", "cluster_ref", "cloud_ref", "completion", "results_conn_id", "lock_holder", "ledger_entry"}
    return {key: value for key, value in trial.items() if key not in dropped}
