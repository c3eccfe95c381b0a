"""Waiting until what was prepared for a trial is ready again: a buffer provides its next nodes after each trial."""

from typing import Any

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.prepared_objects import VERB, pod_selector
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import NotReadyError


def refuse_unready(trial: Trial) -> None:
    """Raise NotReadyError where prepared objects are there, are those that were prepared, and are not ready yet."""
    assert trial.opened is not None  # noqa: S101 - the caller has just opened it
    for verb, step in (trial.opened.prepared.steps or {}).items():
        if step.get("waiting"):
            raise NotReadyError(
                f"What was prepared for {verb.removeprefix(VERB)} on target {trial.target} is not ready: "
                f"{' '.join(step['waiting'])}",
                {**step, "treatment": verb.removeprefix(VERB)},
            )


async def ready_wait_of(
    planned: Trial, experiment: Experiment, waits: NotReadyError, timeout_s: float
) -> dict[str, Any]:
    """Return the arguments of `triggers.prepared_objects.ObjectsReadyWait`; the limit counts from now."""
    from airflow_llm_provisioning.connections import open_cluster

    target, step = experiment.target(planned.target), waits.objects
    async with open_cluster(target.cluster_reference()) as cluster:
        started_at = cluster.clock().isoformat()
    return {
        "cluster": target.cluster_reference(),
        "namespace": target.namespace,
        "objects": [dict(item) for item in step["objects"] if item.get("kind") != "Job"],
        "ready": dict(step["ready"]),
        "pods": pod_selector(str(step["content"]), step["treatment"]),
        "reused": True,
        "started_at": started_at,
        "timeout_s": timeout_s,
    }
