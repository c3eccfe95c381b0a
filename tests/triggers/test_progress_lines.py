"""What the log of a waiting task says of a deployment on a simulated cluster, over HTTP, in worker and triggerer."""

import logging
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout
from cluster_in_background import BackgroundCluster
from operator_harness import apply, close_trial, open_trial, wait

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.progress.spans import SPANS
from airflow_llm_provisioning.exceptions import TrialFailedError

pytestmark = pytest.mark.usefixtures("results_db")

TOLD = re.compile(r"\+(?:(\d+):)?(\d+):(\d\d) (.*)")
# The word by which a line tells a milestone.
WORDS = {
    "raycluster_created": "RayCluster ", "head.scheduled": "head scheduled on node", "head.pull_finished": "head image",
    "head.container_started": "head container started", "head.ready": "head ready",
    "worker.scheduled": "worker scheduled on node", "worker.pull_started": "worker image pull began",
    "worker.pull_finished": "worker image", "worker.container_started": "worker container started",
    "serve_config_sent": "Serve application sent", "replica_requested": "Serve replica requested",
    "app_running": "Serve application running", "endpoint_ready": "endpoint ready",
    "first_completion": "first valid completion",
}  # fmt: skip


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[float, str]]:
    """Return what the wait told: (seconds since the submission, text)."""
    found = [TOLD.fullmatch(record.getMessage()) for record in caplog.records if "recorder" in record.name]
    return [(int(m[1] or 0) * 3600 + int(m[2]) * 60 + int(m[3]), m[4]) for m in found if m]


def test_a_reader_is_told_what_the_row_says_later(
    simulated: BackgroundCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Every followed milestone of the trial's row is one line, at its own instant; the end of a span says how long it
    took; nothing is repeated.
    """
    caplog.set_level(logging.INFO)
    trial = open_trial()
    applied = apply(trial)
    wait(trial, applied, deferrable=True)
    told = lines(caplog)
    close_trial(trial)
    store = open_store()
    (row,) = store.trials()
    store.close()
    submitted_at = datetime.fromisoformat(applied["applied_at"])
    found = {stone.name: stone for stone in row.milestones if stone.name in WORDS}
    # On a busy machine the analysis rejects some of a fast clock's stamps.
    assert len(found) >= 8
    for name, stone in found.items():
        at = [second for second, text in told if text.startswith(WORDS[name])]
        assert at, (name, told)
        low = (stone.earliest_at - submitted_at - timedelta(seconds=2)).total_seconds()
        high = (stone.latest_at - submitted_at + timedelta(seconds=2)).total_seconds()
        # These two have no stamp of their own: they are told when they are received, and an effect may bound them.
        late = name in ("app_running", "endpoint_ready")
        assert any(low <= second and (second <= high or late) for second in at), (name, at, low, high)
    assert any(" after " in text for _, text in told)
    assert len(told) == len(set(told))
    assert {name for begins, _ in SPANS.values() for name in begins} >= {"submitted"}


@pytest.mark.parametrize(
    ("fault", "value", "words"),
    [
        ("quota_refused", True, "quota"),
        ("node_never_joins", True, "FailedScheduling"),
    ],
)
def test_a_stalled_trial_names_its_blocker(
    simulated: BackgroundCluster, caplog: pytest.LogCaptureFixture, fault: str, value: Any, words: str
) -> None:
    """The lines of the waiting task name the object and the cluster's own sentence, and so does each minute's line."""
    caplog.set_level(logging.INFO)
    simulated.fault(fault, value)
    trial = open_trial(timeout_s=900)
    with pytest.raises((AirflowSensorTimeout, TrialFailedError)):
        wait(trial, apply(trial), deferrable=False)
    blocked = [text for _, text in lines(caplog) if text.startswith("blocked: ")]
    assert any(words in text for text in blocked), lines(caplog)
    assert len(blocked) == len(set(blocked))
