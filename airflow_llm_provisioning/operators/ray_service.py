"""Deploy and delete a RayService on any cluster: useful alone, without experiment, target or results store."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context

from airflow_llm_provisioning.core.manifest import check_ray_service, parse_manifest
from airflow_llm_provisioning.core.names import LABEL_TRIAL, fingerprint, label_value
from airflow_llm_provisioning.exceptions import ClusterUnreachableError, ConflictError, ProvisioningError
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import note_failure, raise_error
from airflow_llm_provisioning.triggers.pods_gone import PodsGoneWait

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

LABEL_APPLIED_BY = "llm-provisioning/applied-by"


class ApplyRayService(BaseOperator):
    """Apply a RayService manifest and return at once; `WaitServeEndpoint` waits for it.

    Alone it applies server-side: a repeated run changes the same object. With `trial` (the dict that `OpenTrial`
    returns) it
    creates: a restarted task finds the object of its own trial and re-attaches; somebody else's of that name is
    refused.

    Returns {cluster, name, namespace, uid, generation, applied_at, replied_at, reattached}; the instants are ISO, in
    the
    cluster's clock, and bound the submission.

    :param manifest: the RayService, as a dict, YAML text, or the path of a `.yaml` file (a template); not needed with
    `trial`.
    :param cluster: Airflow connection id, or {conn_id, cluster_name, namespace, ...} as `connections.open_cluster`
    takes it.
    :param namespace: overrides the manifest's.
    :param trial: the trial this deployment belongs to.
    """

    template_fields: Sequence[str] = ("manifest", "cluster", "namespace", "trial")
    template_ext: Sequence[str] = (".yaml", ".yml", ".json")
    template_fields_renderers = {"manifest": "yaml", "trial": "json", "cluster": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#dcefe4"

    def __init__(
        self,
        *,
        manifest: Mapping[str, Any] | str | None = None,
        cluster: Mapping[str, Any] | str = "kubernetes_default",
        namespace: str | None = None,
        trial: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.manifest = manifest
        self.cluster = cluster
        self.namespace = namespace
        self.trial = trial

    def execute(self, context: Context) -> dict[str, Any]:
        """Apply, and say what was applied and when."""
        try:
            return asyncio.run(self._apply(context))
        except ProvisioningError as error:
            note_failure(self.trial, "apply", error, self.log)
            raise

    async def _apply(self, context: Context) -> dict[str, Any]:
        from airflow_llm_provisioning.connections import open_cluster

        manifest = self._manifest()
        owner = str(self.trial["trial_id"]) if self.trial else _task_identity(context)
        label = LABEL_TRIAL if self.trial else LABEL_APPLIED_BY
        manifest["metadata"].setdefault("labels", {})[label] = label_value(owner)
        reference = cluster_reference(self.trial["cluster_ref"] if self.trial else self.cluster)
        async with open_cluster(reference) as cluster:
            applied_at = cluster.clock()
            reattached = False
            if self.trial:
                found, reattached = await create_or_reattach(cluster, manifest, label)
            else:
                found = await apply_again(cluster, manifest)
            replied_at = cluster.clock()
        metadata = found["metadata"]
        self.log.info(
            "RayService %s/%s %s", metadata["namespace"], metadata["name"], "re-attached" if reattached else "applied"
        )
        return {
            "cluster": reference,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "generation": metadata.get("generation"),
            "applied_at": None if reattached else applied_at.isoformat(),
            "replied_at": replied_at.isoformat(),
            "reattached": reattached,
        }

    def _manifest(self) -> dict[str, Any]:
        source = self.trial["manifest"] if self.trial and self.manifest is None else self.manifest
        manifest = parse_manifest(source if source is not None else "")
        check_ray_service(manifest)
        manifest["metadata"] = dict(manifest["metadata"])
        if self.namespace:
            manifest["metadata"]["namespace"] = self.namespace
        manifest["metadata"].setdefault("namespace", "default")
        return manifest


class DeleteRayService(WaitingOperator):
    """Delete a RayService and wait until its pods (and, if asked, the nodes they ran on) are gone.

    Gone already is success. Returns {deleted, pods_gone, nodes_gone, waited_s}; `nodes_gone` is None where nodes were
    not waited
    for. A node that stays beyond the limit is reported, not an error: it may serve others.

    :param rayservice: {name, namespace, cluster, uid} as `ApplyRayService` returns it; `uid` may be missing.
    :param wait_for_nodes: wait for the nodes as well, so that what comes next starts cold.
    :param timeout_s: at most this long, in the cluster's clock.
    """

    template_fields: Sequence[str] = ("rayservice",)
    template_fields_renderers = {"rayservice": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f3e3da"

    def __init__(
        self,
        *,
        rayservice: Mapping[str, Any],
        wait_for_nodes: bool = False,
        timeout_s: float = 900,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rayservice = rayservice
        self.wait_for_nodes = wait_for_nodes
        self.timeout_s = timeout_s

    def execute(self, context: Context) -> Any:
        """Delete, then wait."""
        wait = asyncio.run(
            delete_ray_service(self.rayservice, wait_for_nodes=self.wait_for_nodes, timeout_s=self.timeout_s)
        )
        return self.wait_for(context, wait, at_most=timedelta(seconds=self.timeout_s + 120))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return what is gone."""
        raise_error(event)
        return event


