"""Follows who was refused a node during a recording: pods, NodeClaims, node groups, nodes that were taken back.

A pod that waits for a node is not refused one until the cluster says so. A refusal is over when the pod has a node, or
when a machine for it is on its way.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.capacity.words import REFUSED, SPOT, refusal_kind, zones_in
from airflow_llm_provisioning.core.fields import dig, mapping, number, objects, text
from airflow_llm_provisioning.core.instants import parse_stamp
from airflow_llm_provisioning.core.trace.objects import condition
from airflow_llm_provisioning.core.trace.ownership import claims_of

# A machine that was asked for and has not joined by then is no refusal: cluster-autoscaler's max-node-provision-time,
# and Karpenter's registration limit.
JOINS_WITHIN: Final = timedelta(minutes=15)
_CLAIM_OF_VOLUME: Final = "PersistentVolumeClaim"
# Karpenter asks again after three minutes, a provisioner of volumes after at most five (external-provisioner,
# retry-interval-max); cluster-autoscaler leaves a node group alone for up to half an hour.
_RECENT: Final[Mapping[str, timedelta]] = {
    "NodeClaim": timedelta(minutes=10),
    _CLAIM_OF_VOLUME: timedelta(minutes=10),
    "ConfigMap": timedelta(minutes=35),
}
_STATUS: Final = "cluster-autoscaler-status"
_ASKED: Final = frozenset({"TriggeredScaleUp", "Nominated"})
_CLAIM: Final = re.compile(r"nodeclaim/([\w.-]+)")
_GROUP: Final = re.compile(r"\[\{(\S+) \d+->")
_ZONE_LABEL: Final = "topology.kubernetes.io/zone"
_SLACK: Final = timedelta(seconds=30)
_NO_NODES: Final = frozenset({"kubelet", "default-scheduler"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal, repeated `count` times within an hour. `kind`: of `words.KINDS`; `zones`: as far as they are told;
    `about_kind`, `about`: the object; `reason`, `sentence`: the cluster's own. Instants as the cluster stamps them.
    """

    kind: str
    zones: tuple[str, ...]
    about_kind: str
    about: str
    reason: str
    sentence: str
    first_at: datetime
    last_at: datetime
    count: int = 1

    @property
    def hour(self) -> datetime:
        """The hour in which it happened."""
        return self.first_at.replace(minute=0, second=0, microsecond=0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "kind": self.kind,
            "zones": list(self.zones),
            "about": f"{self.about_kind} {self.about}",
            "reason": self.reason,
            "sentence": self.sentence,
            "first_at": self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "count": self.count,
        }


@dataclass(slots=True)
class _Claim:
    """A NodeClaim: the zone it asks for, the node it became, and whether its machine was launched."""

    zones: tuple[str, ...] = ()
    node: str = ""
    launched: bool = False


