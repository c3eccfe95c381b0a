"""The objects that treatments prepare in a cluster, for trials in virtual time: as `PrepareObjects` does it.

Names, labels, readiness and what a trial finds of them are the shipped code's; only Airflow is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import Experiment, Target
from airflow_llm_provisioning.core.names import LABEL_CONTENT
from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.core.prepared_objects import PreparedObjects, facts_of, failed, not_ready, pod_selector
from airflow_llm_provisioning.core.treatments import DeploymentPlan, StepContext, steps_of
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.preparation.objects import with_image_of
from llm_provisioning_simulator.clock import SimClock

Manifest = dict[str, Any]
OPERATOR: Final = "airflow_llm_provisioning.operators:PrepareObjects"
LIMIT_S: Final = 3600.0
LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class MadeObjects:
    """A preparation's row, as far as `prepared_now` reads it."""

    verb: str
    result: Mapping[str, Any]


async def prepare_objects(
    cluster: Cluster,
    clock: SimClock,
    experiment: Experiment,
    target: Target,
    plan: DeploymentPlan,
    placed: Mapping[str, Any],
    image: str,
    change: Callable[[list[Manifest]], Sequence[Manifest]],
) -> list[MadeObjects]:
    """Apply what the treatments of the target's variant prepare, `change`d on its way, and wait until it is ready.

    `placed`: the RayService on the target's nodes. `image`: the reference that was built, or that the manifest names.
    """
    treatments = experiment.treatments(target.variants[0], target.cloud)
    context = StepContext(target, plan.recipe, {"image": image}, manifest=lambda: placed)
    made = []
    for step in (item for item in steps_of(treatments) if item.operator == OPERATOR):
        arguments = dict(step.arguments(context))
        arguments["objects"] = change(with_image_of(arguments["objects"], arguments.pop("image", None)))
        made.append(await _made(cluster, clock, target, PreparedObjects.from_dict({"ready": {}, **arguments})))
    return made


async def _made(cluster: Cluster, clock: SimClock, target: Target, wanted: PreparedObjects) -> MadeObjects:
    until = cluster.clock() + timedelta(days=KEEP_DAYS)
    manifests = wanted.placed(target.name, target.namespace, until)
    applied = [await cluster.apply(manifest, force=True) for manifest in manifests]
    deadline = cluster.clock() + timedelta(seconds=LIMIT_S)
    while waiting := [why for item in manifests if (why := await _waits(cluster, item, wanted.ready))]:
        if cluster.clock() > deadline:
            raise TimeoutError(f"prepared objects are not ready: {waiting}")
        await clock.sleep(LOOK_S)
    references = [
        {
            "apiVersion": item["apiVersion"],
            "kind": item["kind"],
            "name": obj["metadata"]["name"],
            "namespace": obj["metadata"].get("namespace"),
            "uid": obj["metadata"]["uid"],
        }
        for item, obj in zip(manifests, applied, strict=True)
    ]
    content = manifests[0]["metadata"]["labels"][LABEL_CONTENT]
    facts = await _facts(cluster, target.namespace, pod_selector(content, wanted.treatment))
    await _job_nodes_gone(cluster, clock, target.namespace)
    return MadeObjects(
        wanted.verb, {"objects": references, "content": content, "ready": dict(wanted.ready), "facts": facts}
    )


async def _job_nodes_gone(cluster: Cluster, clock: SimClock, namespace: str) -> None:
    """Wait until the nodes on which Jobs ran are gone, as `ObjectsReadyWait` does."""
    pods = (await cluster.list("pods", namespace))[0]
    finished = [pod for pod in pods if _of_job(pod)]
    for name in {pod["spec"]["nodeName"] for pod in finished if pod["spec"].get("nodeName")}:
        until = cluster.clock() + timedelta(seconds=LIMIT_S)
        while await cluster.get("nodes", name) is not None and cluster.clock() < until:
            await clock.sleep(LOOK_S)


def _of_job(pod: Mapping[str, Any]) -> bool:
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences") or ())


async def _facts(cluster: Cluster, namespace: str, pods: str) -> dict[str, Any]:
    """Return what the pods of Jobs printed of what they made."""
    found: dict[str, Any] = {}
    for pod in (await cluster.list("pods", namespace, labels=pods))[0]:
        if _of_job(pod):
            found |= facts_of(await cluster.logs(pod["metadata"]["name"], namespace) or "")
    return found


async def _waits(cluster: Cluster, manifest: Manifest, ready: Mapping[str, str]) -> str | None:
    found = await cluster.find(manifest)
    if found is not None and (why := failed({"kind": manifest["kind"], **found})):
        raise ClusterError(f"{manifest['kind']} {found['metadata']['name']} failed: {why}")
    return f"{manifest['kind']} is gone" if found is None else not_ready(found, ready)
