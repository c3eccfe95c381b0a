"""A trial's first and last task. Opening is trivial on purpose: Airflow gives a setup that fails no teardown."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_llm_provisioning.compat import AirflowSkipException
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.exceptions import LockHeldError, NotReadyError, ProvisioningError, StoreError
from airflow_llm_provisioning.operators.links import TrialLink
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.lock import LockWait
from airflow_llm_provisioning.triggers.pods_gone import PodsGoneWait
from airflow_llm_provisioning.triggers.prepared_objects import ObjectsReadyWait

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import Experiment
    from airflow_llm_provisioning.core.trial import Trial

# Longer than a trial with its teardown takes: a limit of an hour, and half an hour until its nodes are gone.
LOCK_WAIT_S = 4 * 3600.0
# As long as a preparation may take until its objects are ready.
PREPARED_WAIT_S = 3600.0
# What a teardown remembers from one try to the next.
_FOUND = "found"
_CLOSING = "closing"


class OpenTrial(WaitingOperator):
    """Lock the cluster, write the trial's intent in the ledger, and return everything the trial's other tasks need.

    Creates nothing that costs: what it leaves behind when it is killed is a lock that its own DAG run can take again
    and that ends by itself. While another trial holds the cluster it waits in the triggerer, whose log says for whom,
    and then continues. The same trial opened again is the same trial, until its row is written.

    Returns the opened trial (`core.trial.Trial` as a dict); it holds no manifest.

    :param planned: one trial of `PlanTrials`.
    :param experiment: the experiment, as `load_experiment` reads it; not rendered, not stored with the DAG.
    :param timeout_s: how long the deployment may take until its endpoint is ready, in the cluster's clock.
    :param prepared_wait_s: how long what was prepared for it (the next nodes of a buffer) may take until it is ready
        again, in the cluster's clock; 0: it is not waited for, and the verdict says what was not ready.
    :param lock_wait_s: how long to wait for a cluster that another trial holds, in the cluster's clock; 0: not at all.
    :param results_conn_id: connection of the results store.
    :param deferrable: wait in the triggerer; by default, because another trial may hold the cluster for hours.
    """

    template_fields: Sequence[str] = ("planned", "timeout_s", "lock_wait_s")
    operator_extra_links = (TrialLink(),)
    template_fields_renderers = {"planned": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#e8e6f4"

    def __init__(
        self,
        *,
        planned: Mapping[str, Any],
        experiment: "Experiment",
        timeout_s: float | str = 3600,
        lock_wait_s: float | str = LOCK_WAIT_S,
        prepared_wait_s: float = PREPARED_WAIT_S,
        results_conn_id: str = DEFAULT_STORE,
        deferrable: bool | None = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(deferrable=deferrable, **kwargs)
        self.lock_wait_s = lock_wait_s
        self.prepared_wait_s = prepared_wait_s
        self.planned = planned
        # A slot that ran before has another attempt's name than the plan says.
        self.opened_trial_id: str | None = None
        self.experiment = experiment
        self.timeout_s = timeout_s
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> Any:
        """Open the trial, wait for its cluster, or record why it could not be opened."""
        if not self.planned:
            # It runs after a failed trial too, so a plan that failed must be told apart here.
            raise AirflowSkipException("No trial is planned for this slot: look at what the plan task said.")
        from airflow_llm_provisioning.trials.enough import not_needed
        from airflow_llm_provisioning.trials.fallback import not_fallen_back

        planned = self._planned()
        if reason := not_fallen_back(planned, results_conn_id=self.results_conn_id):
            raise AirflowSkipException(reason)
        if reason := not_needed(planned, self.experiment, results_conn_id=self.results_conn_id):
            raise AirflowSkipException(reason)
        return self._open(context, {})

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Open the trial, or record that the cluster was not free in time."""
        from airflow_llm_provisioning.trials.open import record_refusal

        if event.get("acquired"):
            return self._open(context, {"started_at": event["started_at"]})
        if event.get("objects"):
            return self._open(context, {})
        reason = record_refusal(self._planned(), event, results_conn_id=self.results_conn_id)
        raise_error(event)
        raise LockHeldError(reason)

    def _open(self, context: Context, waiting: dict[str, Any]) -> Any:
        """Open the trial; `waiting`: {started_at} of the wait for its cluster, if it has waited before."""
        from airflow_llm_provisioning.trials.open import lock_wait_of, open_trial

        planned, limit_s = self._planned(), float(self.lock_wait_s)
        opening = open_trial(
            planned,
            self.experiment,
            results_conn_id=self.results_conn_id,
            may_wait=limit_s > 0,
            await_prepared=self.prepared_wait_s > 0,
            task_id=context["ti"].task_id,
        )
        try:
            trial = asyncio.run(opening)
        except NotReadyError as waits:
            return self._await_prepared(context, planned, waits)
        except LockHeldError as held:
            if limit_s <= 0:
                raise
            self.log.info("Trial %s waits for its cluster, for up to %.0f s. %s", planned.trial_id, limit_s, held)
        else:
            self.opened_trial_id = trial.trial_id
            self.log.info("Opened trial %s on %s", trial.trial_id, trial.target)
            if trial.opened is not None and not trial.opened.nodes_gone_s:
                self.log.warning("Nothing removes the nodes of target %s, so this start is warm", trial.target)
            return trial.as_dict()
        arguments = asyncio.run(
            lock_wait_of(planned, self.experiment, timeout_s=limit_s, results_conn_id=self.results_conn_id)
        )
        arguments |= waiting
        return self.wait_for(context, LockWait(**arguments), at_most=timedelta(seconds=limit_s + 300))

    def _await_prepared(self, context: Context, planned: "Trial", waits: NotReadyError) -> Any:
        from airflow_llm_provisioning.trials.prepared_wait import ready_wait_of

        limit_s = self.prepared_wait_s
        self.log.info("Trial %s waits for what was prepared, for up to %.0f s. %s", planned.trial_id, limit_s, waits)
        arguments = asyncio.run(ready_wait_of(planned, self.experiment, waits, limit_s))
        return self.wait_for(context, ObjectsReadyWait(**arguments), at_most=timedelta(seconds=limit_s + 300))

    def _planned(self) -> "Trial":
        from airflow_llm_provisioning.core.trial import Trial

        planned = Trial.from_dict(self.planned)
        return replace(
            planned,
            timeout_s=float(self.timeout_s),
            grace_s=self.experiment.grace_s,
            no_capacity_fails=self.experiment.no_capacity_fails,
            pricing=self.experiment.pricing(planned.target),
        )


