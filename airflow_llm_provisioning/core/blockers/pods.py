"""Follows one pod: its node, its volumes, its containers and how it ended.

The sentences are the scheduler's, the node autoscaler's and the kubelet's own.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.blockers.blocker import Blocker
from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.blockers.containers import Container, Found
from airflow_llm_provisioning.core.blockers.events import Events, Told
from airflow_llm_provisioning.core.blockers.sentences import plain
from airflow_llm_provisioning.core.capacity.refusals import Refusals
from airflow_llm_provisioning.core.fields import dig, mapping, objects, text
from airflow_llm_provisioning.core.instants import parse_stamp
from airflow_llm_provisioning.core.trace.objects import condition

# What no new node changes (kube-scheduler, volumebinding and dynamicresources).
_NO_NODE_HELPS: Final = re.compile(
    r"(?:persistentvolumeclaim|resourceclaim|deviceclass)\w* \"?[^\"]*\"? ?(?:not found|is being deleted)"
    r"|non-?existent persistentvolume",
    re.IGNORECASE,
)
_MISSING: Final = re.compile(
    r"(?:secret|configmap|persistentvolumeclaim|serviceaccount)s? .*(?:not found|does not exist)"
    r"|references non-existent",
    re.IGNORECASE,
)
# Events of the kubelet and the attach-detach controller while a pod's containers cannot be created.
_BEFORE_START: Final = frozenset(
    {"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "NetworkNotReady"}
)
# The kubelet's next steps, after the volumes and the sandbox.
_AFTER_VOLUMES: Final = frozenset({"Pulling", "Pulled", "Created", "Started"})
# It sums up what other events of that reason say in detail (kubelet, volumemanager).
_SUMMARY: Final = re.compile(r"^Unable to attach or mount volumes")
# A detail that was not repeated for so long is over: the kubelet tries at least every 2 min 2 s.
_REPEATED_WITHIN: Final = timedelta(minutes=5)
# All other events of a pod without a node are of node autoscalers: cluster-autoscaler, GKE, Karpenter, Luna.
_SCHEDULERS_OWN: Final = frozenset({"FailedScheduling", "Scheduled", "Preempted"})
# A pod that ended like this says nothing about the next one.
_LOST_NODE: Final = frozenset({"Preempted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "Shutdown"})
# Why another component took a pod away (condition DisruptionTarget, Kubernetes 1.26: concepts, "Pod disruption
# conditions"). The kubelet's own, TerminationByKubelet, stands for a full node too and is told by the pod's reason.
_TAKEN: Final = frozenset(
    {"PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC"}
)
_KILLS: Final = re.compile(r"Liveness|Startup")
_USUAL_SCHEDULER: Final = "default-scheduler"
_SKEW: Final = timedelta(seconds=2)
_PROBE_RECENT: Final = timedelta(minutes=2)


class Pod:
    """One pod, updated with every version of it. `blockers` says what blocks it at a moment."""

    def __init__(self) -> None:
        self.obj: Mapping[str, Any] = {}
        self.name = self.namespace = self.cluster = self.group = ""
        self.owners: frozenset[str] = frozenset()
        self.head = False
        self.seen_at: datetime | None = None
        self._containers: dict[str, Container] = {}
        self._since: dict[str, datetime] = {}
        self._refusals = _Lasting()

    def feed(self, obj: Mapping[str, Any], at: datetime) -> None:
        """Process a version of the pod."""
        self.obj, self.seen_at = obj, self.seen_at or at
        self.name, self.namespace = text(dig(obj, "metadata", "name")), text(dig(obj, "metadata", "namespace"))
        labels = mapping(dig(obj, "metadata", "labels"))
        self.cluster = text(labels.get("ray.io/cluster"))
        self.head = labels.get("ray.io/node-type") == "head"
        self.group = "head" if self.head else text(labels.get("ray.io/group")) or "workers"
        self.owners = frozenset(text(ref.get("uid")) for ref in objects(obj, "metadata", "ownerReferences"))
        for field, init in (("initContainerStatuses", True), ("containerStatuses", False)):
            for status in objects(obj, "status", field):
                name = text(status.get("name"))
                self._containers.setdefault(name, Container(name, init=init)).feed(status, at)
        self._mark("unscheduled", not self.scheduled, at)
        self._refusals.feed(plain(text(condition(obj, "PodScheduled").get("message"))), at)
        self._mark("failed", self.phase == "Failed", at)

    @property
    def phase(self) -> str:
        """Its phase."""
        return text(dig(self.obj, "status", "phase"))

    @property
    def going(self) -> bool:
        """Whether it is being deleted."""
        return bool(dig(self.obj, "metadata", "deletionTimestamp"))

    @property
    def ready(self) -> bool:
        """Whether it is ready."""
        return condition(self.obj, "Ready").get("status") == "True"

    @property
    def scheduled(self) -> bool:
        """Whether it has a node: the scheduler says so, or a kubelet has reported about a container."""
        if dig(self.obj, "spec", "nodeName"):
            return True
        told = condition(self.obj, "PodScheduled").get("status")
        return told == "True" if told else any(one.known for one in self._containers.values())

    @property
    def created_at(self) -> datetime | None:
        """When it was created; None if unknown. Stamps of events may be a little earlier."""
        stamp = parse_stamp(dig(self.obj, "metadata", "creationTimestamp"))
        return stamp.at - _SKEW if stamp else None

    @property
    def failure(self) -> tuple[str, str]:
        """Why its phase is `Failed`: reason and sentence of the pod, else of a container; empty if it is not."""
        if self.phase != "Failed":
            return "", ""
        taken = condition(self.obj, "DisruptionTarget")
        if taken.get("status") == "True" and taken.get("reason") in _TAKEN:
            return text(taken["reason"]), plain(text(taken.get("message")))
        ended = next((one for one in self._containers.values() if one.end_reason), None)
        reason = text(dig(self.obj, "status", "reason")) or (ended.end_reason if ended else "") or "Failed"
        message = plain(text(dig(self.obj, "status", "message")))
        if not message and ended and ended.exit_code is not None:
            message = f"container {ended.name} ended with exit code {ended.exit_code}"
        return reason, message

    @property
    def may_repeat(self) -> bool:
        """Whether another pod is likely to fail like this one."""
        return self.failure[0] not in _LOST_NODE | _TAKEN

    def blockers(
        self, events: Events, now: datetime, *, alone: bool, refusals: Refusals | None = None
    ) -> Iterator[Blocker]:
        """Yield what blocks it at `now`. `alone`: the head that it needs is not ready, so a crash may pass. `refusals`:
        of capacity.
        """
        told = events.of("Pod", self.name, self.created_at)
        if self.phase == "Failed":
            yield self._failed()
        elif not self.scheduled:
            claims = [events.of("PersistentVolumeClaim", name) for name in claims_of(self.obj)]
            refused = refusals is not None and refusals.standing(self.name, now) is not None
            yield self._unscheduled(told, claims, now, refused=refused)
        elif not self.ready:
            yield from self._not_ready(told, now, alone=alone)

    def _failed(self) -> Blocker:
        reason, sentence = self.failure
        return self._blocker(
            "pod_failed", "", reason, sentence, self._since["failed"], advice_for(f"{reason} {sentence}", "container")
        )

    def _unscheduled(self, told: list[Told], claims: list[list[Told]], now: datetime, *, refused: bool) -> Blocker:
        scheduled = condition(self.obj, "PodScheduled")
        event = next((one for one in told if one.reason == "FailedScheduling" and _of_scheduler(one)), None)
        reason = event.reason if event else text(scheduled.get("reason")) or "NotScheduled"
        sentence = plain(text(scheduled.get("message"))) or (event.message if event else "")
        sentence = sentence or self._unseen_by_schedulers
        since = self._since.get("unscheduled", now)
        if _NO_NODE_HELPS.search(sentence):
            return self._blocker("object_missing", "", reason, sentence, since, advice_for(sentence, "node"))
        longest = self._refusals.longest(now)
        if longest and longest != sentence:
            sentence = f"{sentence.rstrip('.')}. For most of the time: {longest}"
        others = [next((one for one in told if not _of_scheduler(one) and one.component != "kubelet"), None)]
        others += [next(iter(claim), None) for claim in claims]
        for one in filter(None, others):
            who = one.component or "node autoscaler"
            who = f"{one.kind} {one.name}" if one.kind != "Pod" else who
            sentence = f"{sentence.rstrip('.')}. {who}, {one.reason}: {one.message}"
        kind = "unschedulable" if scheduled or event else "waiting"
        advice = advice_for(sentence, "node")
        return self._blocker("capacity" if refused else kind, "", reason, sentence, since, advice)

    def _not_ready(self, told: list[Told], now: datetime, *, alone: bool) -> Iterator[Blocker]:
        found = [one for container in self._containers.values() if (one := self._of_container(container, told, now))]
        if alone and not self.head:
            found = [self._as_passing(one) for one in found]
        found += self._before_start(told)
        found += [] if found else self._liveness(told, now)
        yield from found or self._starting(told, now)

    def _of_container(self, container: Container, told: list[Told], now: datetime) -> Blocker | None:
        pull = next((one.message for one in told if one.reason == "Failed" and "pull" in one.message), "")
        found = container.found(now, pull)
        if found is None:
            return None
        kind, reason, sentence, since = found
        if kind in ("crash_loop", "crashed"):
            return self._of_end(container, found, told)
        advice = advice_for(f"{reason} {sentence}", "image" if kind.startswith("image") else "container")
        if kind.startswith("image"):
            about = f"Pod {self._title} cannot pull {container.image} for {container.name}"
            return Blocker(
                kind=kind, about=about, reason=reason, sentence=sentence, since=since, advice=advice, pod=self.name
            )
        if kind == "container_refused" and _MISSING.search(sentence):
            kind = "object_missing"
        return self._blocker(kind, container.name, reason, sentence, since, advice)

    def _of_end(self, container: Container, found: Found, told: list[Told]) -> Blocker:
        kind, reason, sentence, since = found
        if container.exit_code in (137, 143) and "OOM" not in reason:
            sentence = "; ".join([sentence, *_probes_that_killed(told)])
        advice = advice_for(f"{reason} {sentence}", "container")
        return self._blocker(kind, container.name, reason, sentence, since, advice)

    def _as_passing(self, one: Blocker) -> Blocker:
        """A worker may crash until the head answers, but its memory does not depend on the head."""
        if one.kind != "crash_loop" or "OOMKilled" in one.reason:
            return one
        return self._blocker("crashed", "", f"{one.about.rpartition(' ')[2]} {one.reason}", one.sentence, one.since, "")

    def _before_start(self, told: list[Told]) -> list[Blocker]:
        if any(one.running or one.end_reason for one in self._containers.values()):
            return []
        started = next((one.at for one in told if one.reason in _AFTER_VOLUMES), None)
        failed = [one for one in told if one.reason in _BEFORE_START and (started is None or one.at > started)]
        recent = [one for one in failed if failed[0].at - one.at < _REPEATED_WITHIN]
        for one in sorted(recent, key=lambda one: bool(_SUMMARY.match(one.message))):
            kind = "object_missing" if _MISSING.search(one.message) else "volume"
            advice = advice_for(one.message, "container")
            return [self._blocker(kind, "", one.reason, one.message, one.first_at, advice)]
        return []

    def _liveness(self, told: list[Told], now: datetime) -> list[Blocker]:
        for one in told:
            if one.reason == "Unhealthy" and _KILLS.match(one.message) and now - one.at < _PROBE_RECENT:
                sentence = "; ".join(_probes_that_killed(told))
                return [
                    self._blocker("liveness", "", one.reason, sentence, one.first_at, advice_for(sentence, "container"))
                ]
        return []

    def _starting(self, told: list[Told], now: datetime) -> Iterator[Blocker]:
        """Yield what it is doing, where nothing is wrong: a pull that lasts, or a container that is not ready."""
        pending = [one for one in self._containers.values() if not one.ready and not (one.init and one.end_reason)]
        # Init containers run before all others, and of these those that do not run yet are waited for first.
        waits = min(pending, key=lambda one: (not one.init, one.running), default=None)
        if waits is None or self.seen_at is None:
            return
        pulling = next((one for one in told if one.reason in ("Pulling", "Pulled")), None)
        if not waits.running and pulling and pulling.reason == "Pulling":
            yield self._blocker("waiting", waits.name, pulling.reason, pulling.message, pulling.first_at, "")
            return
        reason = "running, not ready" if waits.running else waits.waiting_reason or "not started"
        probe = (one for one in told if one.reason == "Unhealthy" and now - one.at < _PROBE_RECENT)
        sentence = next((one.message for one in probe), "") if waits.running else ""
        yield self._blocker("waiting", waits.name, reason, sentence, self.seen_at, "")

    def ended(self, events: Events, now: datetime) -> Iterator[Blocker]:
        """Yield how its containers ended a short while ago, also where they run again."""
        told = events.of("Pod", self.name, self.created_at)
        for container in self._containers.values():
            if (found := container.last_end(now)) is not None:
                yield self._of_end(container, found, told)

    def _mark(self, what: str, holds: bool, at: datetime) -> None:
        if holds:
            self._since.setdefault(what, at)
        else:
            self._since.pop(what, None)

    @property
    def _unseen_by_schedulers(self) -> str:
        own = text(dig(self.obj, "spec", "schedulerName")) or _USUAL_SCHEDULER
        if own == _USUAL_SCHEDULER:
            return "no scheduler has reported about it yet"
        return f"its scheduler {own!r} has not reported about it yet: check that it runs"

    @property
    def _title(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def _blocker(self, kind: str, container: str, reason: str, sentence: str, since: datetime, advice: str) -> Blocker:
        about = f"Pod {self._title}, container {container}" if container else f"Pod {self._title}"
        return Blocker(
            kind=kind, about=about, reason=reason, sentence=sentence, since=since, advice=advice, pod=self.name
        )


def claims_of(pod: Mapping[str, Any]) -> list[str]:
    """Return the names of the volume claims of a pod."""
    found = (text(dig(volume, "persistentVolumeClaim", "claimName")) for volume in objects(pod, "spec", "volumes"))
    return [name for name in found if name]


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


def _probes_that_killed(told: list[Told]) -> list[str]:
    """Return what the kubelet says about a container that a failing probe ended."""
    killed = next((one.message for one in told if one.reason == "Killing" and "probe" in one.message), "")
    failed = next((one.message for one in told if one.reason == "Unhealthy" and _KILLS.match(one.message)), "")
    return [message for message in (killed, failed) if message]


def _of_scheduler(event: Told) -> bool:
    return event.reason in _SCHEDULERS_OWN and ("scheduler" in event.component or not event.component)