async def delete_ray_service(
    rayservice: Mapping[str, Any],
    *,
    wait_for_nodes: bool,
    timeout_s: float,
    trial_label: str | None = None,
    remember: Callable[[dict[str, str], list[str]], tuple[dict[str, str], list[str]]] = lambda *found: found,
    late: Mapping[str, Any] | None = None,
) -> PodsGoneWait:
    """Ask for the deletion and return the wait for what it leaves behind.

    `trial_label`: only an object that carries this trial's label is deleted, and pods are found by it even when the
    RayCluster is gone already (a repeated teardown). `remember`: takes, before anything is deleted, the nodes found
    (name -> uid) and the pods that have none, and returns them with those that earlier tries found: without pods nobody
    can tell them any more. `late`: {selector, since, limit_s} of the nodes that may still come for pods that had none
    (see `late_nodes`).
    """
    from airflow_llm_provisioning.connections import open_cluster

    reference = cluster_reference(rayservice["cluster"])
    name, namespace = rayservice["name"], rayservice.get("namespace") or "default"
    async with open_cluster(reference) as cluster:
        # Names of pods and nodes are only reachable while the RayCluster exists.
        pods: list[dict[str, Any]] = []
        nodes: dict[str, str] = {}
        unplaced: list[str] = []
        uid, ours = rayservice.get("uid"), True
        if trial_label is not None:
            found = await cluster.get("rayservices", name, namespace)
            labels = (found or {}).get("metadata", {}).get("labels") or {}
            ours = labels.get(LABEL_TRIAL) == trial_label
            uid = found["metadata"]["uid"] if found and ours else uid
            pods, _ = await cluster.list("pods", namespace, labels=f"{LABEL_TRIAL}={trial_label}")
        if ours:
            pods = pods or await cluster.pods(name, namespace)
        if wait_for_nodes:
            named = sorted({pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")})
            found_nodes = [node for node_name in named if (node := await cluster.get("nodes", node_name))]
            nodes, unplaced = remember(
                {node["metadata"]["name"]: node["metadata"]["uid"] for node in found_nodes}, _unplaced(pods)
            )
        try:
            deleted = ours and await cluster.delete("rayservices", name, namespace, uid=uid)
        except ConflictError:
            # Another object of that name by now: ours is gone, and theirs is not ours to delete.
            deleted = False
        started_at = cluster.clock()
    return PodsGoneWait(
        cluster=reference,
        namespace=namespace,
        pods={pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods},
        nodes=nodes if wait_for_nodes else None,
        deleted=deleted,
        started_at=started_at.isoformat(),
        timeout_s=timeout_s,
        late={**late, "pods": unplaced} if late and unplaced else None,
    )


def _unplaced(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the pods that no node was found for: a node autoscaler may still bring the one that it was asked for."""
    return sorted(pod["metadata"]["name"] for pod in pods if not pod["spec"].get("nodeName"))


async def apply_again(cluster: "Cluster", manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Apply server-side, and take back the fields of an object that this operator made before.

    KubeRay's operator writes the whole object when it adds its finalizer, and then owns what it spelled out, the list
    of worker groups among it: applying the same manifest again would conflict. Somebody else's object still does.
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


def cluster_reference(cluster: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return a cluster's reference as a dict, given as one or as a connection id."""
    return {"conn_id": cluster} if isinstance(cluster, str) else dict(cluster)


def _task_identity(context: Context) -> str:
    ti = context["ti"]
    return fingerprint({"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "map": ti.map_index})
