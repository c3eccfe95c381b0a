"""What the log of a waiting task says of a deployment on a simulated cluster, over HTTP, in worker and triggerer."""

import asyncio
import logging
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout
from cluster_in_background import BackgroundCluster
from operator_harness import apply, close_trial, event_of, open_trial, run, wait

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.progress.spans import SPANS
from airflow_llm_provisioning.exceptions import NotDeletedError, TrialFailedError
from airflow_llm_provisioning.operators import DeleteRayService
from airflow_llm_provisioning.trials.delete import WaitLimits, delete_ray_service
from airflow_llm_provisioning.triggers.pods_gone import PodsGoneWait

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


def delete_arguments(applied: dict[str, Any]) -> dict[str, Any]:
    """Delete a RayService and return the arguments of the wait for its end."""
    return asyncio.run(delete_ray_service(applied, limits=WaitLimits(objects_s=900))).as_arguments()


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
        rejected = "contradict" in str(row.flags)
        assert rejected or any(low <= second and (second <= high or late) for second in at), (name, at, low, high)
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


def test_a_reader_of_the_store_sees_where_a_trial_is(simulated: BackgroundCluster) -> None:
    """From the opening to the result, with the task that is at it."""
    store = open_store()
    trial = open_trial()
    opened = store.progress.of(trial["trial_id"])
    assert opened is not None
    assert (opened.step, opened.target, opened.variant, opened.origin) == ("open", "plain", "baseline", "simulated")
    assert (opened.expected_n, opened.expected_s) == (0, None)
    wait(trial, apply(trial), deferrable=True)
    waited = store.progress.of(trial["trial_id"])
    assert waited is not None
    assert (waited.step, waited.task_id) == ("wait", "t")
    assert waited.elapsed_s > 0
    # Machines of a few minutes, at list prices.
    assert waited.currency == "USD"
    assert waited.spent is not None
    assert 0 < waited.spent < 5
    assert waited.phase != "deployment"
    close_trial(trial, deferrable=True)
    assert store.progress.running() == []
    store.close()


def test_a_store_that_is_away_does_not_disturb_a_delete(
    simulated: BackgroundCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait of a delete needs no store: it warns once, and ends as it would have ended."""
    applied = apply(open_trial())
    arguments = delete_arguments(applied)
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", '{"conn_type": "sqlite", "host": "/no/such/folder/results.db"}')
    event = asyncio.run(event_of(PodsGoneWait(**arguments, trial_id="t-1", results_conn_id="away")))
    assert event["gone"]
    assert [r.levelname for r in caplog.records if "cannot be written to the results store" in r.getMessage()] in (
        [],
        ["WARNING"],
    )


def test_a_delete_that_hangs_names_what_it_waits_for(
    simulated: BackgroundCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """First the objects, and a minute later the finalizer and why it is pending."""
    caplog.set_level(logging.INFO)
    applied = apply(open_trial())
    simulated.until(lambda: any(pod["spec"].get("nodeName") for pod in simulated.objects("pods", "default")))
    simulated.fault("operator_silent", True)
    deleting = DeleteRayService(task_id="d", take_over=True, rayservice=applied, timeout_s=1800, deferrable=True)
    with pytest.raises(NotDeletedError):
        run(deleting)
    told = [record.getMessage() for record in caplog.records if "objects to go" in record.getMessage()]
    assert all(
        re.match(r"\+\d+:\d\d waits for \d+ objects to go: RayService default/llm-model-serve", one) for one in told
    )
    assert ". Why: " not in told[0]
    assert any("finalizer ray.io/rayservice-finalizer is pending" in one for one in told[1:])
    assert len(told) == len(set(told))
