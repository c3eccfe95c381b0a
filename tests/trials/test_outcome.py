"""Why a step failed is noted, and a store that cannot be written hides nothing."""

import logging
from dataclasses import replace

import pytest
from trial_builders import a_planned_trial, a_result

from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.trial import Access
from airflow_llm_provisioning.exceptions import ClusterError, StoreError
from airflow_llm_provisioning.trials.outcome import note_failure, row_text


def test_a_missing_store_does_not_hide_the_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the caller raises its own error."""

    def broken(_conn_id: str) -> None:
        raise StoreError("The results store is gone.")

    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", broken)
    access = Access(cluster={"conn_id": "c"}, cloud=None, results_conn_id="r")
    trial = replace(a_planned_trial("t"), access=access).as_dict()
    note_failure(trial, "apply", ClusterError("why"), logging.getLogger("x"))
    assert "The failure of apply could not be recorded: The results store is gone." in caplog.text
    note_failure(None, "apply", ClusterError("why"), logging.getLogger("x"))


def test_a_row_is_one_sentence_with_a_rounded_total_or_none() -> None:
    """Never `None s`, and never fifteen decimal places."""
    assert row_text(a_result("t", total_s=871.4400000000001)) == (
        "Trial t succeeded: 871.4 s, start cold, treatments none."
    )
    aborted = a_result("t", total_s=None, status=TrialStatus.ABORTED, reason="marked failed")
    assert row_text(aborted) == "Trial t aborted: no total, start cold, treatments none. Reason: marked failed"
