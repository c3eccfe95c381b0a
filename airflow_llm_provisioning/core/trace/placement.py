"""Which pods host the engine's replicas.

Serve's answers say where replicas are; its controller's log says in which order they started. An ingress or a router is
a replica too and waits for the engine, so replicas of deployments that need an accelerator come first. A pipeline or a
tensor-parallel engine runs on more pods than its replica. This module knows no milestone and no verdict.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.devices import CLAIM, devices, ranks
from airflow_llm_provisioning.core.fields import dig, items, mapping, number, objects, text
from airflow_llm_provisioning.core.instants import parse_stamp
from airflow_llm_provisioning.core.manifests.groups import accelerators, is_accelerator
from airflow_llm_provisioning.core.trace.objects import Answer, History, LogText, container_statuses
from airflow_llm_provisioning.exceptions import ManifestError

# Ray's names of what is no accelerator (ray 2.60, ray/_private/ray_constants.py). A key with a colon is a node, an
# accelerator type or a label.
_PLAIN_RESOURCES: Final = frozenset({"CPU", "memory", "object_store_memory", "bundle"})
# Ray's names of accelerators (ray 2.60, ray/_private/accelerators). Beside one of them a custom resource only says
# where a replica belongs.
_RAY_ACCELERATORS: Final = frozenset({"GPU", "TPU", "neuron_cores", "HPU", "NPU", "RBLN", "FURIOSA"})
# Serve's controller, ray 2.33 to 2.60; before, as ray 2.9, it wrote `Replica app#deployment#id ... on node ID`.
_STARTED: Final = re.compile(
    r"Replica(?:\(id='([^']{1,200})'[^)]{0,300}\)| ([^\s']{1,200})) started successfully on node '?([\w-]{1,200})"
)
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
    """A replica with its pod. `needs`: accelerators of its deployment; None if Serve does not say. `whole`: Serve named
    the bundles of its placement group, so an engine needs no more. `application`: the one it belongs to, if known.
    """

    replica_id: str
    pod: History
    needs: float | None
    order: tuple[float, float]
    pid: int | None = None
    whole: bool = False
    application: str = ""


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
    applications: Sequence[Mapping[str, Any]],
) -> EnginePlacement:
    """Return the pods that host the engine's replicas; none if that is unknown.

    `pods`: of the RayCluster, without lost ones, oldest first. `applications`: as submitted, with `name` and `args`.
    """
    replicas = _replicas(pods, polls, logs, ray_nodes)
    engine = _of_the_engine(replicas, pods, logs)
    last = {replica.pod.uid: position for position, replica in enumerate(engine)}
    found = sorted((pod for pod in pods if pod.uid in last), key=lambda pod: last[pod.uid])
    asking = [pod for pod in pods if devices(accelerators_of(pod))]
    parallel = {text(one.get("name")): _parallel(one.get("args")) for one in applications}
    if not found:
        return _without_placement(pods, asking, ray_nodes, max(parallel.values(), default=0.0))
    spans = _spans(engine, asking, parallel)
    others = [pod for pod in asking if pod not in found and (spans or _has_engine_lines(pod, logs))]
    if others:
        found = sorted([*found, *others], key=lambda pod: _joined(pod, ray_nodes))
    pids = {replica.replica_id: replica.pid for replica in replicas if replica.pid is not None}
    return EnginePlacement(tuple(found), tuple(replica.replica_id for replica in engine), bool(others), pids)


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
    for replica_id, (application, deployment, replica, running) in told.items():
        pod = _pod_at(pods, text(replica.get("node_instance_id")), text(replica.get("node_ip")))
        if pod is not None:
            rank = started[replica_id][0] if replica_id in started else len(started)
            order = (float(rank), 0.0) if len(started) and told.keys() <= started.keys() else (running, float(rank))
            pid = number(replica.get("pid"))
            needs, process, whole = _needs(deployment), int(pid) if pid else None, bool(_bundles(deployment))
            found[replica_id] = _Replica(replica_id, pod, needs, order, process, whole, application)
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
    return {replica_id or tag: (rank, node_id) for rank, (replica_id, tag, node_id) in enumerate(lines)}


def _answered(polls: Sequence[Answer]) -> dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any], float]]:
    """Return replica id -> (application, deployment, replica, when it first ran) of the answer that counts.

    That is the first one in which every application runs, else the first with a running one, else the last with a
    placed replica. `when it first ran`: position of the first answer that shows the replica RUNNING.
    """
    placed = [poll for poll in polls if any(_placed(replica) for *_, replica in _told(poll.body))]
    states = [[text(dig(app, "status")) for app in mapping(dig(poll.body, "applications")).values()] for poll in placed]
    every = next((poll for poll, own in zip(placed, states, strict=True) if set(own) == {"RUNNING"}), None)
    some = next((poll for poll, own in zip(placed, states, strict=True) if "RUNNING" in own), None)
    chosen = every or some or (placed[-1] if placed else None)
    if chosen is None:
        return {}
    first: dict[str, float] = {}
    for position, poll in enumerate(polls):
        for *_, replica in _told(poll.body):
            if replica.get("state") == "RUNNING":
                first.setdefault(_replica_id(replica), float(position))
    current = [told for told in _told(chosen.body) if _placed(told[2])]
    running = [told for told in current if told[2].get("state") == "RUNNING"]
    return {
        _replica_id(replica): (name, deployment, replica, first.get(_replica_id(replica), float(len(polls))))
        for name, deployment, replica in running or current
    }


def _told(body: Any) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield (application, deployment, replica) of an answer."""
    for name, application in mapping(dig(body, "applications")).items():
        for deployment in mapping(dig(application, "deployments")).values():
            for replica in objects(deployment, "replicas"):
                yield name, mapping(deployment), replica


