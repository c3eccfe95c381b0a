"""Sources of each milestone, best source first, from the submission to the first completion."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, objects, text
from airflow_llm_provisioning.core.instants import Stamp, parse_stamp
from airflow_llm_provisioning.core.timing.clock_samples import API, OPERATOR, node_clock
from airflow_llm_provisioning.core.timing.clocks import DEFAULT_BOUND
from airflow_llm_provisioning.core.timing.engine_logs import LogReading
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY, SUBMITTED
from airflow_llm_provisioning.core.timing.observations import (
    Observation,
    condition_observation,
    creation_observation,
    event_observation,
    state_observation,
)
from airflow_llm_provisioning.core.timing.pod_sources import placement_observations, start_observations
from airflow_llm_provisioning.core.timing.serve_sources import log_observations, serve_observations
from airflow_llm_provisioning.core.trace.objects import Version, condition, condition_true
from airflow_llm_provisioning.core.trace.view import TraceView

_TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"


def read_observations(view: TraceView, logs: LogReading) -> dict[str, list[Observation]]:
    """Return the observations per milestone, best source first. Milestones without an observation are absent."""
    found: dict[str, list[Observation]] = {}
    for name, observation in _all(view, logs):
        if observation is not None:
            found.setdefault(name, []).append(observation)
    return found


def ready_role(view: TraceView) -> str:
    """Return whose endpoint was ready first: `head`, `worker` (the one that decided) or `other` (another worker);
    `head` if it is unknown (KubeRay's usual case).
    """
    for item in view.serve_slices:
        match = item.first_match(first_ready_endpoint)
        if match:
            uid = _first_target(view, match.version)
            if view.worker is not None and view.worker.uid == uid:
                return "worker"
            return "other" if any(pod.uid == uid for pod in view.workers) else "head"
    return "head"


def first_ready_endpoint(endpoint_slice: Any) -> bool:
    """Return whether an EndpointSlice has a ready endpoint; an absent `ready` means ready (discovery.k8s.io/v1)."""
    return ready_target(endpoint_slice) is not None


def ready_target(endpoint_slice: Any) -> str | None:
    """Return the uid of the first ready endpoint's pod (empty if it names no pod), or None if no endpoint is ready."""
    return next(_ready_targets(endpoint_slice), None)


def _ready_targets(endpoint_slice: Any) -> Iterator[str]:
    for endpoint in objects(endpoint_slice, "endpoints"):
        conditions = mapping(endpoint.get("conditions"))
        if items(endpoint.get("addresses")) and conditions.get("ready") is not False:
            yield text(dig(endpoint, "targetRef", "uid"))


def _first_target(view: TraceView, version: Version) -> str | None:
    """Return the uid of the pod whose endpoint was ready first. A version that was not received as it was written may
    have several, in no order of time: then it is the pod that was Ready first.
    """
    targets = list(_ready_targets(version.object))
    if version.prompt or len(targets) < 2:
        return next(iter(targets), None)
    since = {
        pod.uid: stamp.at
        for pod in view.pods
        if pod.uid in targets and (stamp := parse_stamp(condition(pod.last, "Ready").get("lastTransitionTime")))
    }
    return min(targets, key=lambda uid: since.get(uid, datetime.max.replace(tzinfo=UTC)))


def _all(view: TraceView, logs: LogReading) -> Iterator[tuple[str, Observation | None]]:
    yield SUBMITTED, _submitted(view)
    yield "raycluster_created", creation_observation(view.raycluster)
    for event in view.events_of(view.rayservice, "CreatedRayCluster")[:1]:
        yield "raycluster_created", event_observation(event)
    for role, pod in (("head", view.head), ("worker", view.worker)):
        if pod is not None:
            for name, observation in (*placement_observations(view, pod), *start_observations(view, pod)):
                yield f"{role}.{name}", observation
    yield from serve_observations(view)
    yield from log_observations(view, logs)
    yield from _endpoint_observations(view)


def _submitted(view: TraceView) -> Observation | None:
    created = creation_observation(view.rayservice)
    if created is None or created.received_at is None:
        return None
    # An apply that is repeated after a crash finds the existing RayService. Only calls around its creation bound it.
    at = created.stamp.at if created.stamp else created.received_at
    started = [m.at for m in view.marks("apply_started") if m.at <= min(created.received_at, at + DEFAULT_BOUND)]
    replied = [mark.at for mark in view.marks("apply_replied") if mark.at >= at - DEFAULT_BOUND]
    return Observation(
        created.source,
        created.stamp,
        API,
        created.received_at,
        created.prompt,
        not_before=max(started, default=None),
        not_after=min(replied, default=None),
    )


def _endpoint_observations(view: TraceView) -> Iterator[tuple[str, Observation | None]]:
    for service in view.serve_services[:1]:
        yield "serve_service_created", creation_observation(service)
    yield ENDPOINT_READY, _endpoint(view)
    if view.rayservice:
        ready = view.rayservice.first_match(lambda obj: condition_true(obj, "Ready"))
        yield "rayservice_ready", condition_observation(view.rayservice, "Ready", ready, OPERATOR)
        # KubeRay up to 1.2 writes no conditions into a RayService.
        running = view.rayservice.first_match(lambda obj: dig(obj, "status", "serviceStatus") == "Running")
        yield "rayservice_ready", state_observation(f"rayservices {view.name} serviceStatus Running", running)
    for mark in view.marks("first_completion")[:1]:
        asked = parse_stamp(mark.detail.get("asked_at"))
        not_before = asked.at if asked else mark.at
        yield "first_completion", Observation("mark", received_at=mark.at, prompt=True, not_before=not_before)


def _endpoint(view: TraceView) -> Observation | None:
    """Return the first ready endpoint over all slices of the serve Service."""
    matches = [(match, item) for item in view.serve_slices if (match := item.first_match(first_ready_endpoint))]
    if not matches:
        return None
    match, item = min(matches, key=lambda pair: pair[0].seen_at)
    source = f"endpointslices {item.name} ready endpoint"
    if match.version.kind == "ADDED" or dig(match.version.object, "metadata", "generation") == 1:
        # The slice was created with a ready endpoint: its creation is the instant.
        return Observation(source, item.created, API, match.seen_at, prompt=match.version.prompt)
    found = state_observation(source, match)
    # A version that a list gave may be many changes younger than the one that made the endpoint ready.
    triggered = _trigger(view, match.version.object) if match.version.prompt else None
    return replace(found, written=(*found.written, triggered)) if found and triggered else found


def _trigger(view: TraceView, endpoint_slice: Mapping[str, Any]) -> tuple[Stamp, str] | None:
    """Return the trigger time of an EndpointSlice's last change and the clock that wrote it; None if unknown.

    The annotation repeats the earliest stamp of what changed since the previous one: a pod's Ready stamp, which its
    kubelet wrote, or the Service's creation (kubernetes, pkg/controller/util/endpoint/trigger_time_tracker.go).
    """
    triggered = parse_stamp(dig(endpoint_slice, "metadata", "annotations", _TRIGGER))
    for pod in view.pods if triggered else ():
        for version in pod.versions:
            if triggered and parse_stamp(condition(version.object, "Ready").get("lastTransitionTime")) == triggered:
                return triggered, node_clock(view.node_name_of(pod))
    return None