class CloseTrial(WaitingOperator):
    """End a trial, failed or not: verify, delete, wait until it and its nodes are gone, unlock, analyse the trace,
    write the row.

    Safe to repeat. The row carries the trial's own status: Airflow's may be green after a cancelled run. Raises
    NotDeletedError where something of the trial is left: the row says `not_deleted` and what it waits for, and the lock
    and the ledger's entry stay until a later try has seen it gone.

    Returns the row's flat summary.

    :param trial: the dict that `OpenTrial` returned.
    :param apply_task_id: the task that applied, asked for its state where nothing else tells how it ended.
    :param wait_task_id: the task that waited, likewise.
    :param nodes_gone_s: how long to wait for the nodes to go, in the cluster's clock; afterwards the next trial is
        not cold. 0: not at all. None: as the target says.
    :param deleted_s: how long its RayService, RayClusters, pods and Services may take to go, in the cluster's clock.
    """

    template_fields: Sequence[str] = ("trial",)
    operator_extra_links = (TrialLink(),)
    template_fields_renderers = {"trial": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f3e3da"

    def __init__(
        self,
        *,
        trial: Mapping[str, Any],
        apply_task_id: str | None = None,
        wait_task_id: str | None = None,
        nodes_gone_s: float | None = None,
        deleted_s: float = 600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trial = trial
        self.apply_task_id = apply_task_id
        self.wait_task_id = wait_task_id
        self.nodes_gone_s = nodes_gone_s
        self.deleted_s = deleted_s

    def execute(self, context: Context) -> Any:
        """Collect what only the living deployment can tell, then delete it."""
        from airflow_llm_provisioning.trials.close import delete_trial
        from airflow_llm_provisioning.trials.evidence import announce_delete, collect_evidence
        from airflow_llm_provisioning.trials.running import tell_step

        trial = self._trial()
        asyncio.run(tell_step(trial, "delete", self.log, task_id=context["ti"].task_id))
        asyncio.run(collect_evidence(trial, self.log))
        asyncio.run(announce_delete(trial, self.log))
        with self._recorded(context, trial):
            deletion = asyncio.run(
                delete_trial(
                    trial,
                    objects_s=self.deleted_s,
                    nodes_gone_s=self.nodes_gone_s,
                    remember=lambda found: _with_earlier_tries(context, found),
                )
            )
        conn_id = trial.access.results_conn_id if trial.access else None
        wait = PodsGoneWait(**deletion.as_arguments(), trial_id=trial.trial_id, results_conn_id=conn_id)
        return self.wait_for(context, wait, at_most=timedelta(seconds=deletion.limit_s + 300))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Give the cluster back and write the row."""
        from airflow_llm_provisioning.report.log_text import told_trial
        from airflow_llm_provisioning.trials.close import UnwrittenRowError, release_cluster, write_row

        trial = self._trial()
        with self._recorded(context, trial):
            raise_error(event)
            closing = asyncio.run(release_cluster(trial, event, self._states(context)))
        # What an earlier try saw when the trial's end came outweighs what is seen after it.
        closing = _kept(context, _CLOSING) or _keep(context, _CLOSING, closing)
        try:
            result = asyncio.run(write_row(trial, closing, self.log))
        except UnwrittenRowError as error:
            context["ti"].xcom_push(key="unwritten_row", value={**error.row, **closing, "trial_id": trial.trial_id})
            raise
        _keep(context, _CLOSING, {})
        self.log.info("%s", told_trial(result))
        return result.summary()

    def _trial(self) -> "Trial":
        from airflow_llm_provisioning.core.trial import Trial

        return Trial.from_dict(self.trial)

    @contextmanager
    def _recorded(self, context: Context, trial: "Trial") -> Iterator[None]:
        """Give the trial its row, also when it cannot be closed."""
        from airflow_llm_provisioning.trials.close import record_unclosed

        try:
            yield
        except StoreError:
            raise
        except ProvisioningError as error:
            try:
                asyncio.run(record_unclosed(trial, self._states(context), error))
            except StoreError as unwritable:
                self.log.error("The trial's row could not be written either: %s", unwritable)
            raise

    def _states(self, context: Context) -> dict[str, str | None]:
        """Return Airflow's states of the trial's other tasks, as far as they are named."""
        ti = context["ti"]
        asked = {"apply": self.apply_task_id, "wait": self.wait_task_id}
        named = [task_id for task_id in asked.values() if task_id]
        if not named:
            return {}
        found = ti.get_task_states(dag_id=ti.dag_id, task_ids=named, run_ids=[ti.run_id])
        states = {task_id: str(state) for run in found.values() for task_id, state in run.items() if state}
        return {step: states.get(task_id or "") for step, task_id in asked.items()}


def _with_earlier_tries(context: Context, found: dict[str, Any]) -> dict[str, Any]:
    """Return what was found of a RayService, with what an earlier try of this task found, and keep it for the next."""
    known = _kept(context, _FOUND) or {}
    together = {
        key: {**(known.get(key) or {}), **value} if isinstance(value, dict) else value or known.get(key)
        for key, value in found.items()
    }
    return _keep(context, _FOUND, together)


def _kept(context: Context, key: str) -> Any:
    """Return what a try of this task kept for the next one, None without."""
    state = context.get("task_state_store")
    return state.get(key) if state is not None else None


def _keep(context: Context, key: str, value: dict[str, Any]) -> dict[str, Any]:
    """Keep a value for the next try of this task, where this Airflow can, and return it."""
    state = context.get("task_state_store")
    if state is not None:
        state.set(key, {**value})
    return value
