"""Reads why a pod has no node, in the sentences of the scheduler, of node autoscalers and of its volume claims."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from airflow_llm_provisioning.core.blockers.events import Told
from airflow_llm_provisioning.core.blockers.sentences import plain
from airflow_llm_provisioning.core.fields import dig, objects, text
from airflow_llm_provisioning.core.trace.objects import condition

# What no new node changes (kube-scheduler, volumebinding and dynamicresources).
_NO_NODE_HELPS: Final = re.compile(
    r"(?:persistentvolumeclaim|resourceclaim|deviceclass|device class)\w* \"?[^\"]*\"? ?"
    r"(?:not found|does not exist|is being deleted)"
    r"|non-?existent (?:persistentvolume|pv)",
    re.IGNORECASE,
)
# What keeps an unbound claim from its volume, also on new nodes (persistentvolume-controller, provisioners of CSI).
_NO_VOLUME_COMES: Final = re.compile(
    r"storageclass\S* \S+ not found|no storage class is set|VolumeCapabilities is invalid|multi writer", re.IGNORECASE
)
_UNBOUND: Final = "unbound immediate PersistentVolumeClaims"
# All other events of a pod without a node are of node autoscalers: cluster-autoscaler, GKE, Karpenter, Luna.
_SCHEDULERS_OWN: Final = frozenset({"FailedScheduling", "Scheduled", "Preempted"})
_GATED: Final = "SchedulingGated"
_USUAL_SCHEDULER: Final = "default-scheduler"


class Why(NamedTuple):
    """Why a pod has no node. `kind`: of blocker. `telling`: what tells most of the cause, as a node autoscaler's
    sentence; may be empty. `since`: None: since the pod has no node.
    """

    kind: str
    reason: str
    sentence: str
    telling: str
    since: datetime | None = None


class Unscheduled:
    """The time of a pod without a node, updated with every version of it."""

    def __init__(self) -> None:
        self._lasting = _Lasting()
        self._hopeless_since: datetime | None = None

    def feed(self, pod: Mapping[str, Any], at: datetime) -> None:
        """Process a version of the pod."""
        sentence = plain(text(condition(pod, "PodScheduled").get("message")))
        self._lasting.feed(sentence, at)
        hopeless = bool(_NO_NODE_HELPS.search(sentence))
        self._hopeless_since = (self._hopeless_since or at) if hopeless else None

    def found(
        self, pod: Mapping[str, Any], told: Sequence[Told], claims: Sequence[Sequence[Told]], now: datetime
    ) -> "Why":
        """Return why the pod has no node.

        `told`, `claims`: the events of the pod and of each of its claims, newest first.
        """
        scheduled = condition(pod, "PodScheduled")
        event = next((one for one in told if one.reason == "FailedScheduling" and _of_scheduler(one)), None)
        reason = event.reason if event else text(scheduled.get("reason")) or "NotScheduled"
        sentence = plain(text(scheduled.get("message"))) or (event.message if event else "")
        sentence = sentence or _unseen_by_schedulers(pod)
        if _NO_NODE_HELPS.search(sentence):
            return Why("object_missing", reason, sentence, sentence, self._hopeless_since)
        if scheduled.get("reason") == _GATED and (gates := _gates(pod)):
            return Why("unschedulable", _GATED, f"{sentence}: {', '.join(gates)}", sentence)
        volume = next((claim[0] for claim in claims if claim and _NO_VOLUME_COMES.search(claim[0].message)), None)
        if volume and _UNBOUND in sentence:
            whole = f"{sentence.rstrip('.')}. {_told_by(volume)}"
            return Why("object_missing", reason, whole, volume.message, volume.first_at)
        longest = self._lasting.longest(now)
        if longest and longest != sentence:
            sentence = f"{sentence.rstrip('.')}. For most of the time: {longest}"
        others = [_told_by(one) for one in _others(told, claims)]
        for one in others:
            sentence = f"{sentence.rstrip('.')}. {one}"
        kind = "unschedulable" if scheduled or event else "waiting"
        return Why(kind, reason, sentence, ". ".join(others))


def _others(told: Sequence[Told], claims: Sequence[Sequence[Told]]) -> Iterator[Told]:
    """Yield the newest event of another component than scheduler and kubelet, and that of each claim."""
    own = next((one for one in told if not _of_scheduler(one) and one.component != "kubelet"), None)
    yield from filter(None, [own, *(next(iter(claim), None) for claim in claims)])


def _told_by(one: Told) -> str:
    who = f"{one.kind} {one.name}" if one.kind != "Pod" else one.component or "node autoscaler"
    return f"{who}, {one.reason}: {one.message}"


def _of_scheduler(event: Told) -> bool:
    return event.reason in _SCHEDULERS_OWN and ("scheduler" in event.component or not event.component)


def _gates(pod: Mapping[str, Any]) -> list[str]:
    return [name for gate in objects(pod, "spec", "schedulingGates") if (name := text(gate.get("name")))]


def _unseen_by_schedulers(pod: Mapping[str, Any]) -> str:
    own = text(dig(pod, "spec", "schedulerName")) or _USUAL_SCHEDULER
    if own == _USUAL_SCHEDULER:
        return "no scheduler has reported about it yet"
    return f"its scheduler {own!r} has not reported about it yet: check that it runs"


class _Lasting:
    """Sentences that replace one another, and how long each of them stood."""

    def __init__(self) -> None:
        self._stood: dict[str, timedelta] = {}
        self._now: tuple[str, datetime] | None = None

    def feed(self, sentence: str, at: datetime) -> None:
        """Note the sentence that stands from `at` on; empty: none."""
        if self._now and self._now[0] == sentence:
            return
        self._stood = self._until(at)
        self._now = (sentence, at) if sentence else None

    def longest(self, now: datetime) -> str:
        """Return the sentence that stood longest until `now`; empty if there was none."""
        stood = self._until(now)
        return max(stood, key=lambda one: stood[one], default="")

    def _until(self, now: datetime) -> dict[str, timedelta]:
        if self._now is None:
            return self._stood
        sentence, since = self._now
        return {**self._stood, sentence: self._stood.get(sentence, timedelta()) + (now - since)}
