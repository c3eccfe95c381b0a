"""The one reader of blockers: it sorts a recording's lines to those who understand them, and puts their answers in
order.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.blockers.blocker import Blocker, comes_with_time, in_order
from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.blockers.engine import EngineLogs
from airflow_llm_provisioning.core.blockers.events import Events
from airflow_llm_provisioning.core.blockers.operator import Operator
from airflow_llm_provisioning.core.blockers.pods import Pod
from airflow_llm_provisioning.core.blockers.sentences import plain, points_elsewhere
from airflow_llm_provisioning.core.blockers.serve import Serve
from airflow_llm_provisioning.core.capacity.refusals import Refusals
from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.trace.format import Line
from airflow_llm_provisioning.core.trace.objects import condition_true
from airflow_llm_provisioning.core.trace.ownership import head_services

# The same end of so many pods of one group, one after the other, is a crash loop across pods.
SAME_PODS: Final = 3
_MOST_ALIKE: Final = 3


class Blockers:
    """What blocks one RayService, updated line by line. Lines of other RayServices change nothing.

    `uid`: of the RayService, if known. Ownership follows the uid, the owner references, and the RayCluster's name in
    the status.
    """

    def __init__(self, name: str, namespace: str, *, uid: str | None = None) -> None:
        self._name, self._namespace, self._uid = name, namespace, uid
        self._operator, self._events, self._engine = Operator(), Events(), EngineLogs()
        self._refusals = Refusals()
        # By the name of the RayCluster; empty where the status names none.
        self._serve: dict[str, Serve] = {}
        self._pods: dict[str, Pod] = {}
        # Name of a RayCluster -> its uid, or None.
        self._clusters: dict[str, str | None] = {}
        self._current: tuple[str, ...] = ()
        # Name of a Service -> the RayCluster that it selects.
        self._selected: dict[str, str] = {}
        self._heads: dict[str, str] = {}
        # Node -> when it was last seen to be ready.
        self._nodes_ready: dict[str, datetime] = {}
        # (RayCluster, group, reason) -> pods that ended so, by uid.
        self._ended: dict[tuple[str, str, str], dict[str, tuple[datetime, str, str]]] = {}
        # Of these, those whose nodes refused every pod before a container ran.
        self._refused: set[tuple[str, str, str]] = set()

    def feed(self, line: Line) -> None:
        """Process one line. Unreadable lines change nothing."""
        received_at = parse_instant(mapping(line).get("received_at"))
        if received_at is None:
            return
        resource = line.get("resource")
        if resource == "serve-rest":
            self._answer(line, mapping(line.get("object")), received_at)
        elif resource == "ray-log-file":
            self._engine.feed(text(line.get("node_ip")), text(line.get("filename")), text(line.get("object")))
        elif resource == "pod-log":
            if container := text(line.get("previous_of")):
                self._engine.feed_previous(container, text(line.get("object")))
        else:
            self._object(text(resource), text(line.get("type")), mapping(line.get("object")), received_at)

    def at(self, now: datetime) -> tuple[Blocker, ...]:
        """Return what blocks at `now`, the most telling first; empty if nothing does."""
        ours = [pod for pod in self._pods.values() if self._is_ours(pod)]
        pods = [pod for pod in ours if not pod.going]
        heads = [pod for pod in pods if pod.head]
        exist = {"head": bool(heads), "worker": len(pods) > len(heads)}
        found = [one for cluster in ("", *self._current) for one in self._serve_of(cluster).blockers()]
        found += self._operator.blockers(self._events, self._current, pods=exist)
        alone = bool(heads) and not any(pod.ready for pod in heads)
        for pod in pods:
            ready_at = self._nodes_ready.get(text(dig(pod.obj, "spec", "nodeName")))
            told = pod.blockers(self._events, now, alone=alone, refusals=self._refusals, node_ready_at=ready_at)
            found += self._judged(pod, told)
        found += self._of_groups(pods)
        found += self._capacity([pod.name for pod in pods if not pod.scheduled], now)
        overdue = [one for pod in ours if pod.going for one in pod.overdue(self._events, now)]
        if not found and not pods and not overdue:
            found += self._operator.waiting(self._current)
        found += overdue
        return in_order(found)

    def ending(self, now: datetime, graces: Mapping[str, float | None]) -> Blocker | None:
        """Return the blocker because of which the wait ends at `now`, or None. `graces`: see `grace_periods`."""
        return self.judged(now, graces)[0]

    def judged(self, now: datetime, graces: Mapping[str, float | None]) -> tuple[Blocker | None, datetime | None]:
        """Return the blocker because of which the wait ends at `now`, or None, and when time alone can change that: no
        later than then it has to be asked again, also without a further line; None: never.
        """
        ends = [(one, ends_at) for one in self.at(now) if (ends_at := one.ends_at(graces)) is not None]
        ending = next((one for one, ends_at in ends if now >= ends_at), None)
        if comes_with_time(graces):
            return ending, now
        return ending, min((ends_at for _, ends_at in ends if ends_at > now), default=None)

    def told_as_end(self, ending: Blocker, now: datetime) -> str:
        """Return the reason of an end: the blocker that ends the wait, what is behind it, and who shares its fate."""
        alike = [one.about for one in self.at(now) if one.kind == ending.kind and one.about != ending.about]
        told = [one.told(now) for one in (ending, *self._behind(ending, now))]
        return " ".join([*told, *([f"Alike: {'; '.join(alike[:_MOST_ALIKE])}."] if alike else [])])

    def _behind(self, blocker: Blocker, now: datetime) -> tuple[Blocker, ...]:
        """Return what may be the cause of a blocker whose sentence only points elsewhere: how containers ended."""
        if not points_elsewhere(blocker.sentence):
            return ()
        pods = [pod for pod in self._pods.values() if self._is_ours(pod)]
        return in_order(one for pod in pods for one in pod.ended(self._events, now) if one.about != blocker.about)

    def engine_error(self) -> tuple[str, str, str] | None:
        """Return the last error in a log: whose it is, the sentence and an advice (or empty); None without one."""
        found = self._engine.last_error()
        return (*found, advice_for(found[1], "engine")) if found else None

    def _object(self, resource: str, kind: str, obj: Mapping[str, Any], at: datetime) -> None:
        match resource:
            case "rayservices":
                self._rayservice(obj, kind, at)
            case "rayclusters":
                self._raycluster(obj, at)
            case "pods":
                self._pod(obj, kind, at)
            case "services":
                selected = text(dig(obj, "spec", "selector", "ray.io/cluster"))
                self._selected[text(dig(obj, "metadata", "name"))] = selected
            case "nodes":
                self._node(obj, at)
            case "nodeclaims":
                self._refusals.feed_claim(obj, at, deleted=kind == "DELETED")
            case "events" | "events.events.k8s.io" if kind != "DELETED":
                self._events.feed(obj, at)
                self._refusals.feed_event(obj, at)

    def _node(self, obj: Mapping[str, Any], at: datetime) -> None:
        if condition_true(obj, "Ready"):
            self._nodes_ready[text(dig(obj, "metadata", "name"))] = at

    def _rayservice(self, obj: Mapping[str, Any], kind: str, at: datetime) -> None:
        metadata = mapping(obj.get("metadata"))
        if metadata.get("name") != self._name or metadata.get("namespace", self._namespace) != self._namespace:
            return
        uid = text(metadata.get("uid"))
        if self._uid is None and uid and not metadata.get("deletionTimestamp"):
            self._uid = uid
        if self._uid != uid or kind == "DELETED" or metadata.get("deletionTimestamp"):
            return
        self._operator.feed(obj, at)
        named = []
        for part in ("pendingServiceStatus", "activeServiceStatus"):
            status = mapping(dig(obj, "status", part))
            cluster = text(status.get("rayClusterName"))
            if cluster:
                self._clusters.setdefault(cluster, None)
                named.append(cluster)
            self._serve_of(cluster).feed_status(status.get("applicationStatuses"), at)
        self._current = tuple(named[:1]) or self._current

    def _raycluster(self, obj: Mapping[str, Any], at: datetime) -> None:
        owners = {text(mapping(ref).get("uid")) for ref in items(dig(obj, "metadata", "ownerReferences"))}
        name, uid = text(dig(obj, "metadata", "name")), text(dig(obj, "metadata", "uid"))
        if name in self._clusters or (self._uid and self._uid in owners):
            self._clusters[name] = uid or None
            self._heads |= dict.fromkeys(head_services(obj), name)
            self._current = self._current or (name,)
            self._operator.feed_cluster(obj, at)

    def _pod(self, obj: Mapping[str, Any], kind: str, at: datetime) -> None:
        uid = text(dig(obj, "metadata", "uid")) or text(dig(obj, "metadata", "name"))
        if not uid:
            return
        pod = self._pods.setdefault(uid, Pod())
        accepted = pod.accepted
        pod.feed(obj, at)
        if self._is_ours(pod):
            self._refusals.feed_pod(obj)
        reason, sentence = pod.failure
        key = pod.cluster, pod.group, reason
        if reason and pod.may_repeat:
            self._refused = self._refused - {key} if pod.ran else self._refused | ({key} - self._ended.keys())
            self._ended.setdefault(key, {}).setdefault(uid, (at, pod.name, sentence))
        if pod.ready:
            self._forget(pod, self._ended)
        elif pod.accepted and not accepted:
            # Device plugins and kubelets refuse pods while they start. What a node takes then is no more refused.
            self._forget(pod, self._refused)
        if kind == "DELETED":
            self._pods.pop(uid, None)

    def _forget(self, pod: Pod, ends: Collection[tuple[str, str, str]]) -> None:
        """Forget how the pods of this pod's group ended, of `ends`."""
        gone = {key for key in ends if key[:2] == (pod.cluster, pod.group)}
        self._ended = {key: kept for key, kept in self._ended.items() if key not in gone}

    def _answer(self, line: Line, obj: Mapping[str, Any], at: datetime) -> None:
        service = text(line.get("service"))
        if line.get("status_code", 200) != 200:
            return
        usual = {f"{name}-head-svc": name for name in self._clusters}
        cluster = self._selected.get(service) or (usual | self._heads).get(service, "")
        if cluster in self._clusters:
            self._serve_of(cluster).feed_answer(obj.get("applications"), at)

    def _serve_of(self, cluster: str) -> Serve:
        return self._serve.setdefault(cluster, Serve())

    def _is_ours(self, pod: Pod) -> bool:
        """Return whether a pod belongs to the RayCluster that is to serve next; the one before it proves nothing."""
        uids = {self._clusters.get(name) for name in self._current} - {None}
        return pod.cluster in self._current or bool(uids & pod.owners)

    def _judged(self, pod: Pod, found: Iterator[Blocker]) -> Iterator[Blocker]:
        """Yield a pod's blockers; none of a worker that no replica needs, because all have their place elsewhere."""
        address = text(dig(pod.obj, "status", "podIP"))
        serve = self._serve_of(pod.cluster)
        if not pod.head and serve.all_placed and not serve.hosts(pod.name, address):
            return
        yield from found

    def _of_groups(self, pods: list[Pod]) -> Iterator[Blocker]:
        """Yield the groups whose pods end alike, one after the other."""
        for (cluster, group, reason), ended in self._ended.items():
            if len(ended) < SAME_PODS or cluster not in self._current:
                continue
            since, name, sentence = list(ended.values())[SAME_PODS - 1]
            yield Blocker(
                kind="crash_loop",
                about=f"Pods of group {group} of RayCluster {cluster} (the last one {name})",
                reason=reason,
                sentence=f"{len(ended)} pods ended like this, one after the other: {sentence}",
                since=since,
                advice=advice_for(f"{reason} {sentence}", "container"),
                pod=name,
            )

    def _capacity(self, pods: list[str], now: datetime) -> Iterator[Blocker]:
        """Yield what was refused to pods without a node: a NodeClaim, a node group, a node that was taken back."""
        for one in self._refusals.of_others(pods, now):
            yield Blocker(
                kind="capacity",
                about=f"{one.about_kind} {one.about}",
                reason=one.reason,
                sentence=plain(one.sentence),
                since=one.first_at,
                advice=advice_for(f"{one.reason} {one.sentence}", "node"),
            )
