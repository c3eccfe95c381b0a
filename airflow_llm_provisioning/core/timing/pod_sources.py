"""Where the milestones of a Ray pod and its node can be read: placing it, its image, starting its containers."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, number, objects, text
from airflow_llm_provisioning.core.image_arrival import pulled_figures
from airflow_llm_provisioning.core.instants import Stamp, from_epoch_s, parse_stamp
from airflow_llm_provisioning.core.timing.clock_samples import API, KARPENTER, event_clock, node_clock, ray_clock
from airflow_llm_provisioning.core.timing.sightings import (
    Sighting,
    condition_sighting,
    creation,
    event_sighting,
    published,
)
from airflow_llm_provisioning.core.trace.objects import History, condition_true, container_statuses
from airflow_llm_provisioning.core.trace.view import TraceView


def placing(view: TraceView, pod: History) -> Iterator[tuple[str, Sighting | None]]:
    """Yield what led to a pod's place on a node; the node's own instants only if it came for this pod."""
    yield "pod_created", creation(pod)
    refused = view.events_of(pod, "FailedScheduling")
    if refused:
        yield "unschedulable", event_sighting(refused[0])
    node = view.node_of(pod)
    if node is not None and fresh_for(pod, node):
        yield from _claimed(view, node)
        for reason in ("TriggeredScaleUp", "Nominated"):
            for event in view.events_of(pod, reason)[:1]:
                yield "node_requested", event_sighting(event)
        yield "node_created", creation(node)
        ready = node.first_sight(lambda obj: condition_true(obj, "Ready"))
        yield "node_ready", condition_sighting(node, "Ready", ready, node_clock(node.name))
        resource = gpu_resource(pod)
        if resource:
            yield "gpu_allocatable", _allocatable(node, resource)
    for event in view.events_of(pod, "Scheduled")[:1]:
        yield "scheduled", event_sighting(event)
    bound = pod.first_sight(lambda obj: condition_true(obj, "PodScheduled"))
    # The binding's registry call sets this condition, so its clock is the API server's (kubernetes pod storage).
    yield "scheduled", condition_sighting(pod, "PodScheduled", bound, API)


def starting(view: TraceView, pod: History) -> Iterator[tuple[str, Sighting | None]]:
    """Yield what happened to a pod on its node: pull, init container, container, raylet, readiness."""
    clock = node_clock(view.node_name_of(pod))
    yield from _pulling(view, pod)
    init = init_container(pod)
    if init:
        for event in view.events_of(pod, "Started", init)[:1]:
            yield "init_started", event_sighting(event)
        yield "init_started", _container(pod, init, clock, "startedAt")
        yield "init_finished", _container(pod, init, clock, "finishedAt")
    main = main_container(pod)
    for event in view.events_of(pod, "Started", main)[:1]:
        yield "container_started", event_sighting(event)
    yield "container_started", _container(pod, main, clock, "startedAt")
    yield "ray_started", raylet(view, pod)
    ready = pod.first_sight(lambda obj: condition_true(obj, "Ready"))
    yield "ready", condition_sighting(pod, "Ready", ready, clock)


def fresh_for(pod: History, node: History) -> bool:
    """Say whether a node came after a pod asked for one (both stamps are the API server's)."""
    return pod.created is not None and node.created is not None and node.created.at >= pod.created.at


def gpu_resource(pod: History | None) -> str:
    """Return the extended resource a pod asks for as a GPU (`nvidia.com/gpu`), or empty."""
    for spec in objects(pod.last if pod else None, "spec", "containers"):
        for key in mapping(dig(spec, "resources", "limits")):
            if key.endswith("/gpu"):
                return key
    return ""


def init_container(pod: History | None) -> str:
    """Return the name of a pod's last init container, which its start waits for; empty if it has none."""
    specs = objects(pod.last if pod else None, "spec", "initContainers")
    return text(specs[-1].get("name")) if specs else ""


def main_container(pod: History | None) -> str:
    """Return the name of a Ray pod's own container: the first one (KubeRay puts the autoscaler behind it)."""
    specs = objects(pod.last if pod else None, "spec", "containers")
    return text(specs[0].get("name")) if specs else ""


# NodeClaim conditions (karpenter pkg/apis/v1/nodeclaim_status.go): launched at the cloud; its Node known; that Node
# ready with all requested extended resources allocatable, so that the last bounds the GPU's arrival from above.
_CLAIM_CONDITIONS: Final = (
    ("node_launched", "Launched"),
    ("node_registered", "Registered"),
    ("node_initialised", "Initialized"),
)


# Longer than any pull; what is told beyond it is no duration.
_LONGEST_S: Final = 86_400.0


def _claimed(view: TraceView, node: History) -> Iterator[tuple[str, Sighting | None]]:
    """Yield what Karpenter says of a node: its claim is the request."""
    for claim in view.objects("nodeclaims"):
        if dig(claim.last, "status", "nodeName") == node.name:
            yield "node_requested", creation(claim)
            for name, kind in _CLAIM_CONDITIONS:
                yield name, condition_sighting(claim, kind, claim.first_sight(_holds(kind)), KARPENTER)


def _holds(kind: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda obj: condition_true(obj, kind)


def _allocatable(node: History, resource: str) -> Sighting | None:
    def offered(obj: Mapping[str, Any]) -> bool:
        return text(dig(obj, "status", "allocatable", resource)) not in ("", "0")

    sight = node.first_sight(offered)
    return published(f"nodes {node.name} allocatable {resource}", sight)


def _pulling(view: TraceView, pod: History) -> Iterator[tuple[str, Sighting | None]]:
    started = view.events_of(pod, "Pulling")
    pulled = [event for event in view.events_of(pod, "Pulled") if pulled_figures(event.message)[0] is not None]
    if not started and not pulled:
        return
    container = (started or pulled)[0].container
    finished = next((event for event in pulled if event.container == container), None)
    if started:
        yield "pull_started", event_sighting(started[0])
    took = pulled_figures(finished.message)[0] if finished else None
    if finished is not None and finished.first is not None and took is not None and took < _LONGEST_S:
        begun = Stamp(finished.first.at - timedelta(seconds=took), finished.first.resolution)
        source = f"event Pulled on Pod {pod.name}, less the duration it names"
        yield "pull_started", Sighting(source, begun, event_clock(finished), finished.received_at)
    if finished is not None:
        yield "pull_finished", event_sighting(finished)


def _container(pod: History, name: str, clock: str, field: str) -> Sighting | None:
    def stamp_in(obj: Mapping[str, Any]) -> Stamp | None:
        for status in container_statuses(obj):
            if status.get("name") == name:
                for state in ("running", "terminated"):
                    found = parse_stamp(dig(status, "state", state, field))
                    if found is not None:
                        return found
        return None

    sight = pod.first_sight(lambda obj: stamp_in(obj) is not None)
    if sight is None:
        return None
    source = f"pods {pod.name} container {name} {field}"
    return Sighting(source, stamp_in(sight.version.object), clock, sight.seen_at)


def raylet(view: TraceView, pod: History) -> Sighting | None:
    """Return when a pod's raylet joined, from Ray's own list of nodes."""
    clock = ray_clock(pod)
    address = dig(pod.last, "status", "podIP")
    for node in objects(view.ray_answer("ray-nodes"), "data", "result", "result"):
        started_ms = number(node.get("start_time_ms"))
        if address and node.get("node_ip") == address and started_ms is not None:
            stamp = from_epoch_s(started_ms / 1000)
            if stamp:
                return Sighting(
                    f"ray-nodes start_time_ms of {address}", Stamp(stamp.at, timedelta(milliseconds=1)), clock
                )
    return None
