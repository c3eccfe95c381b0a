"""Follows one pod: whether it has a node, its containers, and how it ended."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.blockers.before_start import before_start, missing
from airflow_llm_provisioning.core.blockers.blocker import Blocker
from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.blockers.containers import Container, Found
from airflow_llm_provisioning.core.blockers.events import Events, Told
from airflow_llm_provisioning.core.blockers.sentences import plain
from airflow_llm_provisioning.core.blockers.unscheduled import Unscheduled
from airflow_llm_provisioning.core.capacity.refusals import Refusals
from airflow_llm_provisioning.core.fields import dig, items, mapping, objects, text
from airflow_llm_provisioning.core.instants import parse_stamp
from airflow_llm_provisioning.core.trace.objects import condition
from airflow_llm_provisioning.core.trace.ownership import claims_of

# A pod that ended like this says nothing about the next one.
_SHUTDOWN: Final = "in response to imminent node shutdown"
_LOST_NODE: Final = frozenset({"Preempted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "Shutdown"})
# Why another component took a pod away (condition DisruptionTarget, Kubernetes 1.26: concepts, "Pod disruption
# conditions"). The kubelet's own, TerminationByKubelet, stands for a full node too and is told by the pod's reason.
_TAKEN: Final = frozenset(
    {"PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC"}
)
_KILLS: Final = re.compile(r"Liveness|Startup")
# What keeps a pod from going: a kubelet that does not answer, or cannot end it (kubelet, FailedKillPod).
_NODE_LOST: Final = "NodeNotReady"
_KEEP_FROM_GOING: Final = frozenset({_NODE_LOST, "FailedKillPod", "ExceededGracePeriod"})
_OVERDUE: Final = timedelta(minutes=1)
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
        self._without_node = Unscheduled()

    def feed(self, obj: Mapping[str, Any], at: datetime) -> None:
        """Process a version of the pod."""
        self.obj, self.seen_at = obj, self.seen_at or at
        self.name, self.namespace = text(dig(obj, "metadata", "name")), text(dig(obj, "metadata", "namespace"))
        labels = mapping(dig(obj, "metadata", "labels"))
        self.cluster = text(labels.get("ray.io/cluster"))
        self.head = labels.get("ray.io/node-type") == "head"
        self.group = "head" if self.head else text(labels.get("ray.io/group")) or "workers"
        self.owners = frozenset(text(ref.get("uid")) for ref in objects(obj, "metadata", "ownerReferences"))
        specs = objects(obj, "spec", "initContainers")
        sidecars = {text(one.get("name")) for one in specs if one.get("restartPolicy") == "Always"}
        for field, init in (("initContainerStatuses", True), ("containerStatuses", False)):
            for status in objects(obj, "status", field):
                name = text(status.get("name"))
                known = self._containers.setdefault(name, Container(name, init=init, sidecar=name in sidecars))
                known.feed(status, at)
        self._mark("unscheduled", not self.scheduled, at)
        self._without_node.feed(obj, at)
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
    def accepted(self) -> bool:
        """Whether its node has taken it: a kubelet reports about a container, and has not refused the pod."""
        return self.phase != "Failed" and any(one.known for one in self._containers.values())

    @property
    def ran(self) -> bool:
        """Whether one of its containers runs or has ended."""
        return any(one.running or one.end_reason for one in self._containers.values())

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
        reason, sentence = self.failure
        return reason not in _LOST_NODE | _TAKEN and _SHUTDOWN not in sentence

    def blockers(
        self,
        events: Events,
        now: datetime,
        *,
        alone: bool,
        refusals: Refusals | None = None,
        node_ready_at: datetime | None = None,
    ) -> Iterator[Blocker]:
        """Yield what blocks it at `now`. `alone`: the head that it needs is not ready, so a crash may pass. `refusals`:
        of capacity. `node_ready_at`: when its node was last seen to be ready.
        """
        told = events.of("Pod", self.name, self.created_at)
        if self.phase == "Failed":
            yield self._failed()
        elif not self.scheduled:
            claims = [events.of("PersistentVolumeClaim", name) for name in claims_of(self.obj)]
            refused = refusals is not None and refusals.standing(self.name, now) is not None
            yield self._unscheduled(told, claims, now, refused=refused)
        elif not self.ready:
            if node_ready_at is not None:
                told = [one for one in told if one.reason != _NODE_LOST or one.at > node_ready_at]
            yield from self._not_ready(told, now, alone=alone)

    def _failed(self) -> Blocker:
        reason, sentence = self.failure
        return self._blocker(
            "pod_failed", "", reason, sentence, self._since["failed"], advice_for(f"{reason} {sentence}", "container")
        )

    def _unscheduled(self, told: list[Told], claims: list[list[Told]], now: datetime, *, refused: bool) -> Blocker:
        why = self._without_node.found(self.obj, told, claims, now)
        # The scheduler only knows the nodes that exist.
        advice = advice_for(why.telling, "node") or advice_for(why.sentence, "node")
        since = why.since or self._since.get("unscheduled", now)
        kind = "capacity" if refused and why.kind != "object_missing" else why.kind
        return self._blocker(kind, "", why.reason, why.sentence, since, advice)

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
            secrets = (one.message for one in told if one.reason == "FailedToRetrieveImagePullSecret")
            sentence = ". ".join([sentence.rstrip("."), *secrets])
            about = f"Pod {self._title} cannot pull {container.image} for {container.name}"
            return Blocker(
                kind=kind, about=about, reason=reason, sentence=sentence, since=since, advice=advice, pod=self.name
            )
        if kind == "container_refused" and missing(sentence):
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
        if self.ran:
            return []
        if (found := before_start(told)) is None:
            return []
        kind, one = found
        return [self._blocker(kind, "", one.reason, one.message, one.first_at, advice_for(one.message, "container"))]

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
        if lost := self._lost(told):
            where = text(dig(self.obj, "spec", "nodeName"))
            advice = advice_for(lost.message, "container")
            yield self._blocker("waiting", "", f"{lost.reason} {where}", lost.message, lost.first_at, advice)
            return
        pending = [one for one in self._containers.values() if not one.ready and not (one.init and one.end_reason)]
        # Init containers run before all others, and of these those that do not run yet are waited for first.
        waits = min(pending, key=lambda one: (not one.init, one.running), default=None)
        if self.seen_at is None:
            return
        if waits is None:
            ready = condition(self.obj, "Ready")
            reason, sentence = text(ready.get("reason")) or "not ready", plain(text(ready.get("message")))
            if self._containers:
                yield self._blocker("waiting", "", reason, sentence, self.seen_at, "")
            return
        pulling = next((one for one in told if one.reason in ("Pulling", "Pulled")), None)
        if not waits.running and pulling and pulling.reason == "Pulling":
            yield self._blocker("waiting", waits.name, pulling.reason, pulling.message, pulling.first_at, "")
            return
        reason = "running, not ready" if waits.running else waits.waiting_reason or "not started"
        if waits.running:
            told_by = (one for one in told if one.reason == "Unhealthy" and now - one.at < _PROBE_RECENT)
        else:
            told_by = (one for one in told if one.warning and one.component == "kubelet")
        sentence = next((one.message for one in told_by), "")
        yield self._blocker("waiting", waits.name, reason, sentence, self.seen_at, "")

    def overdue(self, events: Events, now: datetime) -> Iterator[Blocker]:
        """Yield that it is still there, long after it should have been deleted: no pod of its name can follow."""
        due = parse_stamp(dig(self.obj, "metadata", "deletionTimestamp"))
        if due is None or now - due.at < _OVERDUE:
            return
        told = events.of("Pod", self.name, self.created_at)
        one = next((one for one in told if one.reason in _KEEP_FROM_GOING), None)
        finalizers = [name for name in items(dig(self.obj, "metadata", "finalizers")) if isinstance(name, str)]
        sentence = f"{one.reason}: {one.message}" if one else ""
        sentence = f"finalizers {', '.join(finalizers)}" if finalizers else sentence
        yield self._blocker("waiting", "", "being deleted", sentence, due.at, advice_for(sentence, "container"))

    def _lost(self, told: list[Told]) -> Told | None:
        """Return the event of a node that does not answer, unless its kubelet has said something since."""
        lost = next((one for one in told if one.reason == _NODE_LOST), None)
        back = lost and any(one.component == "kubelet" and one.at > lost.at for one in told)
        return None if back else lost

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
    def _title(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def _blocker(self, kind: str, container: str, reason: str, sentence: str, since: datetime, advice: str) -> Blocker:
        about = f"Pod {self._title}, container {container}" if container else f"Pod {self._title}"
        return Blocker(
            kind=kind, about=about, reason=reason, sentence=sentence, since=since, advice=advice, pod=self.name
        )


def _probes_that_killed(told: list[Told]) -> list[str]:
    """Return what the kubelet says about a container that a failing probe ended."""
    killed = next((one.message for one in told if one.reason == "Killing" and "probe" in one.message), "")
    failed = next((one.message for one in told if one.reason == "Unhealthy" and _KILLS.match(one.message)), "")
    return [message for message in (killed, failed) if message]
