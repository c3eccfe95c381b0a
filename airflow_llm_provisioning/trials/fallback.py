"""Whether a trial in a fallback is needed: only if the place before it got no capacity in this DAG run."""

from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.trial import NOT_NEEDED, Trial


def not_fallen_back(planned: Trial, *, results_conn_id: str) -> str | None:
    """Return why a planned trial in a fallback is not needed, and note it in the store; None where it is, and for a
    trial in its first place.

    The newest attempt in the place before decides. Any other end is a result of its own, and is not tried again
    elsewhere.
    """
    from airflow_llm_provisioning.connections import open_store

    if not planned.slot.fallback:
        return None
    store = open_store(results_conn_id)
    try:
        slot, before = planned.slot, planned.slot.place_before
        where = {"experiment": slot.experiment, "dag_id": slot.dag_id, "run_id": slot.run_id}
        rows = store.trials(**where, cluster=slot.cluster, slot=slot.number)
        rows = [row for row in rows if before.is_attempt(row.trial_id)]
        last = max(rows, key=lambda row: row.trial.slot.attempt, default=None)
        if last is not None and last.status is TrialStatus.NO_CAPACITY:
            return None
        ended = "has no trial" if last is None else f"ended as {last.status}"
        reason = f"Fallback {planned.target} is not needed: {before.slot_id} {ended}, not as {TrialStatus.NO_CAPACITY}."
        store.note_outcome(slot.slot_id, "open", NOT_NEEDED, reason)
        return reason
    finally:
        store.close()
