"""Which pods host the engine's replicas.

Serve's answers say where replicas are; its controller's log says in which order they started. An ingress or a router is
a replica too and waits for the engine, so replicas of deployments that need an accelerator come first. A pipeline or a
tensor-parallel engine runs on more pods than its replica. This module knows no milestone and no verdict.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, number, objects, text
from airflow_llm_provisioning.core.instants import parse_stamp
from airflow_llm_provisioning.core.manifests.groups import accelerators, is_accelerator
from airflow_llm_provisioning.core.trace.objects import Answer, History, LogText, container_statuses
from airflow_llm_provisioning.exceptions import ManifestError

# Marks the device of a resource claim among the accelerators of a pod.
CLAIM: Final = "resourceclaim/"
# Ray's names of what is no accelerator (ray 2.60, ray/_private/ray_constants.py). A key with a colon is a node, an
# accelerator type or a label.
_PLAIN_RESOURCES: Final = frozenset({"CPU", "memory", "object_store_memory", "bundle"})
# Serve's controller, ray 2.33 to 2.60.
_STARTED: Final = re.compile(r"Replica\(id='([^']{1,200})'[^)]{0,300}\) started successfully on node '([^']{1,200})'")
# vLLM's lines in the process that holds a part of the model.
_ENGINE_LINE: Final = re.compile(r"Starting to load model |Model loading took |Loading model weights took ")
_PARALLEL: Final = frozenset({"tensor_parallel_size", "pipeline_parallel_size"})


@dataclass(frozen=True, slots=True)
class EnginePlacement:
    """Where the engine is. `pods`: the one that came last at the end. `replicas`: ids of its replicas, the last at the
    end; empty if Serve did not say. `together`: the pods hold ranks of one engine, not replicas of their own. `pids`:
    process id of each placed replica, whose output Ray keeps in a file with that number.
    """

    pods: tuple[History, ...] = ()
    replicas: tuple[str, ...] = ()
    together: bool = False
    pids: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Replica:
    """A replica with its pod. `needs`: accelerators of its deployment; None if Serve does not say."""

    replica_id: str
    pod: History
    needs: float | None
    order: tuple[float, float]
    pid: int | None = None


def accelerators_of(pod: History | None) -> dict[str, int]:
    """Return what a pod requests as accelerators: extended resource -> count, over all its containers.

    The device of a dynamic resource claim (KEP-4381, `spec.resourceClaims`) has no resource name; it is listed as
    `resourceclaim/NAME`.
    """
    found: dict[str, int] = {}
    for container in objects(pod.last if pod else None, "spec", "containers"):
        for name, count in _requested(container).items():
            found[name] = found.get(name, 0) + count
    for claim in objects(pod.last if pod else None, "spec", "resourceClaims"):
        found[f"{CLAIM}{text(claim.get('name'))}"] = 1
    return found


def has_accelerator(resources: Any) -> bool:
    """Return whether resources as Ray names them (`GPU`, `TPU`, a custom one) contain an accelerator."""
    return _accelerator_sum([mapping(resources)]) > 0


def engine_placement(
    pods: Sequence[History],
    polls: Sequence[Answer],
    logs: Sequence[LogText],
    ray_nodes: Sequence[Mapping[str, Any]],
    arguments: Any,
) -> EnginePlacement:
    """Return the pods that host the engine's replicas; none if that is unknown.

    `pods`: of the RayCluster, without lost ones, oldest first. `arguments`: of the applications, as submitted.
    """
    replicas = _replicas(pods, polls, logs, ray_nodes)
    engine = _of_the_engine(replicas, pods, logs)
    last = {replica.pod.uid: position for position, replica in enumerate(engine)}
    found = sorted((pod for pod in pods if pod.uid in last), key=lambda pod: last[pod.uid])
    asking = [pod for pod in pods if accelerators_of(pod)]
    if not found:
        return _without_placement(pods, asking, ray_nodes, arguments)
    spans = _spans(engine, asking, arguments)
    ranks = [pod for pod in asking if pod not in found and (spans or _has_engine_lines(pod, logs))]
    if ranks:
        found = sorted([*found, *ranks], key=lambda pod: _joined(pod, ray_nodes))
    pids = {replica.replica_id: replica.pid for replica in replicas if replica.pid is not None}
    return EnginePlacement(tuple(found), tuple(replica.replica_id for replica in engine), bool(ranks), pids)


def _requested(container: Mapping[str, Any]) -> dict[str, int]:
    """Return a container's accelerators; in a recording, a quantity that is no whole number counts as one."""
    try:
        return accelerators(container)
    except ManifestError:
        return {name: 1 for name in mapping(dig(container, "resources", "limits")) if is_accelerator(name)}


