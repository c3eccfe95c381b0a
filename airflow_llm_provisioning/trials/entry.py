"""What every task checks before it does anything: is the trial open, and is the RayService its own?

Airflow can run a single task again, without the tasks before and after it (apache/airflow #68184).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.ownership import owned_by_another_run, owner_of
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import ConflictError, TrialClosedError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster


def check_open(trial: Mapping[str, Any] | None) -> None:
    """Raise TrialClosedError if the row of a trial (as a dict) is written: its lock is given back then, and what it
    creates would be in no ledger. Does nothing without a trial.
    """
    if not trial:
        return
    from airflow_llm_provisioning.connections import open_store

    opened = Trial.from_dict(trial)
    if opened.access is None:
        return
    store = open_store(opened.access.results_conn_id)
    try:
        row = store.trial(opened.trial_id)
    finally:
        store.close()
    if row is not None:
        raise TrialClosedError(
            f"Trial {opened.trial_id} is closed; clear `open` and what follows to run it again "
            f"(its row, {row.status}, stays as it is)."
        )


async def check_lock(cluster: "Cluster", trial: Trial) -> None:
    """Raise LockHeldError if another trial holds the cluster by now: this one waited for longer than its lock."""
    if trial.opened is None:
        return
    own = trial.opened.labels.get(LABEL_TRIAL)
    await cluster.check_lock(trial.slot.lock_holder, namespace=trial.opened.namespace, trial=own)


async def check_owner(rayservice: Mapping[str, Any], *, run: str, limit_s: float) -> None:
    """Raise ConflictError if a trial or another DAG run owns the RayService that a DAG run wants to delete.

    `rayservice`: {cluster, name, namespace, uid?}. `run`: the label value of the DAG run. `limit_s`: an outage of the
    API server is outlasted for so long. An object with another uid is another object, which the deletion leaves alone.
    """
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.kubernetes.outage import through_outages
    from airflow_llm_provisioning.trials.delete import cluster_reference

    name, namespace = rayservice["name"], rayservice.get("namespace") or "default"
    reference = cluster_reference(rayservice["cluster"])

    async def check(cluster: "Cluster") -> None:
        found = await cluster.get("rayservices", name, namespace)
        if found is None or rayservice.get("uid") not in (None, found["metadata"]["uid"]):
            return
        if owned_by_another_run(found, run):
            raise ConflictError(
                f"RayService {namespace}/{name} on {cluster.name} was not deleted: it belongs to {owner_of(found)}. "
                "Let its owner delete it, or set take_over=True."
            )

    await through_outages(lambda: open_cluster(reference), check, limit_s=limit_s)
