"""Flags: what a reader must know before trusting a trial's numbers.

The flags name gaps of the recording, properties of the deployment (an upgrade, no GPU, a restart) and content that no
real cluster produces. Contradictions between milestones are flagged in `timeline`. A flag is a word and a sentence; it
changes no number.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Final

from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.instants import format_instant, parse_stamp, seconds
from airflow_llm_provisioning.core.likeness import alike
from airflow_llm_provisioning.core.origin import MEASURED, is_simulated
from airflow_llm_provisioning.core.result import CHANGED, REPLACED
from airflow_llm_provisioning.core.timing.clocks import DEFAULT_BOUND, Clocks
from airflow_llm_provisioning.core.timing.engine_lines import Gap, gaps_of
from airflow_llm_provisioning.core.timing.engine_logs import NOT_UNDERSTOOD, LogReading
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY
from airflow_llm_provisioning.core.timing.timeline import Flag, Timeline
from airflow_llm_provisioning.core.trace.lost_pods import LostPod, disruption_of
from airflow_llm_provisioning.core.trace.objects import History, Version, condition, condition_true, container_statuses
from airflow_llm_provisioning.core.trace.placement import accelerators_of
from airflow_llm_provisioning.core.trace.view import TraceView

# Marks that state that this trial deleted the RayService.
DELETED_BY_US: Final = frozenset({"delete_started", "deleted_by_us"})

# Reasons of DisruptionTarget (kubernetes, docs "Pod disruption conditions"). A drain evicts by the API.
_DISRUPTIONS: Final[Mapping[str, str]] = {
    "PreemptionByScheduler": "a pod of higher priority preempted it",
    "EvictionByEvictionAPI": "it was evicted, as a drain does",
    "DeletionByTaintManager": "its node went away",
    "DeletionByPodGC": "its node went away",
    "TerminationByKubelet": "its kubelet terminated it",
}
# Reasons of node events: node controller, cloud node controller, Karpenter, cluster-autoscaler.
_NODE_ENDS: Final = frozenset(
    {"NodeNotReady", "RemovingNode", "DeletingNode", "Drained", "ScaleDown", "DisruptionTerminating", "SpotInterrupted"}
)
# What is deployed of a RayService's specification.
_DEPLOYED: Final = ("rayClusterConfig", "serveConfigV2")
_NODE_SLACK: Final = timedelta(seconds=60)

# Marks of the recorder about missing data.
_GAPS: Final = frozenset({"not_recorded", "not_collected", "watch_interrupted", "cut_short"})


def flags_of(view: TraceView, clocks: Clocks, logs: LogReading, timeline: Timeline) -> list[Flag]:
    """Return the flags of a trace."""
    flags = [*_trace_flags(view), *_deployment_flags(view, timeline)]
    flags += _lifetime_flags(view)
    flags += [
        Flag("clock", f"the clock of {clock} is off by {seconds(offset.likely):.1f} s")
        for clock, offset in clocks.offsets.items()
        if offset.low > DEFAULT_BOUND or offset.high < -DEFAULT_BOUND
    ]
    flags += [
        Flag(
            "contradiction",
            f"{count} stamps of the clock of {clock} contradict its other stamps and their receipt times",
        )
        for clock, count in clocks.implausible.items()
    ]
    flags += [_gap_flag(gap) for gap in gaps_of(view, logs)]
    for note in logs.notes:
        kind, _, detail = note.partition(": ")
        flags.append(Flag(kind, detail))
    if view.end.get("outcome") == "ready" and timeline.get(ENDPOINT_READY) is None:
        flags.append(
            Flag("contradiction", "the trace ends as ready but contains no ready endpoint without a contradiction")
        )
    return flags


def _gap_flag(gap: Gap) -> Flag:
    """Flag the steps of an engine whose ends are not known: not understood is not the same as did not occur."""
    why = (
        f"a line that no dialect explains: {gap.line[:200]!r}" if gap.line else "steps of a compilation without its end"
    )
    told = f"between {gap.after} and {gap.before} the engine's log has {why}"
    return Flag(NOT_UNDERSTOOD, f"{told}; {' and '.join(gap.phases)} are not separated")


def _trace_flags(view: TraceView) -> list[Flag]:
    flags = []
    if view.unreadable_lines:
        flags.append(Flag("unreadable_lines", f"{view.unreadable_lines} lines could not be used"))
    if view.origin != MEASURED and not is_simulated(view.origin):
        flags.append(Flag("origin", "the trace does not say whether it was measured or simulated"))
    flags += _gap_flags(view)
    if view.rayservice is None:
        flags.append(Flag("no_rayservice", "the recording contains no RayService of this trial"))
    return flags


def _gap_flags(view: TraceView) -> list[Flag]:
    """Return the gaps that the recorder marked, one flag per kind. NodeClaims exist only with Karpenter, so their
    absence is no gap.
    """
    told: dict[str, list[str]] = {}
    for mark in view.marks():
        what = text(mark.detail.get("what") or mark.detail.get("resource"))
        if mark.name in _GAPS and what != "nodeclaims":
            told.setdefault(f"{mark.name} {what}", []).append(text(mark.detail.get("why")))
    return [
        Flag("gap", f"{what} ({len(why)} times, first: {why[0] or 'no reason given'})") for what, why in told.items()
    ]


def _deployment_flags(view: TraceView, timeline: Timeline) -> list[Flag]:
    service = view.rayservice
    if service is None:
        return []
    flags = []
    if len(view.rayclusters) > 1:
        names = ", ".join(cluster.name for cluster in view.rayclusters)
        flags.append(
            Flag("upgrade", f"the RayService created several RayClusters ({names}): the first that served was analysed")
        )
    flags += _change_flags(service, timeline)
    if len(view.applications) > 1:
        flags.append(Flag("applications", f"{len(view.applications)} applications were deployed; all must be running"))
    if view.workers and not any(accelerators_of(pod) for pod in view.workers):
        flags.append(Flag("no_gpu", "no worker requests a GPU or another accelerator"))
    if not any(mapping(version.object.get("status")) for version in service.versions):
        flags.append(Flag("operator_silent", "the operator never wrote a status"))
    deleted = service.deleted
    finished = timeline.get(ENDPOINT_READY)
    if deleted and finished is None and not any(mark.name in DELETED_BY_US for mark in view.marks()):
        flags.append(
            Flag("deleted", "the RayService was deleted before it was ready, by something other than this trial")
        )
    return [*flags, *_restart_flags(view), *_replacement_flags(view, timeline)]


def _change_flags(service: History, timeline: Timeline) -> Iterator[Flag]:
    """Flag a RayService whose pods or configuration were changed before it served: another one was measured. What a
    queue changes (`suspend`) is no part of them.
    """
    served = timeline.get("first_completion") or timeline.get(ENDPOINT_READY)
    told = [v for v in service.versions if dig(v.object, "spec") and v.kind != "DELETED"]
    for before, after in pairwise(told):
        if served is not None and after.received_at > served.latest_at:
            return
        parts = [
            part for part in _DEPLOYED if not alike(dig(before.object, "spec", part), dig(after.object, "spec", part))
        ]
        if parts:
            seen_at = format_instant(after.received_at)
            yield Flag(CHANGED, f"the RayService's {' and '.join(parts)} was changed during the trial, at {seen_at}")


def _replacement_flags(view: TraceView, timeline: Timeline) -> Iterator[Flag]:
    """Flag each pod that was lost and replaced before the deployment served."""
    served = timeline.get("first_completion") or timeline.get(ENDPOINT_READY)
    for lost in view.lost_pods:
        if served is not None and lost.end.seen_at > served.latest_at:
            continue
        node = view.node_name_of(lost.pod)
        where = f"on node {node}" if node else "before it had a node"
        lived = "" if lost.lived_s is None else f" after {lost.lived_s:.0f} s"
        told = f"pod {lost.pod.name} was deleted{lived} {where}, {_why_lost(view, lost)}"
        yield Flag(REPLACED, f"{told}; pod {lost.successor.name} replaced it")


def _why_lost(view: TraceView, lost: LostPod) -> str:
    """Return why a pod was lost, as far as the recording says."""
    reason = disruption_of(lost.pod)
    why = _DISRUPTIONS.get(reason, "")
    if not why:
        why = "its node went away" if _node_went(view, lost) else "for a reason that the recording does not show"
    return f"{why} ({reason})" if reason else why


def _node_went(view: TraceView, lost: LostPod) -> bool:
    """Return whether a pod's node was deleted, or not Ready any more, when its replacement was created."""
    name = view.node_name_of(lost.pod)
    until = max(version.received_at for version in lost.successor.versions[:1])
    for node in (node for node in view.objects("nodes") if node.name == name):
        for version in node.versions:
            if lost.pod.versions[0].received_at <= version.received_at <= max(until, lost.end.seen_at) + _NODE_SLACK:
                silent = condition(version.object, "Ready").get("status") in ("False", "Unknown")
                if version.kind == "DELETED" or (silent and _was_ready(node, version)):
                    return True
    return any(
        event.involved_kind == "Node" and event.involved_name == name and event.reason in _NODE_ENDS
        for event in view.events
    )


def _was_ready(node: History, version: Version) -> bool:
    return any(condition_true(v.object, "Ready") for v in node.versions if v.received_at < version.received_at)


def _restart_flags(view: TraceView) -> list[Flag]:
    return [
        Flag("restart", f"container {status.get('name')} of {pod.name} was restarted {status['restartCount']} times")
        for pod in view.pods
        for status in container_statuses(pod.last)
        if isinstance(status.get("restartCount"), int) and status["restartCount"] > 0
    ]


def _lifetime_flags(view: TraceView) -> Iterator[Flag]:
    """Flag objects that were created more than once, or deleted before their creation, by the API server's clock."""
    for (resource, uid), told in sorted(view.lifetimes.items()):
        item = view.object_by_uid(resource, uid)
        named = f"{resource} {item.name if item else uid}"
        created = {stamp.at for life in told if (stamp := parse_stamp(life[0]))}
        deleted = {stamp.at for life in told if (stamp := parse_stamp(life[1]))}
        if len(created) > 1:
            yield Flag("contradiction", f"{named} has versions with different creationTimestamps")
        if created and deleted and min(deleted) < min(created):
            yield Flag("contradiction", f"{named} was deleted before it was created")
