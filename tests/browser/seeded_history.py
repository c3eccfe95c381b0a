"""A past for the page: 24 nights of two cells, one of which gets slower after the 14th; all made up."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.result import MilestoneResult, PhaseResult
from airflow_llm_provisioning.gateways.store.results import ResultsStore

NIGHTS = 24
SLOWER_SINCE = 14
PHASES = {"worker_node_boot": 80.0, "worker_image_pull": 300.0, "weight_download": 200.0, "engine_init": 40.0}
MILESTONES = {"submitted": 0, "worker.node_created": 80, "worker.pull_finished": 380, "weights_downloaded": 580}


def seed(file: Path) -> None:
    """Write the nights of a DAG that Airflow does not know any more."""
    file.parent.mkdir(parents=True, exist_ok=True)
    store = ResultsStore.open(f"sqlite:///{file}")
    try:
        for night in range(NIGHTS):
            for variant in ("baseline", "improved"):
                store.save_trial(_trial(night, variant))
    finally:
        store.close()


def _trial(night: int, variant: str) -> Any:
    opened_at = OPENED_AT + timedelta(days=night)
    # A little scatter, the same in every run of the test.
    factor = 1 + 0.004 * (night * 7 % 5 - 2)
    seconds = {name: value * factor for name, value in PHASES.items()}
    if variant == "improved":
        seconds["worker_image_pull"] = 20.0 * factor
    elif night >= SLOWER_SINCE:
        seconds["worker_image_pull"] *= 1.4
    total_s = sum(seconds.values())
    name = f"seeded-{night:03d}" if variant == "baseline" else f"seeded-improved-{night:03d}"
    environment = {"worker": {"instance_type": "g6.xlarge" if night < SLOWER_SINCE else "g5.xlarge"}}
    return a_result(
        name,
        variant=variant,
        experiment="nightly",
        dag_id="nightly_cold_start",
        run_id=f"night-{night:02d}",
        opened_at=opened_at,
        closed_at=opened_at + timedelta(seconds=total_s),
        total_s=total_s,
        total_low_s=total_s - 1,
        total_high_s=total_s + 1,
        completion_s=total_s + 4,
        environment=environment,
        phases=tuple(PhaseResult(key, value, value - 1, value + 1) for key, value in seconds.items()),
        milestones=tuple(
            MilestoneResult(key, opened_at + timedelta(seconds=at), opened_at + timedelta(seconds=at + 1), "made up")
            for key, at in MILESTONES.items()
        ),
        verdicts=({"claim": "cold_start", "value": "yes", "evidence": ["The node was created after the submission."]},),
    )