def _placed(replica: Mapping[str, Any]) -> bool:
    return bool(replica.get("node_instance_id") or replica.get("node_ip"))


def _replica_id(replica: Mapping[str, Any]) -> str:
    return text(replica.get("replica_id")) or text(replica.get("actor_name")) or text(replica.get("actor_id"))


def _needs(deployment: Mapping[str, Any]) -> float | None:
    """Return how many accelerators one replica of a deployment takes, its placement group included."""
    asked = [mapping(deployment.get("required_resources"))]
    bundles = _bundles(deployment)
    actor = mapping(dig(deployment, "deployment_config", "ray_actor_options"))
    own = {"GPU": actor.get("num_gpus"), **mapping(actor.get("resources"))}
    if not asked[0] and not bundles and not actor:
        return None
    return max(_accelerator_sum(asked), _accelerator_sum(bundles), _accelerator_sum([own]))


def _bundles(deployment: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mapping(bundle) for bundle in items(dig(deployment, "deployment_config", "placement_group_bundles"))]


def _accelerator_sum(resources: Iterable[Mapping[str, Any]]) -> float:
    sums: dict[str, float] = {}
    for asked in resources:
        for name, count in asked.items():
            if name not in _PLAIN_RESOURCES and ":" not in name:
                sums[name] = sums.get(name, 0.0) + (number(count) or 0.0)
    known = sum(amount for name, amount in sums.items() if name in _RAY_ACCELERATORS)
    return known or sum(sums.values())


def _of_the_engine(replicas: list[_Replica], pods: Sequence[History], logs: Sequence[LogText]) -> list[_Replica]:
    """Return the engine's replicas: those of deployments that need an accelerator, on pods that ask for one; else those
    for which one of the two is known; else those beside an engine's log; else all.
    """
    needing = [replica for replica in replicas if replica.needs]
    asking = [replica for replica in replicas if devices(accelerators_of(replica.pod))]
    logging = [replica for replica in replicas if _has_engine_lines(replica.pod, logs)]
    return [replica for replica in needing if replica in asking] or needing or asking or logging or replicas


def _spans(engine: list[_Replica], asking: list[History], parallel: Mapping[str, float]) -> bool:
    """Return whether an engine takes more accelerators than the pod of its replica has.

    `parallel`: application -> the product of its engine's parallel sizes; of an unknown application any of them. A
    replica outside the pods that ask for an accelerator holds the driver only, unless Serve says that it needs none.
    """
    largest = max(parallel.values(), default=0.0)
    for replica in engine:
        asked = accelerators_of(replica.pod)
        own = ranks(asked) if asked else 0
        wanted = 0.0 if replica.whole else parallel.get(replica.application, largest)
        if own is not None and (max(replica.needs or 0.0, wanted) > own or (replica.needs is None and not own)):
            return bool(asking)
    return False


def _parallel(arguments: Any) -> float:
    """Return the product of the parallel sizes of the largest engine in an application's arguments; 0 without any. Each
    mapping holds the sizes of one engine: prefill and decode have their own.
    """
    found = 0.0
    if isinstance(arguments, Mapping):
        sizes = [_size(inner) for key, inner in arguments.items() if str(key).replace("-", "_") in _PARALLEL]
        found = math.prod(size for size in sizes if size) if any(sizes) else 0.0
    inside = arguments.values() if isinstance(arguments, Mapping) else items(arguments)
    return max([found, *(_parallel(inner) for inner in inside)])


def _size(value: Any) -> float:
    told = float(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else number(value)
    return told or 0.0


def _without_placement(
    pods: Sequence[History], asking: list[History], ray_nodes: Sequence[Mapping[str, Any]], parallel: float
) -> EnginePlacement:
    """Return the engine's pods where no replica's place is known: those that ask for an accelerator, else the workers.

    The first that was bound stands for the engine, unless the engine needs more than one pod. `parallel`: how many
    ranks it has.
    """
    workers = [pod for pod in pods if pod.labels.get("ray.io/node-type") == "worker"]
    candidates = [pod for pod in workers if pod in asking] or asking or workers
    bound = [pod for pod in candidates if _node_name(pod)]
    own = ranks(accelerators_of(bound[0])) if asking and bound else None
    if own is not None and parallel > own:
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
