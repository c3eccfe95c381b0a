"""Which milestones a running deployment has reached, updated line by line of its recording.

The analysis reads a whole recording and weighs its sources; this reads each line once, so a line costs the same late in
a deployment as early. Its instants are for a reader who waits: they have no bounds, and no result is computed from
them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, number, text
from airflow_llm_provisioning.core.instants import from_epoch_s, parse_instant
from airflow_llm_provisioning.core.progress import spans
from airflow_llm_provisioning.core.progress.pods import PodProgress, event_at
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY, SUBMITTED
from airflow_llm_provisioning.core.trace.format import TRACE_RESOURCE, Line
from airflow_llm_provisioning.core.trace.objects import EVENT_RESOURCES, condition_true
from airflow_llm_provisioning.core.trace.ownership import is_head_service
from airflow_llm_provisioning.core.trace.view import replicas_of

# Stamps of whole seconds may lie before the submission. Older objects are of an earlier generation.
_EARLIER: Final = timedelta(seconds=5)
_SENT: Final = ("UpdatedServeApplications", "SubmittedServeDeployment")
_REQUESTED: Final = ("TriggeredScaleUp", "Nominated")
# In a cluster of many users other nodes come too.
_MOST_NODES: Final = 8

_WORDS: Final[Mapping[str, str]] = {
    "pod_created": "pod {name} created",
    "scheduled": "scheduled on node {node}",
    "pull_started": "image pull began",
    "pull_finished": "image pulled",
    "init_started": "init container started",
    "init_finished": "init container finished",
    "container_started": "container started",
    "ready": "ready",
}


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened. `milestone`: the milestone that it is; empty for other news."""

    at: datetime
    text: str
    milestone: str = ""


@dataclass(frozen=True, slots=True)
class Current:
    """A span that the deployment is in. `name`: a key of `spans.SPANS`, or a role and a wait that is in no such span.
    `said`: what was said last about its pod.
    """

    name: str
    since: datetime
    said: str = ""


