"""Whether a DAG run's trials all succeeded. Airflow's own state may be green after a cancelled trial."""

from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.trial import NOT_NEEDED, run_prefix
from airflow_llm_provisioning.exceptions import TrialFailedError


def judge_run(experiment: str, dag_id: str, run_id: str, expected: int, results_conn_id: str) -> dict[str, int]:
    """Return {trials, not_needed}, or raise a TrialFailedError that names every trial that failed or left no row.

    `not_needed`: planned trials that were skipped, because their arm had enough.
    """
    from airflow_llm_provisioning.connections import open_store

    store = open_store(results_conn_id)
    try:
        trials = store.trials(experiment=experiment, dag_id=dag_id, run_id=run_id)
        skipped = store.noted(run_prefix(experiment, dag_id, run_id), NOT_NEEDED)
    finally:
        store.close()
    # A slot that was cleared and ran again has several rows, oldest first: its last one counts.
    last = {(row.trial.slot.cluster, row.trial.slot.number): row for row in trials}
    bad = [
        f"{row.trial_id}: {row.status}, {row.reason}"
        for row in last.values()
        if row.status is not TrialStatus.SUCCEEDED
    ]
    ran = {row.trial.slot.slot_id for row in last.values()}
    if (missing := expected - len(last) - len(skipped - ran)) > 0:
        bad.append(f"{missing} of {expected} trials left no row")
    if bad:
        raise TrialFailedError(f"Of {expected} trials of {experiment}, not all succeeded: {'; '.join(bad)}")
    return {"trials": len(trials), "not_needed": len(skipped - ran)}
