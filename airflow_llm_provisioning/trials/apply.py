"""How a RayService is applied: of a trial it is created or found again, alone it is applied server-side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.names import label_value
from airflow_llm_provisioning.exceptions import ClusterUnreachableError, ConflictError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

LABEL_APPLIED_BY: Final = "llm-provisioning/applied-by"


async def apply_ray_service(
    manifest: dict[str, Any], cluster_reference: Mapping[str, Any], *, label: str, owner: str, create: bool
) -> dict[str, Any]:
    """Apply a checked manifest and return {cluster, name, namespace, uid, generation, applied_at, replied_at,
    reattached}; the instants are ISO, in the cluster's clock, and bound the submission.

    `label`, `owner`: whose it is. `create`: of a trial; an object of that name that is not its own is refused.
    """
    from airflow_llm_provisioning.connections import open_cluster

    labels = {**(manifest["metadata"].get("labels") or {}), label: label_value(owner)}
    manifest = {**manifest, "metadata": {**manifest["metadata"], "labels": labels}}
    async with open_cluster(dict(cluster_reference)) as cluster:
        applied_at = cluster.clock()
        reattached = False
        if create:
            found, reattached = await create_or_reattach(cluster, manifest, label)
        else:
            found = await apply_again(cluster, manifest)
        replied_at = cluster.clock()
    metadata = found["metadata"]
    return {
        "cluster": dict(cluster_reference),
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
        "generation": metadata.get("generation"),
        "applied_at": None if reattached else applied_at.isoformat(),
        "replied_at": replied_at.isoformat(),
        "reattached": reattached,
    }


async def apply_again(cluster: "Cluster", manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Apply server-side, and take back the fields of an object that this operator made before.

    KubeRay's operator writes the whole object when it adds its finalizer, and then owns what it spelled out, the list
    of worker groups among it: applying the same manifest again would conflict. Another owner's object still does.
    """
    try:
        return await cluster.apply(manifest)
    except ConflictError:
        metadata = manifest["metadata"]
        found = await cluster.get("rayservices", metadata["name"], metadata["namespace"])
        if LABEL_APPLIED_BY not in ((found or {}).get("metadata", {}).get("labels") or {}):
            raise
        return await cluster.apply(manifest, force=True)


async def create_or_reattach(
    cluster: "Cluster", manifest: Mapping[str, Any], label: str
) -> tuple[dict[str, Any], bool]:
    """Create the object, or return the one an earlier life of this task created: (object, whether it was there)."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    mine = manifest["metadata"]["labels"][label]
    try:
        return await cluster.create(manifest), False
    except (ConflictError, ClusterUnreachableError) as refused:
        # A reply that was lost leaves open whether the object exists; its label tells whose it is.
        found = await cluster.get("rayservices", name, namespace)
        if found is None:
            raise
        if (found["metadata"].get("labels") or {}).get(label) == mine:
            return found, True
        raise ConflictError(
            f"RayService {namespace}/{name} could not be created on {cluster.name}: one of that name exists and is not "
            "this trial's. Delete it, or give the target another namespace."
        ) from refused