class SeenProgress:
    """The progress of one deployment. `reached`: milestone -> instant; of several pods of a role the last one counts.
    `news`: what has happened since it was taken last (`take_news`).
    """

    def __init__(self, submitted_at: datetime) -> None:
        self.submitted_at = submitted_at
        self.reached: dict[str, datetime] = {SUBMITTED: submitted_at}
        self._news: list[News] = []
        self._pods: dict[str, PodProgress] = {}
        self._nodes: dict[str, bool] = {}
        self._has_workers = False

    @property
    def has_news(self) -> bool:
        """Whether there are news that were not taken."""
        return bool(self._news)

    def take_news(self) -> list[News]:
        """Return the news in the order in which they happened, and forget them."""
        news, self._news = self._news, []
        return sorted(news, key=lambda one: one.at)

    def take(self, line: Line, received_at: datetime) -> None:
        """Process one line. Unreadable lines change nothing."""
        resource, obj = line.get("resource"), mapping(line.get("object"))
        if resource in EVENT_RESOURCES:
            self._event(obj, received_at)
        elif resource == "pods":
            self._pod(obj, received_at, deleted=line.get("type") == "DELETED")
        elif resource == "nodes":
            self._node(obj, received_at)
        elif resource == "serve-rest":
            self._serve(obj, received_at)
        elif resource == TRACE_RESOURCE and obj.get("mark") == "first_completion":
            self.reach("first_completion", None, received_at, "first valid completion")
        else:
            self._owned(text(resource), obj, received_at)

    def reach(self, milestone: str, at: datetime | None, received_at: datetime, words: str) -> None:
        """Note that a milestone was reached, unless it was before."""
        if milestone not in self.reached:
            self.reached[milestone] = found = min(at, received_at) if at else received_at
            self._news.append(News(found, words, milestone))

    def current(self) -> Iterator[Current]:
        """Yield the spans that the deployment is in, the head's before the worker's."""
        if "raycluster_created" not in self.reached:
            yield Current(spans.OPERATOR, self.submitted_at)
            return
        stage = self._stage()
        waiting = [one for role in spans.ROLES for one in self._of_role(role) if not _is_covered(one.name, stage)]
        yield from waiting
        if stage is None and not waiting:
            yield Current(spans.PODS, self.reached["raycluster_created"])
        elif stage is not None and not waiting:
            since = self.reached.get(spans.SPANS[stage][0][0], self.submitted_at)
            unplaced = stage == spans.ENGINE and self._has_workers and not self._living("worker")
            yield Current(spans.PLACEMENT if unplaced else stage, since)

    def _stage(self) -> str | None:
        """Return the span of Serve that the deployment is in; None before the head is ready."""
        for milestone, stage in (
            (ENDPOINT_READY, spans.COMPLETION),
            ("app_running", spans.PUBLISH),
            ("replica_requested", spans.ENGINE),
            ("serve_config_sent", spans.REPLICA),
            ("head.ready", spans.SERVE),
        ):
            if milestone in self.reached:
                return stage
        return None

    def _of_role(self, role: str) -> Iterator[Current]:
        waiting = [(span, pod) for pod in self._living(role) if (span := pod.span) is not None]
        if not waiting:
            return
        span, pod = min(waiting, key=lambda found: _POSITION[found[0]])
        name = f"{role} {span}"
        begins, _ = spans.SPANS.get(name, (("scheduled",), ""))
        begun = (pod.reached.get(start.rpartition(".")[2]) for start in begins)
        since = next((at for at in begun if at), None) or max(pod.reached.values(), default=self.submitted_at)
        yield Current(name, since, pod.said)

    def _living(self, role: str) -> list[PodProgress]:
        return [pod for pod in self._pods.values() if pod.role == role and not pod.gone]

    def _is_earlier(self, obj: Mapping[str, Any]) -> bool:
        created_at = parse_instant(dig(obj, "metadata", "creationTimestamp"))
        return created_at is not None and created_at < self.submitted_at - _EARLIER

    def _owned(self, resource: str, obj: Mapping[str, Any], received_at: datetime) -> None:
        created_at = parse_instant(dig(obj, "metadata", "creationTimestamp"))
        name = text(dig(obj, "metadata", "name"))
        if resource == "rayclusters" and not self._is_earlier(obj):
            self.reach("raycluster_created", created_at, received_at, f"RayCluster {name} created")
        elif resource == "services" and "app_running" in self.reached:
            if not (self._is_earlier(obj) or is_head_service(obj)):
                self.reach("serve_service_created", created_at, received_at, f"Service {name} created")
        elif resource == "rayservices":
            self._has_workers = bool(dig(obj, "spec", "rayClusterConfig", "workerGroupSpecs"))
            told = mapping(dig(obj, "status", "activeServiceStatus", "applicationStatuses"))
            pending = mapping(dig(obj, "status", "pendingServiceStatus", "applicationStatuses"))
            if "serve_config_sent" in self.reached:
                self._applications(pending or told, received_at)

    def _pod(self, obj: Mapping[str, Any], received_at: datetime, *, deleted: bool) -> None:
        uid, role = text(dig(obj, "metadata", "uid")), text(dig(obj, "metadata", "labels", "ray.io/node-type"))
        if role not in spans.ROLES or (uid not in self._pods and self._is_earlier(obj)):
            return
        pod = self._pods.setdefault(uid, PodProgress(text(dig(obj, "metadata", "name")), role))
        was_gone = pod.gone
        shown = pod.version(obj, received_at)
        pod.gone = pod.gone or deleted
        for name in shown:
            self._reached_by(pod, name, received_at)
        if pod.gone and not was_gone:
            self._lost(pod, received_at)

    def _reached_by(self, pod: PodProgress, name: str, received_at: datetime) -> None:
        """Note a milestone of a role once all its pods have reached it."""
        living = self._living(pod.role)
        if name in _WORDS and all(name in one.reached for one in living):
            words = _WORDS[name].format(name=pod.name, node=pod.node or "(unnamed)")
            words = "image was on the node before" if name == "pull_finished" and pod.present else words
            many = f" (the last of {len(living)} pods)" if len(living) > 1 else ""
            self.reach(f"{pod.role}.{name}", pod.reached[name], received_at, f"{pod.role} {words}{many}")

    def _lost(self, pod: PodProgress, received_at: datetime) -> None:
        self._news.append(News(received_at, f"{pod.role} pod {pod.name} has ended or is being deleted"))
        if not self._living(pod.role):
            # Its successor passes the same milestones.
            self.reached = {name: at for name, at in self.reached.items() if not name.startswith(f"{pod.role}.")}

    def _node(self, obj: Mapping[str, Any], received_at: datetime) -> None:
        name, ready = text(dig(obj, "metadata", "name")), condition_true(obj, "Ready")
        if self._is_earlier(obj) or (name not in self._nodes and len(self._nodes) >= _MOST_NODES):
            return
        was = self._nodes.get(name)
        self._nodes[name] = ready
        if any("scheduled" not in pod.reached and not pod.gone for pod in self._pods.values()):
            created_at = parse_instant(dig(obj, "metadata", "creationTimestamp"))
            if was is None:
                self._news.append(News(min(created_at or received_at, received_at), f"new node {name}"))
            if ready and not was:
                self._news.append(News(received_at, f"node {name} is ready"))

    def _event(self, obj: Mapping[str, Any], received_at: datetime) -> None:
        about = mapping(obj.get("involvedObject") or obj.get("regarding"))
        reason, pod = text(obj.get("reason")), self._pods.get(text(about.get("uid")))
        if pod is not None:
            for name in pod.event(obj, received_at):
                self._reached_by(pod, name, received_at)
            if reason in _REQUESTED:
                words = f"node requested for the {pod.role}: {text(obj.get('message') or obj.get('note'))}"
                self.reach(f"{pod.role}.node_requested", event_at(obj), received_at, words)
        elif reason in _SENT and not self._is_earlier(obj):
            self.reach("serve_config_sent", event_at(obj), received_at, "Serve application sent to the head")

    def _serve(self, obj: Mapping[str, Any], received_at: datetime) -> None:
        applications = mapping(obj.get("applications"))
        for application in applications.values():
            sent = from_epoch_s(number(mapping(application).get("last_deployed_time_s")))
            if sent is None or sent.at < self.submitted_at - _EARLIER:
                return
            self.reach("serve_config_sent", sent.at, received_at, "Serve application sent to the head")
            for replica in replicas_of(application)[:1]:
                asked = from_epoch_s(number(replica.get("start_time_s")))
                self.reach("replica_requested", asked.at if asked else None, received_at, "Serve replica requested")
        self._applications(applications, received_at)

    def _applications(self, applications: Mapping[str, Any], received_at: datetime) -> None:
        if applications and all(mapping(one).get("status") == "RUNNING" for one in applications.values()):
            self.reach("app_running", None, received_at, "Serve application running")


_POSITION: Final = {
    span: at
    for at, span in enumerate((spans.NODE, spans.PULL_WAIT, spans.PULL, spans.INIT, spans.CONTAINER, spans.READINESS))
}


def _is_covered(span: str, stage: str | None) -> bool:
    """Return whether a stage of Serve says more than a pod's span: a worker's readiness waits for the application."""
    serving = stage in (spans.ENGINE, spans.PUBLISH, spans.COMPLETION)
    return serving and span == f"worker {spans.READINESS}"
