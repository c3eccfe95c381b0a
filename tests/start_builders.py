"""Trials with milestones and phases of a static start, from the seconds of each span. Every number is made up."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.result import MilestoneResult, PhaseResult, TrialResult
from airflow_llm_provisioning.core.timing.milestones import PHASE_OF, SUBMITTED, CausalOrder
from airflow_llm_provisioning.core.what_if import MeasuredStart, measured_start

SPANS: Mapping[str, float] = {
    "raycluster_created": 2,
    "head.pod_created": 0,
    "head.node_created": 25,
    "head.node_ready": 9,
    "head.scheduled": 1,
    "head.pull_started": 0,
    "head.pull_finished": 100,
    "head.container_started": 1,
    "head.ray_started": 7,
    "head.ready": 5,
    "serve_config_sent": 3,
    "head.runtime_env_ready": 130,
    "app_built": 16,
    "replica_requested": 0,
    "worker.pod_created": 0,
    "worker.node_created": 25,
    "worker.node_ready": 9,
    "worker.scheduled": 2,
    "worker.pull_started": 0,
    "worker.pull_finished": 150,
    "worker.init_started": 0,
    "worker.init_finished": 30,
    "worker.container_started": 1,
    "worker.ray_started": 4,
    "worker.runtime_env_ready": 130,
    "replica_initialising": 1,
    "load_started": 19,
    "weights_downloaded": 60,
    "model_loaded": 6,
    "graphs_captured": 23,
    "replica_started": 1,
    "app_running": 1,
    "serve_service_created": 1,
    "endpoint_ready": 0,
}
BYTES = 10_000_000_000
PULLED = f'Pod p: Successfully pulled image "a" in 100s (100s including waiting). Image size: {BYTES} bytes.'


def a_deployment(
    trial_id: str, changes: Mapping[str, float | None] | None = None, *, after_s: float = 0.0, **fields: Any
) -> TrialResult:
    """One trial. `changes`: milestone -> its span's seconds, None where it did not occur; `after_s`: when it was
    opened, after the others.
    """
    spans = {name: s for name, s in {**SPANS, **(changes or {})}.items() if s is not None}
    order = CausalOrder(spans)
    at = {SUBMITTED: 0.0}
    last: dict[str, str] = {}
    for name in sorted(spans, key=lambda item: order.rank[item]):
        before = [item.milestone for item in order.predecessors(name, frozenset(at))]
        last[name] = max(before, key=lambda item: (at[item], order.rank[item]))
        at[name] = at[last[name]] + spans[name]
    phases, name = [], "endpoint_ready"
    while name != SUBMITTED:
        seconds = at[name] - at[last[name]]
        phases.append(PhaseResult(PHASE_OF[name], seconds, seconds, seconds))
        name = last[name]
    opened = OPENED_AT + timedelta(seconds=after_s)
    stones = tuple(
        MilestoneResult(name, opened + timedelta(seconds=s), opened + timedelta(seconds=s), "made up")
        for name, s in at.items()
    )
    values: dict[str, Any] = {
        "total_s": at["endpoint_ready"],
        "phases": tuple(reversed(phases)),
        "milestones": stones,
        "opened_at": opened,
        "closed_at": opened + timedelta(seconds=at["endpoint_ready"] + 60),
        "verdicts": [{"claim": "cold_start", "value": "yes", "evidence": [PULLED]}],
        "environment": {"head": {"instance_type": "m5.xlarge"}, "worker": {"instance_type": "g6.4xlarge"}},
    }
    return a_result(trial_id, **values | fields)


def an_arm(
    treatments: Sequence[str] = (), changes: Mapping[str, float | None] | None = None, *, n: int = 3, **fields: Any
) -> list[MeasuredStart]:
    """The starts of an arm, each trial's model load one second longer than the last one's."""
    variant = "+".join(treatments) or "baseline"
    found = []
    for at in range(n):
        load_s = (changes or {}).get("model_loaded", SPANS["model_loaded"]) or 0.0
        varied = {**(changes or {}), "model_loaded": load_s + at}
        trial = a_deployment(f"{variant}-{at}", varied, variant=variant, treatments=treatments, **fields)
        start = measured_start(trial)
        assert start is not None
        found.append(start)
    return found
