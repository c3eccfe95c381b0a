"""Whether a DAG run's trials all succeeded and its gates pass. Airflow's own state may be green after a cancelled
trial.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_llm_provisioning.core.gate import Gate, Outcome
from airflow_llm_provisioning.core.gate_limit import judged, limit_from
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.trial import NOT_NEEDED, run_prefix
from airflow_llm_provisioning.exceptions import GateNotPassedError, TrialFailedError


def judge_run(
    experiment: str,
    dag_id: str,
    run_id: str,
    expected: int,
    results_conn_id: str,
    *,
    gates: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return {trials, not_needed, no_capacity: [sentences], serves_slower: [sentences], gates: [{arm, outcome,
    sentence, low, high}]}. Raises a TrialFailedError that names every trial that failed or left no row, or a
    GateNotPassedError with every gate that does not pass; both also tell which arms serve slower.

    `not_needed`: planned trials that were skipped, because their arm had enough. `no_capacity`: trials that got no
    machine, which is no failure unless the experiment says so. `serves_slower`: arms that write notably slower than
    their baseline, which is a failure where a gate says so. `gates`: as `core.gate_limit.limit_from` reads them.
    """
    bad, counted = _trials(experiment, dag_id, run_id, expected, results_conn_id)
    found = [_gate(asked, experiment, dag_id, run_id, results_conn_id) for asked in gates]
    slower = _serving(experiment, dag_id, run_id, results_conn_id)
    stopped = [f"{arm}: {gate.outcome}. {gate.sentence}" for arm, gate in found if gate.outcome is not Outcome.PASSES]
    if bad:
        told = f"Of {expected} trials of {experiment}, not all succeeded: {'; '.join(bad)}"
        raise TrialFailedError("\n".join([told, *stopped, *slower]))
    if stopped:
        raise GateNotPassedError("\n".join([*stopped, *slower]))
    rows = [
        {"arm": arm, "outcome": str(gate.outcome), "sentence": gate.sentence, "low": gate.low, "high": gate.high}
        for arm, gate in found
    ]
    return {**counted, "serves_slower": slower, "gates": rows}


def _serving(experiment: str, dag_id: str, run_id: str, results_conn_id: str) -> list[str]:
    """Return a sentence for each arm of the run that serves slower than its baseline."""
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.core.serving_guard import serves_slower
    from airflow_llm_provisioning.gateways.store.selection import Selection

    store = open_store(results_conn_id)
    try:
        measured = store.queries.measured(Selection(experiment=experiment, dag_id=dag_id, run_id=run_id))
    finally:
        store.close()
    return serves_slower(measured)


def _gate(
    asked: Mapping[str, Any], experiment: str, dag_id: str, run_id: str, results_conn_id: str
) -> tuple[str, Gate]:
    """Judge one arm of this run; another run may be the reference, of this DAG only."""
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.gateways.store.gate_runs import trials_for

    name = str(asked.get("arm") or "a gate")
    try:
        limit = limit_from(asked)
    except ValueError as error:
        return name, Gate(Outcome.NOT_JUDGED, str(error))
    store = open_store(results_conn_id)
    try:
        trials = trials_for(store, limit, run_id=run_id, dag_id=dag_id, experiment=experiment)
    finally:
        store.close()
    return limit.arm, judged(trials, limit, run_id=run_id, dag_id=dag_id)


def _trials(
    experiment: str, dag_id: str, run_id: str, expected: int, results_conn_id: str
) -> tuple[list[str], dict[str, Any]]:
    """Return a sentence for every trial that failed or left no row, and {trials, not_needed, no_capacity}."""
    from airflow_llm_provisioning.connections import open_store

    store = open_store(results_conn_id)
    try:
        trials = store.trials(experiment=experiment, dag_id=dag_id, run_id=run_id)
        skipped = store.noted(run_prefix(experiment, dag_id, run_id), NOT_NEEDED)
    finally:
        store.close()
    # A slot that was cleared and ran again has several rows, oldest first: its last one counts.
    last = {row.trial.slot.first_id: row for row in trials}
    ended = {row.trial_id: row for row in last.values() if row.status is not TrialStatus.SUCCEEDED}
    refused = [key for key, row in ended.items() if row.status is TrialStatus.NO_CAPACITY]
    told = {key: f"{key}: {row.status}, {row.reason}" for key, row in ended.items()}
    bad = [sentence for key, sentence in told.items() if key not in refused or ended[key].trial.no_capacity_fails]
    ran = {row.trial.slot.slot_id for row in last.values()}
    if (missing := expected - len(last) - len(skipped - ran)) > 0:
        bad.append(f"{missing} of {expected} trials left no row")
    no_capacity = [told[key] for key in refused]
    return bad, {"trials": len(trials), "not_needed": len(skipped - ran), "no_capacity": no_capacity}