def _replicas(
    pods: Sequence[History], polls: Sequence[Answer], logs: Sequence[LogText], ray_nodes: Sequence[Mapping[str, Any]]
) -> list[_Replica]:
    """Return the placed replicas, in the order in which they came."""
    started = _started(logs)
    told = _answered(polls)
    found: dict[str, _Replica] = {}
    for replica_id, (deployment, replica, running) in told.items():
        pod = _pod_at(pods, text(replica.get("node_instance_id")), text(replica.get("node_ip")))
        if pod is not None:
            rank = started[replica_id][0] if replica_id in started else len(started)
            order = (float(rank), 0.0) if len(started) and told.keys() <= started.keys() else (running, float(rank))
            pid = number(replica.get("pid"))
            found[replica_id] = _Replica(replica_id, pod, _needs(deployment), order, int(pid) if pid else None)
    if found or not started:
        return sorted(found.values(), key=lambda replica: replica.order)
    addresses = {text(node.get("node_id")): text(node.get("node_ip")) for node in ray_nodes}
    for replica_id, (rank, node_id) in started.items():
        pod = _pod_at(pods, "", addresses.get(node_id, "")) or _pod_of_replica_log(pods, logs, replica_id)
        if pod is not None:
            found[replica_id] = _Replica(replica_id, pod, None, (float(rank), 0.0))
    return sorted(found.values(), key=lambda replica: replica.order)


def _started(logs: Sequence[LogText]) -> dict[str, tuple[int, str]]:
    """Return replica id -> (position among the started ones, node id), from the logs of Serve's controller."""
    lines = [found for log in logs for found in _STARTED.findall(log.text)]
    return {replica_id: (rank, node_id) for rank, (replica_id, node_id) in enumerate(lines)}


def _answered(polls: Sequence[Answer]) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any], float]]:
    """Return replica id -> (deployment, replica, when it first ran) of the answer that counts.

    That is the first one in which every application runs, else the first with a running one, else the last with a
    placed replica. `when it first ran`: position of the first answer that shows the replica RUNNING.
    """
    placed = [poll for poll in polls if any(_placed(replica) for _, replica in _told(poll.body))]
    states = [[dig(app, "status") for app in mapping(dig(poll.body, "applications")).values()] for poll in placed]
    every = next((poll for poll, own in zip(placed, states, strict=True) if set(own) == {"RUNNING"}), None)
    some = next((poll for poll, own in zip(placed, states, strict=True) if "RUNNING" in own), None)
    chosen = every or some or (placed[-1] if placed else None)
    if chosen is None:
        return {}
    first: dict[str, float] = {}
    for position, poll in enumerate(polls):
        for _, replica in _told(poll.body):
            if replica.get("state") == "RUNNING":
                first.setdefault(_replica_id(replica), float(position))
    current = [(deployment, replica) for deployment, replica in _told(chosen.body) if _placed(replica)]
    running = [pair for pair in current if pair[1].get("state") == "RUNNING"]
    return {
        _replica_id(replica): (deployment, replica, first.get(_replica_id(replica), float(len(polls))))
        for deployment, replica in running or current
    }


def _told(body: Any) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for application in mapping(dig(body, "applications")).values():
        for deployment in mapping(dig(application, "deployments")).values():
            for replica in objects(deployment, "replicas"):
                yield mapping(deployment), replica


def _placed(replica: Mapping[str, Any]) -> bool:
    return bool(replica.get("node_instance_id") or replica.get("node_ip"))


def _replica_id(replica: Mapping[str, Any]) -> str:
    return text(replica.get("replica_id")) or text(replica.get("actor_name")) or text(replica.get("actor_id"))


def _needs(deployment: Mapping[str, Any]) -> float | None:
    """Return how many accelerators one replica of a deployment takes, its placement group included."""
    asked = [mapping(deployment.get("required_resources"))]
    bundles = [mapping(bundle) for bundle in items(dig(deployment, "deployment_config", "placement_group_bundles"))]
    actor = mapping(dig(deployment, "deployment_config", "ray_actor_options"))
    own = {"GPU": actor.get("num_gpus"), **mapping(actor.get("resources"))}
    if not asked[0] and not bundles and not actor:
        return None
    return max(_accelerator_sum(asked), _accelerator_sum(bundles), _accelerator_sum([own]))


