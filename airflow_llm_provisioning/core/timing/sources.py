"""Where each milestone of a trial can be read, best source first, from the submission to the first completion."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, objects, text
from airflow_llm_provisioning.core.instants import Stamp, parse_stamp
from airflow_llm_provisioning.core.timing.clock_samples import API, OPERATOR, node_clock
from airflow_llm_provisioning.core.timing.clocks import ALLOWANCE
from airflow_llm_provisioning.core.timing.engine_logs import LogReading
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY, SUBMITTED
from airflow_llm_provisioning.core.timing.pod_sources import placing, starting
from airflow_llm_provisioning.core.timing.serve_sources import from_logs, serving
from airflow_llm_provisioning.core.timing.sightings import (
    Sighting,
    condition_sighting,
    creation,
    event_sighting,
    published,
)
from airflow_llm_provisioning.core.trace.objects import condition, condition_true
from airflow_llm_provisioning.core.trace.view import TraceView

_TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"


def read_sightings(view: TraceView, logs: LogReading) -> dict[str, list[Sighting]]:
    """Return every milestone's sightings, best source first; milestones without any are absent."""
    found: dict[str, list[Sighting]] = {}
    for name, sighting in _all(view, logs):
        if sighting is not None:
            found.setdefault(name, []).append(sighting)
    return found


def ready_role(view: TraceView) -> str:
    """Return whose endpoint was ready first, `head` or `worker`; `head` where it is not told (KubeRay's usual case)."""
    for item in view.serve_slices:
        sight = item.first_sight(first_ready_endpoint)
        if sight:
            uid = ready_target(sight.version.object)
            return "worker" if any(pod.uid == uid for pod in view.workers) else "head"
    return "head"


def first_ready_endpoint(endpoint_slice: Any) -> bool:
    """Say whether an EndpointSlice has an endpoint that is ready: absent `ready` means ready (discovery.k8s.io/v1)."""
    return ready_target(endpoint_slice) is not None


def ready_target(endpoint_slice: Any) -> str | None:
    """Return the uid of the first ready endpoint's pod (empty if it names none), or None if none is ready."""
    for endpoint in objects(endpoint_slice, "endpoints"):
        conditions = mapping(endpoint.get("conditions"))
        if items(endpoint.get("addresses")) and conditions.get("ready") is not False:
            return text(dig(endpoint, "targetRef", "uid"))
    return None


def _all(view: TraceView, logs: LogReading) -> Iterator[tuple[str, Sighting | None]]:
    yield SUBMITTED, _submitted(view)
    yield "raycluster_created", creation(view.raycluster)
    for event in view.events_of(view.rayservice, "CreatedRayCluster")[:1]:
        yield "raycluster_created", event_sighting(event)
    for role, pod in (("head", view.head), ("worker", view.worker)):
        if pod is not None:
            for name, sighting in (*placing(view, pod), *starting(view, pod)):
                yield f"{role}.{name}", sighting
    yield from serving(view)
    yield from from_logs(view, logs)
    yield from _finishing(view)


def _submitted(view: TraceView) -> Sighting | None:
    created = creation(view.rayservice)
    if created is None or created.received_at is None:
        return None
    # An apply that was repeated after a crash found the RayService there: only calls around its creation bound it.
    at = created.stamp.at if created.stamp else created.received_at
    started = [m.at for m in view.marks("apply_started") if m.at <= min(created.received_at, at + ALLOWANCE)]
    replied = [mark.at for mark in view.marks("apply_replied") if mark.at >= at - ALLOWANCE]
    return Sighting(
        created.source,
        created.stamp,
        API,
        created.received_at,
        created.prompt,
        not_before=max(started, default=None),
        not_after=min(replied, default=None),
    )


def _finishing(view: TraceView) -> Iterator[tuple[str, Sighting | None]]:
    for service in view.services(view.serve_service)[:1]:
        yield "serve_service_created", creation(service)
    yield ENDPOINT_READY, _endpoint(view)
    if view.rayservice:
        ready = view.rayservice.first_sight(lambda obj: condition_true(obj, "Ready"))
        yield "rayservice_ready", condition_sighting(view.rayservice, "Ready", ready, OPERATOR)
        # KubeRay up to 1.2 has no conditions on a RayService.
        running = view.rayservice.first_sight(lambda obj: dig(obj, "status", "serviceStatus") == "Running")
        yield "rayservice_ready", published(f"rayservices {view.name} serviceStatus Running", running)
    for mark in view.marks("first_completion")[:1]:
        asked = parse_stamp(mark.detail.get("asked_at"))
        not_before = asked.at if asked else mark.at
        yield "first_completion", Sighting("mark", received_at=mark.at, prompt=True, not_before=not_before)


def _endpoint(view: TraceView) -> Sighting | None:
    """Return the first ready endpoint over all slices of the serve Service."""
    sights = [(sight, item) for item in view.serve_slices if (sight := item.first_sight(first_ready_endpoint))]
    if not sights:
        return None
    sight, item = min(sights, key=lambda pair: pair[0].seen_at)
    source = f"endpointslices {item.name} ready endpoint"
    if sight.version.kind == "ADDED" or dig(sight.version.object, "metadata", "generation") == 1:
        # It was born with a ready endpoint: its creation is the instant.
        return Sighting(source, item.created, API, sight.seen_at, prompt=sight.version.prompt)
    found = published(source, sight)
    triggered = _trigger(view, sight.version.object)
    return replace(found, written=(*found.written, triggered)) if found and triggered else found


def _trigger(view: TraceView, endpoint_slice: Mapping[str, Any]) -> tuple[Stamp, str] | None:
    """Return the cause of an EndpointSlice's last change, and whose stamp it is; None where that cannot be told.

    The annotation repeats the earliest of what changed since the last one: a pod's Ready stamp, which its kubelet
    wrote, or the Service's creation (kubernetes pkg/controller/util/endpoint/trigger_time_tracker.go).
    """
    triggered = parse_stamp(dig(endpoint_slice, "metadata", "annotations", _TRIGGER))
    for pod in view.pods if triggered else ():
        for version in pod.versions:
            if triggered and parse_stamp(condition(version.object, "Ready").get("lastTransitionTime")) == triggered:
                return triggered, node_clock(view.node_name_of(pod))
    return None