class Refusals:
    """Every refusal of a recording. `region`: of the cluster, where it is known."""

    def __init__(self, region: str | None = None) -> None:
        self._region = region
        self._found: list[Refusal] = []
        # Claim -> what its condition says; its event, where there is one, says the same.
        self._unlaunched: dict[str, Refusal] = {}
        # Uid of an event -> how often it was counted.
        self._counted: dict[str, int] = {}
        # Pod -> when a machine was last asked for it, and for which claims and node groups.
        self._asked: dict[str, datetime] = {}
        self._asked_of: dict[str, set[str]] = {}
        self._claims: dict[str, _Claim] = {}
        self._hosts: set[str] = set()
        # Pod of the trial -> its volume claims.
        self._volumes: dict[str, list[str]] = {}

    @property
    def all(self) -> tuple[Refusal, ...]:
        """All of them, by their first instant."""
        told = {one.about for one in self._found if one.about_kind == "NodeClaim"}
        silent = [one for one in self._unlaunched.values() if one.about not in told]
        return tuple(sorted([*self._found, *silent], key=lambda one: (one.first_at, one.about, one.reason)))

    def feed_pod(self, pod: Mapping[str, Any]) -> None:
        """Remember the node of a pod of the trial, which may be taken back, and its volume claims."""
        self._hosts.add(text(dig(pod, "spec", "nodeName")))
        self._volumes[text(dig(pod, "metadata", "name"))] = claims_of(pod)

    def feed_claim(self, claim: Mapping[str, Any], at: datetime, *, deleted: bool) -> None:
        """Process a version of a NodeClaim; a failed launch is a refusal also without its event."""
        name = text(dig(claim, "metadata", "name"))
        known = self._claims.setdefault(name, _Claim())
        if deleted or dig(claim, "metadata", "deletionTimestamp"):
            known.launched = False
            return
        known.zones = _zones_of_claim(claim) or known.zones
        known.node = text(dig(claim, "status", "nodeName")) or known.node
        told = condition(claim, "Launched")
        known.launched = told.get("status") == "True"
        reason, message = text(told.get("reason")), text(told.get("message"))
        if told.get("status") != "True" and (kind := refusal_kind(message, reason)):
            stamp = parse_stamp(told.get("lastTransitionTime"))
            since = stamp.at if stamp else at
            zones = zones_in(message, self._region) or known.zones
            self._unlaunched[name] = Refusal(kind, zones, "NodeClaim", name, reason, message, since, since)

    def feed_event(self, event: Mapping[str, Any], received_at: datetime) -> None:
        """Process a version of an event, of either event API."""
        about = mapping(event.get("involvedObject") or event.get("regarding"))
        kind, name = text(about.get("kind")), text(about.get("name"))
        reason, message = text(event.get("reason")), text(event.get("message") or event.get("note"))
        at = _happened_at(event) or received_at
        if kind == "Pod" and reason in _ASKED:
            self._ask(name, message, at)
            return
        if not self._may_refuse(kind, name, event):
            return
        refused = refusal_kind(message, reason)
        if refused is None or (refused == SPOT and kind == "Node" and name not in self._hosts):
            return
        if refused == REFUSED and self._never_joined(name, at):
            return
        fresh = self._fresh(event)
        if fresh:
            self._add(refused, kind, name, reason, message, at, fresh)

    def standing(self, pod: str, now: datetime) -> Refusal | None:
        """Return the refusal because of which a pod without a node has none at `now`; None if there is none."""
        about = [one for one in self.all if self._concerns(one, pod) and one.first_at <= now]
        last = max(about, key=lambda one: one.last_at, default=None)
        if last is None or self._comes(pod):
            return None
        asked_at = self._asked.get(pod)
        if asked_at is not None and asked_at > last.last_at and now - asked_at > JOINS_WITHIN:
            return None
        within = _RECENT.get(last.about_kind)
        return None if within is not None and now - last.last_at > within else last

    def of_others(self, pods: Collection[str], now: datetime) -> Iterator[Refusal]:
        """Yield the newest refusal of every NodeClaim, node group and node that stands for one of these pods."""
        newest: dict[tuple[str, str], Refusal] = {}
        for one in self.all:
            recent = now - one.last_at <= _RECENT.get(one.about_kind, JOINS_WITHIN)
            if one.about_kind not in ("Pod", "RayCluster") and recent and any(self._concerns(one, pod) for pod in pods):
                newest[one.about_kind, one.about] = one
        yield from newest.values()

    def concerning(self, pods: Collection[str]) -> tuple[Refusal, ...]:
        """Return the refusals that concern one of the trial's pods, or the creation of pods."""
        return tuple(
            one for one in self.all if one.about_kind == "RayCluster" or any(self._concerns(one, pod) for pod in pods)
        )

    def _ask(self, pod: str, message: str, at: datetime) -> None:
        self._asked[pod] = max(at, self._asked.get(pod, at))
        named = _CLAIM.findall(message) + _GROUP.findall(message)
        self._asked_of.setdefault(pod, set()).update(named)

    def _concerns(self, one: Refusal, pod: str) -> bool:
        if one.about_kind == "Pod":
            return one.about == pod
        if one.about_kind == "RayCluster":
            return False
        if one.about_kind == _CLAIM_OF_VOLUME:
            return one.about in self._volumes.get(pod, ())
        if one.kind == SPOT:
            return one.about in self._hosts or self._claim(one.about).node in self._hosts
        asked_of = self._asked_of.get(pod)
        return not asked_of or one.about in asked_of or any(name in one.sentence for name in asked_of)

    def _comes(self, pod: str) -> bool:
        """Return whether a machine of a claim for this pod was launched and still exists."""
        return any(self._claim(name).launched for name in self._asked_of.get(pod, ()))

    def _claim(self, name: str) -> _Claim:
        return self._claims.get(name) or _Claim()

    def _never_joined(self, pod: str, at: datetime) -> bool:
        """Return whether a node group backs off for a machine that did not join in time, and not for a refused one."""
        asked_at = self._asked.get(pod)
        if asked_at is None or at - asked_at < JOINS_WITHIN - _SLACK:
            return False
        return not any(one.last_at >= asked_at for one in self._found if self._concerns(one, pod))

    @staticmethod
    def _may_refuse(kind: str, name: str, event: Mapping[str, Any]) -> bool:
        if kind == "ConfigMap":
            return name == _STATUS
        if kind not in ("Pod", "NodeClaim", "Node", "RayCluster", _CLAIM_OF_VOLUME):
            return False
        source = mapping(event.get("source") or event.get("deprecatedSource"))
        component = text(source.get("component") or event.get("reportingComponent") or event.get("reportingController"))
        return kind != "Pod" or component not in _NO_NODES

    def _fresh(self, event: Mapping[str, Any]) -> int:
        """Return how many occurrences of an event are new: both event APIs and later versions repeat the earlier."""
        uid = text(dig(event, "metadata", "uid"))
        told = number(event.get("count") or event.get("deprecatedCount") or dig(event, "series", "count"))
        count = max(1, int(told or 1))
        before = self._counted.get(uid, 0)
        self._counted[uid] = max(before, count)
        return max(0, count - before)

    def _add(
        self, kind: str, about_kind: str, about: str, reason: str, sentence: str, at: datetime, count: int
    ) -> None:
        zones = zones_in(sentence, self._region) or self._claim(about).zones
        made = Refusal(kind, zones, about_kind, about, reason, sentence, at, at, count)
        for place, one in enumerate(self._found):
            same = (one.kind, one.zones, one.about_kind, one.about, one.reason, one.hour)
            if same == (kind, zones, about_kind, about, reason, made.hour):
                self._found[place] = replace(
                    one, last_at=max(at, one.last_at), sentence=sentence, count=one.count + count
                )
                return
        self._found.append(made)


def _zones_of_claim(claim: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the one zone that a NodeClaim asks for; a choice of several tells nothing."""
    labelled = text(dig(claim, "metadata", "labels", _ZONE_LABEL))
    if labelled:
        return (labelled,)
    for rule in objects(claim, "spec", "requirements"):
        values = rule.get("values")
        if rule.get("key") == _ZONE_LABEL and rule.get("operator") == "In" and isinstance(values, list):
            return (text(values[0]),) if len(values) == 1 else ()
    return ()


def _happened_at(event: Mapping[str, Any]) -> datetime | None:
    for value in (
        dig(event, "series", "lastObservedTime"),
        event.get("lastTimestamp") or event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
        dig(event, "metadata", "creationTimestamp"),
    ):
        if (stamp := parse_stamp(value)) is not None:
            return stamp.at
    return None