def _accelerator_sum(resources: Iterable[Mapping[str, Any]]) -> float:
    return sum(
        number(count) or 0.0
        for asked in resources
        for name, count in asked.items()
        if name not in _PLAIN_RESOURCES and ":" not in name
    )


def _of_the_engine(replicas: list[_Replica], pods: Sequence[History], logs: Sequence[LogText]) -> list[_Replica]:
    """Return the engine's replicas: those of deployments that need an accelerator, on pods that ask for one; else those
    for which one of the two is known; else those beside an engine's log; else all.
    """
    needing = [replica for replica in replicas if replica.needs]
    asking = [replica for replica in replicas if accelerators_of(replica.pod)]
    logging = [replica for replica in replicas if _has_engine_lines(replica.pod, logs)]
    return [replica for replica in needing if replica in asking] or needing or asking or logging or replicas


def _spans(engine: list[_Replica], asking: list[History], arguments: Any) -> bool:
    """Return whether an engine takes more accelerators than the pod of its replica has.

    A replica outside the pods that ask for one holds the driver only, unless Serve says that it needs none.
    """
    parallel = _parallel(arguments)
    for replica in engine:
        own = sum(accelerators_of(replica.pod).values())
        if max(replica.needs or 0.0, parallel) > own or (replica.needs is None and not own):
            return bool(asking)
    return False


def _parallel(arguments: Any) -> float:
    """Return the product of the engine's parallel sizes, as the applications' arguments give them; 0 without any."""
    sizes: dict[str, float] = {}

    def walk(value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                name = str(key).replace("-", "_")
                size = number(inner) if not isinstance(inner, str) else float(inner) if inner.isdecimal() else None
                if name in _PARALLEL and size:
                    sizes[name] = max(sizes.get(name, 0.0), size)
                walk(inner)
        for inner in items(value):
            walk(inner)

    walk(arguments)
    product = 1.0
    for size in sizes.values():
        product *= size
    return product if sizes else 0.0


def _without_placement(
    pods: Sequence[History], asking: list[History], ray_nodes: Sequence[Mapping[str, Any]], arguments: Any
) -> EnginePlacement:
    """Return the engine's pods where no replica's place is known: those that ask for an accelerator, else the workers.

    The first that was bound stands for the engine, unless the engine needs more than one pod.
    """
    workers = [pod for pod in pods if pod.labels.get("ray.io/node-type") == "worker"]
    candidates = [pod for pod in workers if pod in asking] or asking or workers
    bound = [pod for pod in candidates if _node_name(pod)]
    if asking and bound and _parallel(arguments) > sum(accelerators_of(bound[0]).values()):
        return EnginePlacement(tuple(sorted(bound, key=lambda pod: _joined(pod, ray_nodes))), together=True)
    deciding = next(iter(bound or candidates), None)
    return EnginePlacement((*(pod for pod in candidates if pod is not deciding), deciding) if deciding else ())


def _joined(pod: History, ray_nodes: Sequence[Mapping[str, Any]]) -> tuple[datetime, float]:
    """Return the sort key of a pod's arrival: its container's start, then its raylet's."""
    address = text(dig(pod.last, "status", "podIP"))
    raylet = next((number(n.get("start_time_ms")) for n in ray_nodes if address and n.get("node_ip") == address), None)
    started = [
        stamp.at
        for version in pod.versions
        for status in container_statuses(version.object)
        if (stamp := parse_stamp(dig(status, "state", "running", "startedAt")))
    ]
    created = pod.created
    return (max(started, default=created.at if created else pod.versions[0].received_at), raylet or 0.0)


def _pod_at(pods: Sequence[History], name: str, address: str) -> History | None:
    """Return the pod of a name, else the newest one with an address: addresses are used again."""
    named = next((pod for pod in pods if name and pod.name == name), None)
    at = (pod for pod in reversed(pods) if address and text(dig(pod.last, "status", "podIP")) == address)
    return named or next(at, None)


def _pod_of_replica_log(pods: Sequence[History], logs: Sequence[LogText], replica_id: str) -> History | None:
    told = (log for log in logs if replica_id in log.filename)
    return next((pod for log in told if (pod := _pod_at(pods, log.pod, log.node_ip))), None)


def _has_engine_lines(pod: History, logs: Sequence[LogText]) -> bool:
    return any(_pod_at([pod], log.pod, log.node_ip) is pod and _ENGINE_LINE.search(log.text) for log in logs)


def _node_name(pod: History) -> str:
    return next((text(dig(version.object, "spec", "nodeName")) for version in reversed(pod.versions)), "")
