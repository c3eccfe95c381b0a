"""Why a step of a trial failed, noted for the row that the teardown writes."""

from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import ProvisioningError


def note_failure(trial: Mapping[str, Any] | None, step: str, error: Exception, log: Any) -> None:
    """Record in the results store why a step of a trial (as a dict) failed; without a trial do nothing.

    A store that cannot be written does not hide the failure itself.
    """
    if not trial:
        return
    from airflow_llm_provisioning.connections import open_store

    opened = Trial.from_dict(trial)
    if opened.access is None:
        return
    try:
        store = open_store(opened.access.results_conn_id)
        try:
            store.note_outcome(opened.trial_id, step, TrialStatus.FAILED, str(error))
        finally:
            store.close()
    except ProvisioningError as unwritable:
        log.error("The failure of %s could not be recorded: %s", step, unwritable)


def row_text(row: TrialResult) -> str:
    """Return a trial's row in one sentence, for a log: `Trial t succeeded: 845.5 s, start cold, treatments applied.`"""
    took = "no total" if row.total_s is None else f"{row.total_s:.1f} s"
    why = f" Reason: {row.reason}" if row.reason else ""
    return f"Trial {row.trial_id} {row.status}: {took}, start {row.start}, treatments {row.applied}.{why}"
