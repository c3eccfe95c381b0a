"""An index over a trace's lines: the RayService of the trial and all objects that belong to it, by uid.

A name may have been used before, and events of earlier trials outlive them by an hour. Ownership is therefore followed
from the RayService's uid. This module knows no milestone and no treatment.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from airflow_llm_provisioning.core.fields import dig, items, mapping, number, objects, text
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.core.manifests.groups import setup_of
from airflow_llm_provisioning.core.scaling import ScalingSetup
from airflow_llm_provisioning.core.trace.index import TraceIndex
from airflow_llm_provisioning.core.trace.lost_pods import LostPod, lost_pods_of
from airflow_llm_provisioning.core.trace.objects import (
    Answer,
    CloudEvidence,
    Event,
    History,
    Mark,
    condition_true,
    containers,
)
from airflow_llm_provisioning.core.trace.ownership import cluster_selected, head_services, is_serve_service
from airflow_llm_provisioning.core.trace.placement import EnginePlacement, engine_placement
from airflow_llm_provisioning.core.yaml_text import load_with_dates
from airflow_llm_provisioning.exceptions import ManifestError


class TraceView(TraceIndex):
    """Queries on a trace. It is built once from the lines, in any order, and does not change.

    Pods of the trial: `head`, `worker` (the one that decided), `engine_pods` and `workers`. Node of a pod:
    `node_of(pod)`. Events of an object: `events_of(pod, "Pulled")`. Environment of a container: `env_of(pod)`.
    Statements of the clouds: `evidence("snapshot_mounted")`. What was deployed: `trial` (from the header).
    """

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """The header's object; empty for a recording without one."""
        return next((obj for _, obj in self.recorder_lines.get("HEADER", ())), {})

    @property
    def trial(self) -> Mapping[str, Any]:
        """The header's description of the trial: cell, variant, workload, image, as given to the recorder."""
        return mapping(self.header.get("trial"))

    @property
    def origin(self) -> str | None:
        """`measured` or `simulated`; None if the trace does not state it."""
        return text(self.header.get("origin")) or None

    @property
    def end(self) -> Mapping[str, Any]:
        """The END line's object: {outcome, reason}; empty if the trace has none.

        The first one counts. A second one is of a triggerer that Airflow took for dead and that recorded beside its
        successor: it may have seen the teardown.
        """
        return next((obj for _, obj in self.recorder_lines.get("END", ())), {})

    @property
    def ended_at(self) -> datetime | None:
        """When the END line was written; None if the trace has none."""
        return next((at for at, _ in self.recorder_lines.get("END", ())), None)

    def marks(self, name: str | None = None) -> list[Mark]:
        """Return the trial's own marks, oldest first."""
        marks = [Mark(text(obj.get("mark")), at, obj) for at, obj in self.recorder_lines.get("MARK", ())]
        return sorted((m for m in marks if name in (None, m.name)), key=lambda mark: mark.at)

    def evidence(self, claim: str | None = None) -> list[CloudEvidence]:
        """Return the clouds' statements about a claim (or all statements)."""
        found = [
            CloudEvidence(
                text(obj.get("claim")), _truth(obj.get("holds")), text(obj.get("detail")), text(obj.get("source"))
            )
            for _, obj in self.recorder_lines.get("EVIDENCE", ())
        ]
        return [item for item in found if claim in (None, item.claim)]

    def objects(self, resource: str) -> list[History]:
        """Return every object of a resource (`pods`, `nodes`, ...), of any owner, oldest first."""
        return sorted(self.histories.get(resource, {}).values(), key=_age)

    def object_by_uid(self, resource: str, uid: str) -> History | None:
        """Return one object."""
        return self.histories.get(resource, {}).get(uid)

    @cached_property
    def rayservice(self) -> History | None:
        """The RayService of the trial: by the header's uid, else the first one that the watch added."""
        named = mapping(self.header.get("rayservice"))
        candidates = self.objects("rayservices")
        if named.get("uid"):
            return self.object_by_uid("rayservices", text(named["uid"]))
        if named.get("name"):
            candidates = [item for item in candidates if item.name == named["name"] and _in_namespace(item, named)]
        added = [item for item in candidates if item.versions[0].kind == "ADDED"]
        return next(iter(added or candidates), None)

    @property
    def name(self) -> str:
        """The RayService's name; empty if neither the header nor a watch has one."""
        return self.rayservice.name if self.rayservice else text(dig(self.header, "rayservice", "name"))

    @cached_property
    def rayclusters(self) -> list[History]:
        """The RayClusters that the RayService owns, oldest first; several after an upgrade."""
        owner = self.rayservice
        return [item for item in self.objects("rayclusters") if owner and item.owned_by(owner.uid)]

    @cached_property
    def raycluster(self) -> History | None:
        """The RayCluster that served first: the first active one, else the pending one, else the oldest."""
        names = [
            text(dig(version.object, "status", status, "rayClusterName"))
            for status in ("activeServiceStatus", "pendingServiceStatus")
            for version in (self.rayservice.versions if self.rayservice else ())
        ]
        by_name = {cluster.name: cluster for cluster in self.rayclusters}
        chosen = next((by_name[name] for name in names if name in by_name), None)
        return chosen or next(iter(self.rayclusters), None)

    @cached_property
    def pods(self) -> list[History]:
        """The pods of the RayCluster, oldest first."""
        cluster = self.raycluster
        return [
            pod
            for pod in self.objects("pods")
            if cluster and (pod.owned_by(cluster.uid) or (not pod.owner_uids and _cluster_of(pod) == cluster.name))
        ]

    @cached_property
    def head(self) -> History | None:
        """The head's pod: the one that became ready, else the newest (a head may be replaced)."""
        heads = [pod for pod in self.pods if pod.labels.get("ray.io/node-type") == "head"]
        ready = [pod for pod in heads if pod.first_match(lambda obj: condition_true(obj, "Ready"))]
        return next(iter(ready), None) or (heads[-1] if heads else None)

    @cached_property
    def workers(self) -> list[History]:
        """The workers' pods, oldest first."""
        return [pod for pod in self.pods if pod.labels.get("ray.io/node-type") == "worker"]

    @cached_property
    def companions(self) -> list[History]:
        """The pods that were created beside the RayService and belong to it (`core.companions`), oldest first."""
        owner = self.rayservice
        return [pod for pod in self.objects("pods") if owner and pod.owned_by(owner.uid)]

    @cached_property
    def lost_pods(self) -> list[LostPod]:
        """The pods of the RayCluster that ended and were replaced, in the order of their ends."""
        return lost_pods_of(self.pods)

    @property
    def engine_pods(self) -> tuple[History, ...]:
        """The pods that host the engine's replicas; the one that came last is at the end. Empty if that is unknown."""
        return self.engine.pods

    @cached_property
    def engine(self) -> EnginePlacement:
        """Where the engine's replicas are, and which of them came last."""
        lost = {item.pod.uid for item in self.lost_pods}
        pods = [pod for pod in self.pods if pod.uid not in lost]
        nodes = objects(self.ray_answer("ray-nodes"), "data", "result", "result")
        found = engine_placement(pods, self.polls(), self.logs, nodes, self.applications)
        alone = self.rayservice is not None and not self._worker_groups
        return EnginePlacement((self.head,)) if not found.pods and alone and self.head else found

    @cached_property
    def worker(self) -> History | None:
        """The worker that decided: of the engine's pods the one that came last. None if the engine is on the head."""
        last = self.engine_pods[-1] if self.engine_pods else None
        return None if last is None or last is self.head else last

    @cached_property
    def serving_pods(self) -> tuple[History, ...]:
        """The head and every pod of the engine: a cold start or a treatment must hold for all of them."""
        pods = [pod for pod in (self.head, *self.engine_pods) if pod]
        return tuple({pod.uid: pod for pod in pods}.values())

    def node_name_of(self, pod: History) -> str:
        """Return the name of the node that a pod was bound to; empty if it was not bound."""
        return next((text(dig(v.object, "spec", "nodeName")) for v in reversed(pod.versions)), "")

    def node_of(self, pod: History | None) -> History | None:
        """Return the node that a pod was bound to, if the recording contains it."""
        name = self.node_name_of(pod) if pod else ""
        return next((node for node in reversed(self.objects("nodes")) if name and node.name == name), None)

    def younger_than_submission(self, item: History) -> bool | None:
        """Return whether an object was created after the RayService, by the API server's clock; None if unknown."""
        if self.rayservice is None or self.rayservice.created is None or item.created is None:
            return None
        return item.created.at >= self.rayservice.created.at

    @cached_property
    def serve_service(self) -> str:
        """The name of the Service whose first ready endpoint ends the trial."""
        own = text(dig(self.rayservice.last if self.rayservice else None, "spec", "serveService", "metadata", "name"))
        return own or serve_service(self.name)

    @cached_property
    def serve_services(self) -> list[History]:
        """The serve Services of the RayService, oldest first; the one with the usual name if there is one."""
        uid = self.rayservice.uid if self.rayservice else None
        found = [item for item in self.objects("services") if is_serve_service(item.last, uid, self.serve_service)]
        return [item for item in found if item.name == self.serve_service] or found

    @cached_property
    def serve_slices(self) -> list[History]:
        """The EndpointSlices of the serve Service of this RayService."""
        known = {item.uid for item in self.objects("services")}
        own = {item.uid for item in self.serve_services}
        return [
            item
            for item in self.objects("endpointslices")
            if self.younger_than_submission(item) is not False
            and (
                own.intersection(item.owner_uids)
                or (
                    item.labels.get("kubernetes.io/service-name") == self.serve_service
                    and not known.intersection(item.owner_uids)
                )
            )
        ]

    def events_of(self, item: History | None, reason: str | None = None, container: str | None = None) -> list[Event]:
        """Return an object's events in the order they were received, optionally of one reason or container."""
        if item is None:
            return []
        return [
            event
            for event in self.all_events
            if _about(event, item) and reason in (None, event.reason) and container in (None, event.container)
        ]

    @property
    def events(self) -> Sequence[Event]:
        """Every event of the trace, including those of other objects."""
        return self.all_events

    def env_of(self, pod: History | None, container: str | None = None) -> dict[str, str | None]:
        """Return the environment of a pod's containers (of one, or of all but init containers): name -> value.

        The value is None for a reference, and redacted unless the name is in `KEPT_ENV`.
        """
        found: dict[str, str | None] = {}
        for spec in containers(pod.last if pod else None):
            if container in (None, spec.get("name")):
                for entry in map(mapping, items(spec.get("env"))):
                    value = entry.get("value")
                    found[text(entry.get("name"))] = value if isinstance(value, str) else None
        return found

    @cached_property
    def serve_config(self) -> Mapping[str, Any]:
        """Serve's configuration as submitted; empty if it cannot be read."""
        try:
            spec = dig(self.rayservice.first if self.rayservice else None, "spec", "serveConfigV2")
            return mapping(load_with_dates(text(spec), where="serveConfigV2"))
        except ManifestError:
            return {}

    @cached_property
    def applications(self) -> list[Mapping[str, Any]]:
        """The Serve applications that were submitted."""
        return objects(self.serve_config, "applications")

    @cached_property
    def runtime_pip(self) -> list[str]:
        """The packages that Ray installs at start, over all applications; a requirements file counts by its name."""
        found: list[str] = []
        for application in self.applications:
            pip = dig(application, "runtime_env", "pip")
            pip = mapping(pip).get("packages", pip)
            found += [pip] if isinstance(pip, str) else [item for item in items(pip) if isinstance(item, str)]
        return found

    @property
    def dynamic(self) -> bool:
        """Whether Ray's autoscaler is on and no worker for the engine is requested from the start."""
        manifest = self.rayservice.first if self.rayservice else {}
        try:
            return setup_of(manifest) is ScalingSetup.DYNAMIC
        except ManifestError:
            asked = any(number(g.get(key)) or 0 for g in self._worker_groups for key in ("replicas", "minReplicas"))
            return dig(manifest, "spec", "rayClusterConfig", "enableInTreeAutoscaling") is True and not asked

    @property
    def _worker_groups(self) -> list[Mapping[str, Any]]:
        """The worker groups as they were submitted."""
        return objects(
            self.rayservice.first if self.rayservice else None, "spec", "rayClusterConfig", "workerGroupSpecs"
        )

    def polls(self) -> list[Answer]:
        """Return the answers of Serve's REST interface from the RayCluster that served, oldest first. What a head
        answered that was lost is left out: the one that replaced it began anew.
        """
        replaced = self.head is not None and any(lost.successor.uid == self.head.uid for lost in self.lost_pods)
        begun = self.head.created.at if replaced and self.head and self.head.created else None
        answers = [item for item in self.answers if begun is None or item.received_at >= begun]
        return [item for item in answers if item.resource == "serve-rest" and self._is_own_answer(item.service)]

    def _is_own_answer(self, service: str) -> bool:
        """Return whether the Service that gave an answer belongs to the RayCluster that served.

        Its owner says so, else the status of the RayClusters. An unknown name is that of the only RayCluster.
        """
        cluster = self.raycluster
        if cluster is None or not service:
            return True
        for item in self.objects("services"):
            if item.name == service:
                selected = cluster_selected(item.last)
                return item.owned_by(cluster.uid) or (self._owned(item) and selected in ("", cluster.name))
        heads = {
            owner.uid: frozenset().union(*(head_services(v.object) for v in owner.versions))
            for owner in self.rayclusters
        }
        if service in heads.get(cluster.uid, ()):
            return True
        return len(heads) <= 1

    def ray_answer(self, resource: str) -> Any:
        """Return the body of the last successful answer of a state interface of Ray (`ray-nodes`, ...), or None."""
        good = [a.body for a in self.answers if a.resource == resource and a.status_code in (None, 200)]
        return good[-1] if good else None

    def _owned(self, item: History) -> bool:
        owner = self.rayservice
        return owner is not None and item.owned_by(owner.uid)


def replicas_of(application: Any) -> list[Mapping[str, Any]]:
    """Return the replicas of every deployment of one application of a Serve REST answer."""
    return [
        replica
        for deployment in mapping(dig(application, "deployments")).values()
        for replica in objects(deployment, "replicas")
    ]


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _age(item: History) -> tuple[datetime, str]:
    created = item.created
    return (created.at if created else item.versions[0].received_at, item.uid)


def _in_namespace(item: History, named: Mapping[str, Any]) -> bool:
    return not named.get("namespace") or dig(item.last, "metadata", "namespace") == named["namespace"]


def _cluster_of(pod: History) -> str:
    return text(pod.labels.get("ray.io/cluster"))


def _about(event: Event, item: History) -> bool:
    """Return whether an event is about an object.

    A kubelet writes its node's name in place of the uid (kubelet 1.34, recordings), so nodes match by name too.
    """
    if item.resource == "nodes":
        return event.involved_kind == "Node" and event.involved_name == item.name
    return event.involved_uid == item.uid
