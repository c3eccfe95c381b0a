"""Ray's autoscaler container: every five seconds it looks at what cannot be placed and patches the RayCluster.

autoscaler v2 with the KubeRay provider (ray 2.47 and later; _private/kuberay/run_autoscaler.py). No Kubernetes event
comes from it: only the patch, and its log lines.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from llm_provisioning_simulator.app.logs import PodLogs
from llm_provisioning_simulator.app.ray import RayCluster
from llm_provisioning_simulator.app.raystart import node_resources

CONTAINER: Final = "autoscaler"


class Demand(Protocol):
    """What the autoscaler asks Serve's scheduler: what the replicas need that no node can take."""

    def unplaced(self) -> list[Mapping[str, float]]:
        """Return the resources of each replica that waits for a place."""
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
    """Ask for as many more workers as hold the waiting replicas, each of the first group whose pods have room."""
    raycluster = spec.read()
    waiting = list(demand.unplaced()) if demand is not None else []
    if raycluster is None:
        return
    for group in raycluster["spec"].get("workerGroupSpecs") or ():
        name, have = group["groupName"], group.get("replicas", 0)
        more, waiting = _packed(node_resources(group), waiting)
        joined = sum(node.group == name for node in cluster.workers())
        wanted = min(joined + more, group.get("maxReplicas", joined + more))
        if not more or wanted <= have:
            continue
        _log(logs, "event_logger.py:77", f"Adding {wanted - have} node(s) of type {name}.")
        request = f"desired_num_workers=defaultdict(<class 'int'>, {{'{name}': {wanted}}})"
        _log(logs, "cloud_provider.py:448", f"Submitting a scale request: KubeRayProvider.ScaleRequest({request})")
        spec.patch_replicas(name, wanted)


def _packed(
    offered: Mapping[str, float], waiting: Sequence[Mapping[str, float]]
) -> tuple[int, list[Mapping[str, float]]]:
    """Return how many workers with these resources hold the replicas that fit on one, and the replicas that do not."""
    rooms: list[dict[str, float]] = []
    left: list[Mapping[str, float]] = []
    for needed in waiting:
        room = next((item for item in (*rooms, dict(offered)) if _fits(item, needed)), None)
        if room is None:
            left.append(needed)
            continue
        if not any(room is item for item in rooms):
            rooms.append(room)
        for name, amount in needed.items():
            room[name] = room.get(name, 0.0) - amount
    return len(rooms), left


def _fits(room: Mapping[str, float], needed: Mapping[str, float]) -> bool:
    return all(room.get(name, 0.0) >= amount for name, amount in needed.items())


def _log(logs: PodLogs, source: str, message: str) -> None:
    logs.cli(message, source=source, container=CONTAINER)
    logs.write("monitor.log", message)
