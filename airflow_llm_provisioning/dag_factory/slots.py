"""Numbered trial slots per cluster, between their plan and their comparison.

Slots are unrolled when the DAG is parsed (their number follows from the experiment, their content is drawn when it
runs): a random order fixed at parse time would repeat every night or change the DAG's version every parse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any, Final

from airflow.sdk import BaseOperator, TaskGroup, chain

from airflow_llm_provisioning.compat import DOUBLING
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.dag_factory.form import TRIAL_TIME_LIMIT_S
from airflow_llm_provisioning.dag_factory.wiring import OUTLASTS_KILLS, SURVIVES_ITS_WORKER, group_key, output
from airflow_llm_provisioning.operators.changes import TellChanges
from airflow_llm_provisioning.operators.experiment import (
    ONLY_TRIAL,
    CompareVariants,
    JudgeRun,
    PlanTrials,
    slot_key,
)
from airflow_llm_provisioning.operators.ray_service import ApplyRayService
from airflow_llm_provisioning.operators.trial import LOCK_WAIT_S, CloseTrial, OpenTrial
from airflow_llm_provisioning.sensors.serve_endpoint import WaitServeEndpoint

BY_HAND: Final = "by-hand"

# Which cell a slot runs is known when it runs. Airflow's label of mapped tasks is shown for every task by the list of a
# run's tasks and by the REST API (`rendered_map_index`, Airflow 3.1 to 3.3). A label must not fail a task, so a trial
# that is missing gives none. The column has 250 characters.
CELL_LABEL: Final = (
    "{% set t = task.planned if task.planned is defined else task.trial %}"
    "{% if t is mapping and t['arm'] is mapping and t['arm']['stratum'] is mapping %}"
    "{{ [t['target'], t['arm']['stratum']['workload'], t['arm']['stratum']['setup'], t['arm']['variant']]"
    " | join('/') | truncate(250, True) }}"
    "{% endif %}"
)

# GPU nodes run until a teardown succeeds, so it is tried for about a quarter of an hour, after any error.
_TEARDOWN: Final[Mapping[str, Any]] = {
    "retries": 6,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": DOUBLING,
}


def trials(
    experiment: Experiment,
    *,
    time_limit_s: float | str = TRIAL_TIME_LIMIT_S,
    seed: int | str | None = None,
    results_conn_id: str = DEFAULT_STORE,
) -> tuple[PlanTrials, JudgeRun]:
    """Add plan, trials, comparison, alarm and judgement; return the plan and the judgement."""
    plan = PlanTrials(task_id="plan", experiment=experiment, seed=seed, **OUTLASTS_KILLS)
    compare = CompareVariants(
        task_id="compare",
        experiment=experiment.name,
        results_conn_id=results_conn_id,
        trigger_rule="all_done",
        **SURVIVES_ITS_WORKER,
    )
    judge = JudgeRun(
        task_id="judge",
        experiment=experiment.name,
        expected=experiment.planned_trials(),
        gates=[gate.as_dict() for gate in experiment.gates],
        results_conn_id=results_conn_id,
        trigger_rule="all_done",
        **SURVIVES_ITS_WORKER,
    )
    changes = TellChanges(
        task_id="changes",
        experiment=experiment.name,
        expected=[change.as_dict() for change in experiment.expected_changes],
        results_conn_id=results_conn_id,
        trigger_rule="all_done",
        **SURVIVES_ITS_WORKER,
    )
    for cluster, slots in experiment.slots().items():
        # All three are last tasks: a run is as good as its last tasks, and each of them may fail.
        _slots(plan, [compare, judge, changes], experiment, cluster, slots, time_limit_s, results_conn_id)
    return plan, judge


def single_trial(experiment: Experiment, *, results_conn_id: str = DEFAULT_STORE) -> None:
    """Add one trial whose cell comes from the DAG run's params (see `single_trial_params`)."""
    by_hand = replace(experiment, name=BY_HAND)
    plan = PlanTrials(
        task_id="plan",
        experiment=by_hand,
        model={"model_id": "{{ params.model or '' }}", "image": "{{ params.image or '' }}"},
        only={key: f"{{{{ params.{key} }}}}" for key in ("target", "workload", "setup", "variant")},
        **OUTLASTS_KILLS,
    )
    _, closed = trial_slot(
        output(plan)[ONLY_TRIAL],
        by_hand,
        time_limit_s="{{ params.time_limit_s }}",
        lock_wait_s=f"{{{{ params.get('lock_wait_s', {LOCK_WAIT_S:.0f}) }}}}",
        results_conn_id=results_conn_id,
    )
    judge = JudgeRun(
        task_id="judge",
        experiment=BY_HAND,
        expected=1,
        results_conn_id=results_conn_id,
        trigger_rule="all_done",
        **SURVIVES_ITS_WORKER,
    )
    chain(closed, judge)


def trial_slot(
    planned: Any,
    experiment: Experiment,
    *,
    time_limit_s: float | str = TRIAL_TIME_LIMIT_S,
    lock_wait_s: float | str = LOCK_WAIT_S,
    results_conn_id: str = DEFAULT_STORE,
) -> tuple[OpenTrial, CloseTrial]:
    """Add the four tasks of one trial; return its setup and its teardown.

    `lock_wait_s`: how long the trial waits for a cluster that another DAG run's trial holds, in the cluster's clock.
    """
    opened = OpenTrial(
        task_id="open",
        planned=planned,
        experiment=experiment,
        timeout_s=time_limit_s,
        lock_wait_s=lock_wait_s,
        results_conn_id=results_conn_id,
        # The trial before may have failed; without a plan there is nothing to open.
        trigger_rule="all_done_min_one_success",
        map_index_template=CELL_LABEL,
        **OUTLASTS_KILLS,
    )
    applied = ApplyRayService(
        task_id="apply",
        trial=output(opened),
        experiment=experiment,
        map_index_template=CELL_LABEL,
        **SURVIVES_ITS_WORKER,
    )
    ready = WaitServeEndpoint(
        task_id="wait",
        rayservice=output(applied),
        trial=output(opened),
        evidence_s=experiment.evidence_s,
        map_index_template=CELL_LABEL,
        **SURVIVES_ITS_WORKER,
    )
    closed = CloseTrial(
        task_id="close",
        trial=output(opened),
        apply_task_id=applied.task_id,
        wait_task_id=ready.task_id,
        map_index_template=CELL_LABEL,
        **_TEARDOWN,
    )
    chain(opened, applied, ready, closed)
    closed.as_teardown(setups=opened, on_failure_fail_dagrun=True)
    return opened, closed


def _slots(
    plan: PlanTrials,
    last: Sequence[BaseOperator],
    experiment: Experiment,
    cluster: str,
    slots: int,
    time_limit_s: float | str,
    results_conn_id: str,
) -> None:
    previous: CloseTrial | None = None
    with TaskGroup(group_key(cluster)):
        for slot, fallback in product(range(slots), range(experiment.fallback_slots()[cluster] + 1)):
            with TaskGroup(f"trial_{slot:02d}" + (f"_fallback_{fallback}" if fallback else "")):
                opened, closed = trial_slot(
                    output(plan)[slot_key(cluster, slot, fallback)],
                    experiment,
                    time_limit_s=time_limit_s,
                    results_conn_id=results_conn_id,
                )
            if previous is not None:
                chain(previous, opened)
            previous = closed
            chain(closed, list(last))
