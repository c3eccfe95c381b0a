"""Ray's autoscaler container: every five seconds it looks at what cannot be placed and patches the RayCluster.

autoscaler v2 with the KubeRay provider (ray 2.47 and later; _private/kuberay/run_autoscaler.py). No Kubernetes event
comes from it: only the patch, and its log lines.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from llm_provisioning_simulator.app.logs import PodLogs
from llm_provisioning_simulator.app.ray import RayCluster

CONTAINER: Final = "autoscaler"


class Demand(Protocol):
    """What the autoscaler asks Serve's scheduler: GPU replicas that wait for a node."""

    def unplaced_gpu_replicas(self) -> int:
        """Return how many replicas wait for a GPU that no node has."""
        ...


class ClusterSpec(Protocol):
    """The RayCluster object as the autoscaler's service account may read and patch it."""

    def read(self) -> dict[str, Any] | None:
        """Return the RayCluster, or None when it is gone."""
        ...

    def patch_replicas(self, group: str, replicas: int) -> None:
        """Set one worker group's replicas."""
        ...


async def run_autoscaler(
    cluster: RayCluster, logs: PodLogs, spec: ClusterSpec, demand: Callable[[], Demand | None]
) -> None:
    """Wait for the head, then look every five seconds, for as long as the container lives."""
    interval_s = cluster.costs.value("autoscaler_interval_s")
    while cluster.head is None:
        await cluster.clock.sleep(interval_s)
    _log(logs, "run_autoscaler.py:89", "The Ray head is ready. Starting the autoscaler.")
    while True:
        _log(logs, "config.py:187", "Calculating hashes for file mounts and ray commands.")
        await cluster.clock.sleep(cluster.costs.draw("autoscaler_pass_s"))
        _scale(cluster, logs, spec, demand())
        await cluster.clock.sleep(interval_s)


def _scale(cluster: RayCluster, logs: PodLogs, spec: ClusterSpec, demand: Demand | None) -> None:
    raycluster = spec.read()
    waiting = demand.unplaced_gpu_replicas() if demand is not None else 0
    if raycluster is None or not waiting:
        return
    for group in raycluster["spec"].get("workerGroupSpecs") or ():
        wanted = min(waiting, group.get("maxReplicas", waiting))
        have = group.get("replicas", 0)
        if wanted <= have:
            return
        name = group["groupName"]
        _log(logs, "event_logger.py:77", f"Adding {wanted - have} node(s) of type {name}.")
        request = f"desired_num_workers=defaultdict(<class 'int'>, {{'{name}': {wanted}}})"
        _log(logs, "cloud_provider.py:448", f"Submitting a scale request: KubeRayProvider.ScaleRequest({request})")
        spec.patch_replicas(name, wanted)
        return


def _log(logs: PodLogs, source: str, message: str) -> None:
    logs.cli(message, source=source, container=CONTAINER)
    logs.write("monitor.log", message)
