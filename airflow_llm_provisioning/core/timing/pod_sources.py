"""Sources of the milestones of a Ray pod and its node: placement, image, container start."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.devices import CLAIM, is_size
from airflow_llm_provisioning.core.fields import dig, number, objects, text
from airflow_llm_provisioning.core.image_arrival import (
    kubelet_pulls,
    pulled_figures,
    serving_image,
    volume_pulls,
)
from airflow_llm_provisioning.core.instants import Stamp, from_epoch_s, parse_stamp
from airflow_llm_provisioning.core.timing.clock_samples import API, KARPENTER, event_clock, node_clock, ray_clock
from airflow_llm_provisioning.core.timing.observations import (
    Observation,
    condition_observation,
    creation_observation,
    event_observation,
    state_observation,
)
from airflow_llm_provisioning.core.trace.objects import History, condition_true, container_statuses
from airflow_llm_provisioning.core.trace.placement import accelerators_of
from airflow_llm_provisioning.core.trace.view import TraceView


def placement_observations(view: TraceView, pod: History) -> Iterator[tuple[str, Observation | None]]:
    """Yield the observations of a pod's placement on a node. The node's milestones are included only if it was created
    for this pod.
    """
    yield "replaced", _replaced(view, pod)
    yield "pod_created", creation_observation(pod)
    refused = view.events_of(pod, "FailedScheduling")
    if refused:
        yield "unschedulable", event_observation(refused[0])
    node = view.node_of(pod)
    if node is not None and fresh_for(pod, node):
        yield from _nodeclaim_observations(view, pod, node)
        for reason in ("TriggeredScaleUp", "Nominated"):
            for event in view.events_of(pod, reason)[:1]:
                yield "node_requested", event_observation(event)
        yield "node_created", creation_observation(node)
        ready = node.first_match(lambda obj: condition_true(obj, "Ready"))
        yield "node_ready", condition_observation(node, "Ready", ready, node_clock(node.name))
        yield "gpu_allocatable", _allocatable(node, accelerators_of(pod))
    for event in view.events_of(pod, "Scheduled")[:1]:
        yield "scheduled", event_observation(event)
    bound = pod.first_match(lambda obj: condition_true(obj, "PodScheduled"))
    # The registry sets this condition when it handles the binding, so the clock is the API server's (kubernetes, pod
    # storage).
    yield "scheduled", condition_observation(pod, "PodScheduled", bound, API)


def start_observations(view: TraceView, pod: History) -> Iterator[tuple[str, Observation | None]]:
    """Yield the observations of a pod on its node: image pull, init container, container, raylet, readiness."""
    clock = node_clock(view.node_name_of(pod))
    yield from _pull_observations(view, pod)
    init = init_container(pod)
    if init:
        for event in view.events_of(pod, "Started", init)[:1]:
            yield "init_started", event_observation(event)
        yield "init_started", _container(pod, init, clock, "startedAt")
        yield "init_finished", _container(pod, init, clock, "finishedAt")
    main = main_container(pod)
    for event in view.events_of(pod, "Started", main)[:1]:
        yield "container_started", event_observation(event)
    yield "container_started", _container(pod, main, clock, "startedAt")
    yield "ray_started", raylet(view, pod)
    ready = pod.first_match(lambda obj: condition_true(obj, "Ready"))
    yield "ready", condition_observation(pod, "Ready", ready, clock)


def fresh_for(pod: History, node: History) -> bool:
    """Return whether a node, or the claim for it, was created after the pod that needs it (both stamps are the API
    server's).
    """
    return pod.created is not None and node.created is not None and node.created.at >= pod.created.at


def init_container(pod: History | None) -> str:
    """Return the name of a pod's last init container of the Ray container's image, which the pod's start waits for;
    empty if it has none. One of another image runs before the Ray image is pulled, so it is a part of the wait for it.
    """
    image = serving_image(pod) if pod else ""
    specs = objects(pod.last if pod else None, "spec", "initContainers")
    return next((text(spec.get("name")) for spec in reversed(specs) if not image or spec.get("image") == image), "")


def main_container(pod: History | None) -> str:
    """Return the name of a Ray pod's main container. It is the first one; KubeRay adds the autoscaler after it."""
    specs = objects(pod.last if pod else None, "spec", "containers")
    return text(specs[0].get("name")) if specs else ""


# NodeClaim conditions (karpenter, pkg/apis/v1/nodeclaim_status.go). Launched: the cloud launched the machine.
# Registered: its Node is known. Initialized: that Node is ready and all requested extended resources are allocatable,
# so it is an upper bound for the GPU.
_CLAIM_CONDITIONS: Final = (
    ("node_launched", "Launched"),
    ("node_registered", "Registered"),
    ("node_initialised", "Initialized"),
)


# Longer than any pull; a longer figure is no valid duration.
_LONGEST_S: Final = 86_400.0


def _replaced(view: TraceView, pod: History) -> Observation | None:
    """Return the end of the last pod that this one replaced, directly or through others."""
    wanted = {pod.uid}
    found = None
    for lost in reversed(view.lost_pods):
        if lost.successor.uid in wanted:
            wanted.add(lost.pod.uid)
            found = found or lost
    return state_observation(f"pods {found.pod.name} ended", found.end) if found else None


def asked_for_before(view: TraceView, pod: History, node: History) -> bool:
    """Return whether Karpenter had asked for a pod's node before the pod was there: for another one, whose node it
    took.
    """
    claim = _claim_of(view, node)
    return claim is not None and not fresh_for(pod, claim)


def _claim_of(view: TraceView, node: History) -> History | None:
    claims = view.objects("nodeclaims")
    return next((claim for claim in claims if dig(claim.last, "status", "nodeName") == node.name), None)


def _nodeclaim_observations(view: TraceView, pod: History, node: History) -> Iterator[tuple[str, Observation | None]]:
    """Yield Karpenter's observations of a node; the creation of the NodeClaim is the request. Request and launch of a
    node that was asked for before the pod are not on the pod's path.
    """
    claim, early = _claim_of(view, node), asked_for_before(view, pod, node)
    if claim is None:
        return
    if not early:
        yield "node_requested", creation_observation(claim)
    for name, kind in _CLAIM_CONDITIONS:
        if not (early and name == "node_launched"):
            yield name, condition_observation(claim, kind, claim.first_match(_holds(kind)), KARPENTER)


def _holds(kind: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda obj: condition_true(obj, kind)


def _allocatable(node: History, asked: Mapping[str, int]) -> Observation | None:
    """Return when a node offered all accelerators that a pod asks for. The device of a resource claim is in no node's
    status, so it is not observed; nor are sizes of a device beside it.
    """
    asked = {name: amount for name, amount in asked.items() if not is_size(name)} or asked
    if not asked or any(name.startswith(CLAIM) for name in asked):
        return None

    def offered(obj: Mapping[str, Any]) -> bool:
        return all(text(dig(obj, "status", "allocatable", name)) not in ("", "0") for name in asked)

    match = node.first_match(offered)
    return state_observation(f"nodes {node.name} allocatable {' and '.join(asked)}", match)


def _pull_observations(view: TraceView, pod: History) -> Iterator[tuple[str, Observation | None]]:
    told, mounted = kubelet_pulls(view, pod), volume_pulls(view, pod)
    started = [event for event in told if event.reason == "Pulling"]
    pulled = [event for event in told if event.reason == "Pulled" and pulled_figures(event.message)[0] is not None]
    if not started and not pulled:
        return
    if first := [event for event in mounted if event.reason == "Pulling"][:1]:
        # Image volumes are pulled before the first container's image: the phase begins with them.
        yield "pull_started", event_observation(first[0])
    container = (started or pulled)[0].container
    finished = next((event for event in pulled if event.container == container), None)
    if started and not first:
        yield "pull_started", event_observation(started[0])
    took = pulled_figures(finished.message)[0] if finished else None
    if not first and finished is not None and finished.first is not None and took is not None and took < _LONGEST_S:
        begun = Stamp(finished.first.at - timedelta(seconds=took), finished.first.resolution)
        source = f"event Pulled on Pod {pod.name}, minus its stated duration"
        yield "pull_started", Observation(source, begun, event_clock(finished), finished.received_at)
    if finished is not None:
        yield "pull_finished", event_observation(finished)


def _container(pod: History, name: str, clock: str, field: str) -> Observation | None:
    def stamp_in(obj: Mapping[str, Any]) -> Stamp | None:
        for status in container_statuses(obj):
            if status.get("name") == name:
                for state in ("running", "terminated"):
                    found = parse_stamp(dig(status, "state", state, field))
                    if found is not None:
                        return found
        return None

    match = pod.first_match(lambda obj: stamp_in(obj) is not None)
    if match is None:
        return None
    source = f"pods {pod.name} container {name} {field}"
    return Observation(source, stamp_in(match.version.object), clock, match.seen_at)


def raylet(view: TraceView, pod: History) -> Observation | None:
    """Return when a pod's raylet joined, from Ray's list of nodes."""
    clock = ray_clock(pod)
    address = dig(pod.last, "status", "podIP")
    for node in objects(view.ray_answer("ray-nodes"), "data", "result", "result"):
        started_ms = number(node.get("start_time_ms"))
        if address and node.get("node_ip") == address and started_ms is not None:
            stamp = from_epoch_s(started_ms / 1000)
            if stamp:
                return Observation(
                    f"ray-nodes start_time_ms of {address}", Stamp(stamp.at, timedelta(milliseconds=1)), clock
                )
    return None
