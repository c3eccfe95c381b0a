"""How a RayService is applied: of a trial it is created or found again, alone it is applied server-side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.companions import placed
from airflow_llm_provisioning.core.names import LABEL_TRIAL, label_value
from airflow_llm_provisioning.core.ownership import (
    LABEL_APPLIED_BY,
    LABEL_RUN,
    belongs_to,
    labels_of,
    owned_by_another_run,
    owner_of,
)
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import ClusterUnreachableError, ConflictError, LockHeldError
from airflow_llm_provisioning.trials.entry import check_lock
from airflow_llm_provisioning.trials.late import take_back

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster


async def apply_of_trial(
    manifest: Mapping[str, Any],
    cluster_reference: Mapping[str, Any],
    trial: Trial,
    *,
    companions: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Create the RayService of an opened trial and its companions, or find those that an earlier life of this task
    created.

    Another owner's object of that name is refused, and so is a trial that lost the cluster's lock meanwhile. Returns
    the same as `apply_alone`.
    """
    from airflow_llm_provisioning.connections import open_cluster

    labelled = _with_labels(manifest, {LABEL_TRIAL: label_value(trial.trial_id)})
    async with open_cluster(dict(cluster_reference)) as cluster:
        await check_lock(cluster, trial)
        applied_at = cluster.clock()
        found, reattached = await create_or_reattach(cluster, labelled, trial.trial_id)
        told_at = {"applied_at": None if reattached else applied_at, "replied_at": cluster.clock()}
        for companion in placed(companions, found):
            await create_companion(cluster, companion)
        if not reattached:
            await _still_open(cluster, trial)
    return _applied(cluster_reference, found, told_at, reattached=reattached)


async def _still_open(cluster: "Cluster", trial: Trial) -> None:
    """Take back what was just created if the trial gave its lock back, or lost it, since this task has looked."""
    try:
        await check_lock(cluster, trial)
    except LockHeldError as error:
        await take_back(cluster, trial)
        raise LockHeldError(f"{error} The RayService that this task has just created is deleted again.") from error


async def create_companion(cluster: "Cluster", companion: Mapping[str, Any]) -> None:
    """Create an object that belongs to a trial's RayService, unless an earlier life of this task created it."""
    try:
        await cluster.create(companion)
    except (ConflictError, ClusterUnreachableError):
        found = await cluster.find(companion)
        owners = (found or {}).get("metadata", {}).get("ownerReferences") or ()
        if not any(owner.get("uid") == companion["metadata"]["ownerReferences"][0]["uid"] for owner in owners):
            raise


async def apply_alone(
    manifest: Mapping[str, Any], cluster_reference: Mapping[str, Any], *, task: str, run: str, take_over: bool
) -> dict[str, Any]:
    """Apply a checked manifest and return {cluster, name, namespace, uid, generation, created_at, applied_at,
    replied_at, reattached}; the instants are ISO, in the cluster's clock. The last two bound the submission;
    `created_at` is the object's own stamp, cut to the second.

    `task`, `run`: label values of the task and of its DAG run. A RayService that a trial or another DAG run applied is
    refused, because that run may be waiting for it and will delete it; `take_over` changes it nevertheless.
    """
    from airflow_llm_provisioning.connections import open_cluster

    labelled = _with_labels(manifest, {LABEL_APPLIED_BY: task, LABEL_RUN: run})
    async with open_cluster(dict(cluster_reference)) as cluster:
        await _existing(cluster, labelled, take_over=take_over)
        applied_at = cluster.clock()
        applied = await apply_again(cluster, labelled, take_over=take_over)
        told_at = {"applied_at": applied_at, "replied_at": cluster.clock()}
    return _applied(cluster_reference, applied, told_at, reattached=False)


async def apply_again(cluster: "Cluster", manifest: Mapping[str, Any], *, take_over: bool) -> dict[str, Any]:
    """Apply server-side, and take back the fields of an object that this operator made before.

    KubeRay's operator writes the whole object when it adds its finalizer, and then owns what it spelled out, the list
    of worker groups among it: applying the same manifest again would conflict. Another owner's object still does.
    """
    try:
        return await cluster.apply(manifest)
    except ConflictError:
        found = await _existing(cluster, manifest, take_over=take_over)
        if found is None or LABEL_APPLIED_BY not in labels_of(found):
            raise
        return await cluster.apply(manifest, force=True)


async def _existing(cluster: "Cluster", manifest: Mapping[str, Any], *, take_over: bool) -> dict[str, Any] | None:
    """Return the object of that name, None without one; refuse the one of a trial or of another DAG run."""
    metadata = manifest["metadata"]
    found = await cluster.get("rayservices", metadata["name"], metadata["namespace"])
    if found is not None and not take_over and owned_by_another_run(found, metadata["labels"][LABEL_RUN]):
        raise ConflictError(
            f"RayService {metadata['namespace']}/{metadata['name']} on {cluster.name} was not applied: it belongs to "
            f"{owner_of(found)}. Give this one another name or namespace, let its owner delete it, or set "
            "take_over=True to change it."
        )
    return found


async def create_or_reattach(
    cluster: "Cluster", manifest: Mapping[str, Any], trial_id: str
) -> tuple[dict[str, Any], bool]:
    """Create the object, or return the one an earlier life of this task created: (object, whether it was there)."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    try:
        return await cluster.create(manifest), False
    except (ConflictError, ClusterUnreachableError) as refused:
        # A reply that was lost leaves open whether the object exists; its label tells whose it is.
        found = await cluster.get("rayservices", name, namespace)
        if found is None:
            raise
        if belongs_to(found, LABEL_TRIAL, trial_id):
            return found, True
        raise ConflictError(
            f"RayService {namespace}/{name} could not be created on {cluster.name}: one of that name exists and is not "
            f"this trial's. Delete it, or give the target another namespace. It belongs to {owner_of(found)}."
        ) from refused


def _with_labels(manifest: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    known = manifest["metadata"].get("labels") or {}
    return {**manifest, "metadata": {**manifest["metadata"], "labels": {**known, **labels}}}


def _applied(
    cluster_reference: Mapping[str, Any], obj: Mapping[str, Any], told_at: Mapping[str, Any], *, reattached: bool
) -> dict[str, Any]:
    metadata = obj["metadata"]
    return {
        "cluster": dict(cluster_reference),
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
        "generation": metadata.get("generation"),
        "created_at": metadata.get("creationTimestamp"),
        **{name: at.isoformat() if at else None for name, at in told_at.items()},
        "reattached": reattached,
    }
