"""A trial's first and last task. Opening is trivial on purpose: Airflow gives a setup that fails no teardown."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_llm_provisioning.exceptions import ProvisioningError, StoreError
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.pods_gone import PodsGoneWait

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import Experiment
    from airflow_llm_provisioning.core.trial import Trial

DEFAULT_STORE = "llm_provisioning_results"
# What a teardown remembers from one try to the next.
_NODES = "nodes"
_UNPLACED = "unplaced"


class OpenTrial(BaseOperator):
    """Lock the cluster, write the trial's intent in the ledger, and return everything the trial's other tasks need.

    Creates nothing that costs: what it leaves behind when it is killed is a lock that its own DAG run can take again
    and that ends by itself. The same trial opened again is the same trial, until its row is written.

    Returns the opened trial (`core.trial.Trial` as a dict); it holds no manifest.

    :param planned: one trial of `PlanTrials`.
    :param experiment: the experiment, as `load_experiment` reads it; not rendered, not stored with the DAG.
    :param timeout_s: how long the deployment may take until its endpoint is ready, in the cluster's clock.
    :param results_conn_id: connection of the results store.
    """

    template_fields: Sequence[str] = ("planned", "timeout_s")
    template_fields_renderers = {"planned": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#e8e6f4"

    def __init__(
        self,
        *,
        planned: Mapping[str, Any],
        experiment: "Experiment",
        timeout_s: float | str = 3600,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.planned = planned
        self.experiment = experiment
        self.timeout_s = timeout_s
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Open the trial, or record why it could not be opened."""
        if not self.planned:
            # It runs after a failed trial too, so a plan that failed must be told apart here.
            raise AirflowSkipException("No trial is planned for this slot: look at what the plan task said.")
        from airflow_llm_provisioning.core.trial import Trial
        from airflow_llm_provisioning.trials.enough import not_needed
        from airflow_llm_provisioning.trials.open import open_trial

        planned = replace(
            Trial.from_dict(self.planned), timeout_s=float(self.timeout_s), grace_s=self.experiment.grace_s
        )
        if reason := not_needed(planned, self.experiment, results_conn_id=self.results_conn_id):
            raise AirflowSkipException(reason)
        trial = asyncio.run(open_trial(planned, self.experiment, results_conn_id=self.results_conn_id))
        self.log.info("Opened trial %s on %s", trial.trial_id, trial.target)
        return trial.as_dict()


class CloseTrial(WaitingOperator):
    """End a trial, failed or not: verify, delete, wait until its nodes are gone, analyse the trace, write
    the row, unlock.

    Safe to repeat. The row carries the trial's own status: Airflow's may be green after a cancelled run.

    Returns the row's flat summary.

    :param trial: the dict that `OpenTrial` returned.
    :param apply_task_id: the task that applied, asked for its state where nothing else tells how it ended.
    :param wait_task_id: the task that waited, likewise.
    :param nodes_gone_s: how long to wait for the nodes to go, in the cluster's clock; afterwards the next trial is
        not cold.
    """

    template_fields: Sequence[str] = ("trial",)
    template_fields_renderers = {"trial": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f3e3da"

    def __init__(
        self,
        *,
        trial: Mapping[str, Any],
        apply_task_id: str | None = None,
        wait_task_id: str | None = None,
        nodes_gone_s: float = 1800,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trial = trial
        self.apply_task_id = apply_task_id
        self.wait_task_id = wait_task_id
        self.nodes_gone_s = nodes_gone_s

    def execute(self, context: Context) -> Any:
        """Collect what only the living deployment can tell, then delete it."""
        from airflow_llm_provisioning.trials.close import announce_delete, collect_evidence, delete_trial

        trial = self._trial()
        asyncio.run(collect_evidence(trial, self.log))
        asyncio.run(announce_delete(trial, self.log))
        with self._recorded(context, trial):
            deletion = asyncio.run(
                delete_trial(
                    trial,
                    nodes_gone_s=self.nodes_gone_s,
                    remember=lambda *found: _with_earlier_tries(context, *found),
                )
            )
        wait = PodsGoneWait(**deletion.as_arguments())
        return self.wait_for(context, wait, at_most=timedelta(seconds=self.nodes_gone_s + 300))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Write the row and give the cluster back."""
        from airflow_llm_provisioning.trials.close import close_trial

        trial = self._trial()
        with self._recorded(context, trial):
            raise_error(event)
            return asyncio.run(close_trial(trial, event, self._states(context), self.log))

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
                record_unclosed(trial, self._states(context), error)
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


def _with_earlier_tries(
    context: Context, nodes: dict[str, str], unplaced: list[str]
) -> tuple[dict[str, str], list[str]]:
    """Return nodes and pods without one, with those that an earlier try of this task found, and keep them all for the
    next.
    """
    state = context.get("task_state_store")
    if state is None:
        return nodes, unplaced
    known_nodes: Any = state.get(_NODES)
    known_pods: Any = state.get(_UNPLACED)
    together: dict[str, str] = {**(known_nodes or {}), **nodes}
    waiting: list[str] = sorted({*(known_pods or []), *unplaced})
    state.set(_NODES, {**together})
    state.set(_UNPLACED, [*waiting])
    return together, waiting
