"""Wait for a RayService's serve endpoint, recording what the cluster says meanwhile."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Context

from airflow_llm_provisioning.compat import AirflowSensorTimeout, BaseSensorOperator
from airflow_llm_provisioning.core.blockers import grace_periods
from airflow_llm_provisioning.core.names import LABEL_TRIAL, label_value
from airflow_llm_provisioning.core.ownership import LABEL_RUN, run_label
from airflow_llm_provisioning.exceptions import OverBudgetError, ProvisioningError, TrialFailedError
from airflow_llm_provisioning.operators.links import TrialLink
from airflow_llm_provisioning.operators.waiting import Waiting
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.serve_endpoint import ServeEndpointWait

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.trial import Trial

# After the limit the recorder still reads Ray's own account of what happened.
COLLECTION_S: Final = 300


class WaitServeEndpoint(Waiting, BaseSensorOperator):
    """Wait until the serve Service of a RayService has a ready endpoint; with `completion`, until it has answered
    validly too.

    Returns {outcome: "ready", endpoint_ready_at, first_completion_at, waited_s, origin} and the bounds of both instants
    (`endpoint_ready_earliest_at`, `endpoint_ready_latest_at`, ...); instants are ISO, in the cluster's clock. What
    became ready while nothing watched has the cluster's stamps as its bounds. Fails early when something blocks the
    deployment that cannot pass by itself, for longer than its grace period; fails by AirflowSensorTimeout (never
    retried) when the limit has passed. What was ready before the limit is ready, also if the wait begins after it.
    While it waits it records every version of the objects concerned; with `trial` the recording reaches the results
    store as it grows.

    :param rayservice: {cluster, name, namespace, uid, applied_at, replied_at} as `ApplyRayService` returns it.
    :param trial: the trial this belongs to; its time limit counts.
    :param completion: {path, body, expect_model}: the request whose valid answer is waited for after the endpoint; a
        trial has its own.
    :param timeout: limit in seconds of the cluster's clock, where no trial gives one.
    :param grace_s: kind of blocker -> seconds after which the wait ends early for it, in place of the default
        (`core.blockers.GRACE_S`); None: wait until the limit. A trial has its own.
    :param evidence_s: after the end of a trial's wait, read Ray's state and the logs for at most so many real seconds,
        while GPU nodes run on; what was not read is marked in the trace. Without a trial nothing is read after a ready
        end.
    :param deferrable: wait in the triggerer; the default is Airflow's `[operators] default_deferrable`.
    """

    template_fields: Sequence[str] = ("rayservice", "trial", "completion")
    operator_extra_links = (TrialLink(),)
    template_fields_renderers = {"rayservice": "json", "trial": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#dce6f2"
    looks_again = True

    def __init__(
        self,
        *,
        rayservice: Mapping[str, Any],
        trial: Mapping[str, Any] | None = None,
        completion: Mapping[str, Any] | None = None,
        timeout: timedelta | float = 3600,
        grace_s: Mapping[str, float | None] | None = None,
        evidence_s: float = 5.0,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.rayservice = rayservice
        self.trial = trial
        self.completion = completion
        self.grace_s = grace_s
        self.evidence_s = evidence_s
        grace_periods(grace_s)  # a wrong kind is refused when the DAG is parsed
        self.choose_deferrable(deferrable)

    def execute(self, context: Context) -> Any:
        """Wait in the triggerer, or here."""
        from airflow_llm_provisioning.trials.entry import check_open

        check_open(self.trial)
        trial = self._trial()
        opened, access = (trial.opened, trial.access) if trial else (None, None)
        limit_s = trial.timeout_s if trial else float(self.timeout)
        completion = opened.completion if opened else self.completion
        grace_s = dict(trial.grace_s if trial else self.grace_s or {})
        wait = ServeEndpointWait(
            rayservice=dict(self.rayservice),
            timeout_s=limit_s,
            completion=dict(completion) if completion else None,
            trial=trial.header() if trial else None,
            results_conn_id=access.results_conn_id if access else None,
            grace_s=grace_s,
            evidence_s=self.evidence_s,
            owner=self._owner(context, trial),
            expected=self._expected(context, trial),
        )
        return self.wait_for(context, wait, at_most=timedelta(seconds=limit_s + COLLECTION_S))

    def _expected(self, context: Context, trial: "Trial | None") -> dict[str, Any] | None:
        """Tell that the wait begins, and return what it is expected to take."""
        from airflow_llm_provisioning.trials.running import tell_step

        if trial is None:
            return None
        return asyncio.run(tell_step(trial, "wait", self.log, task_id=context["ti"].task_id)).as_dict()

    def _owner(self, context: Context, trial: "Trial | None") -> dict[str, str]:
        """Return the label by which the RayService belongs to this task."""
        if trial is not None:
            return {LABEL_TRIAL: label_value(trial.trial_id)}
        return {LABEL_RUN: run_label(context["ti"].dag_id, context["ti"].run_id)}

    def _trial(self) -> "Trial | None":
        from airflow_llm_provisioning.core.trial import Trial

        return Trial.from_dict(self.trial) if self.trial else None

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return what was seen, or fail with the reason."""
        from airflow_llm_provisioning.trials.outcome import note_failure

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
        if event["outcome"] == "over_budget":
            raise OverBudgetError(f"{name} was ended: {event['reason']}")
        raise TrialFailedError(f"{name} did not become ready: {event['reason']}")
