"""How images came onto nodes that were prepared before a trial: by the pulls of the prepared pods on them.

A pod that finds its image on such a node says nothing of how it came there. The events of the pod that pulled it do,
while the cluster keeps them (an hour by default: kube-apiserver, --event-ttl). What is seen of them when objects are
prepared and when a trial is opened is kept with the node.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.image_arrival import ImageArrival, arrival_told
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import Event, Version, build_event, event_stamps

# Of pods, and of nodes.
REASONS: Final = frozenset({"Pulling", "Pulled", "ImageStreaming"})
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS: Final = ("reason", "type", "source", "reportingComponent", "firstTimestamp", "lastTimestamp", "eventTime")


def pulls_on(node: str, pods: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return [{pod, images, events}]: the pods on a node, and of the cluster's events (core/v1) what tells how their
    images came. Pods without such an event are left out.
    """
    found = []
    for pod in pods:
        if dig(pod, "spec", "nodeName") != node:
            continue
        uid, name = text(dig(pod, "metadata", "uid")), text(dig(pod, "metadata", "name"))
        told = [_kept(event) for event in events if _tells(event, uid, node)]
        if any(item["reason"] == "Pulled" for item in told):
            specs = [*items(dig(pod, "spec", "initContainers")), *items(dig(pod, "spec", "containers"))]
            images = list(dict.fromkeys(text(mapping(spec).get("image")) for spec in specs))
            found.append({"pod": name, "images": images, "events": told})
    return found


def with_earlier_pulls(
    nodes: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return nodes as they are now; where the cluster has dropped the events, with what was kept of the same node."""
    known = {text(node.get("uid")): node.get("pulls") for node in earlier}
    return [{**node, "pulls": node.get("pulls") or known.get(text(node.get("uid"))) or []} for node in nodes]


def pulled_before(view: TraceView) -> dict[tuple[str, str | None], ImageArrival]:
    """Return (node's name, image) -> how prepared pods got it onto the node, for nodes of the trial that are the very
    ones that were prepared.
    """
    return {
        (node, how.image): how
        for node, pull in _pulls(view)
        for how in (arrival_told(text(pull.get("pod")), _images(pull), events_of(pull)),)
        if how.delivered in ("pulled", "streamed")
    }


def prepared_events(view: TraceView) -> list[tuple[str, str, Event]]:
    """Return (node's name, pod's name, event) of what was kept of the trial's prepared nodes."""
    return [(node, text(pull.get("pod")), event) for node, pull in _pulls(view) for event in events_of(pull)]


def events_of(pull: Mapping[str, Any]) -> list[Event]:
    """Return the events of one of `pulls_on`, as a trace has them."""
    told = map(mapping, items(pull.get("events")))
    return [build_event([Version(_at(event), "LISTED", event)]) for event in told]


def _pulls(view: TraceView) -> Iterator[tuple[str, Mapping[str, Any]]]:
    uids = {node.uid: node.name for pod in view.serving_pods if (node := view.node_of(pod)) is not None}
    for step in PlannedFacts.of(view.trial).prepared_steps.values():
        for held in map(mapping, items(step.get("nodes"))):
            name = uids.get(text(held.get("uid")))
            for pull in map(mapping, items(held.get("pulls"))):
                if name is not None:
                    yield name, pull


def _images(pull: Mapping[str, Any]) -> list[str]:
    return [image for image in map(text, items(pull.get("images"))) if image]


def _tells(event: Mapping[str, Any], uid: str, node: str) -> bool:
    involved = mapping(event.get("involvedObject"))
    of_node = involved.get("kind") == "Node" and involved.get("name") == node
    return event.get("reason") in REASONS and (involved.get("uid") == uid or of_node)


def _kept(event: Mapping[str, Any]) -> dict[str, Any]:
    involved = mapping(event.get("involvedObject"))
    return {
        **{key: event[key] for key in _FIELDS if event.get(key)},
        # acr-nodemon's events have no other stamp.
        "metadata": {"creationTimestamp": dig(event, "metadata", "creationTimestamp")},
        "message": text(event.get("message"))[:1000],
        "involvedObject": {key: involved[key] for key in ("kind", "name", "uid", "fieldPath") if involved.get(key)},
    }


def _at(event: Mapping[str, Any]) -> datetime:
    _, last = event_stamps(event)
    return last.at if last is not None else _NEVER
