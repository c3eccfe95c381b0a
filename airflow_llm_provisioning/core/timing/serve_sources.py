"""Sources of the milestones of Ray Serve: REST interface, RayService status, logs of Serve and engine."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from airflow_llm_provisioning.core.fields import dig, mapping, number, objects, text
from airflow_llm_provisioning.core.instants import Stamp, from_epoch_s
from airflow_llm_provisioning.core.timing.clock_samples import node_clock, promptness, ray_clock, serve_clock
from airflow_llm_provisioning.core.timing.clocks import DEFAULT_BOUND
from airflow_llm_provisioning.core.timing.engine_lines import (
    deciding_replica,
    pod_of_log,
    replica_entries,
    step_entries,
)
from airflow_llm_provisioning.core.timing.engine_logs import LogEntry, LogReading
from airflow_llm_provisioning.core.timing.observations import Observation, event_observation, state_observation
from airflow_llm_provisioning.core.timing.pod_sources import raylet
from airflow_llm_provisioning.core.trace.objects import Answer, FirstMatch, History
from airflow_llm_provisioning.core.trace.view import TraceView, replicas_of
from airflow_llm_provisioning.core.weight_sources import weight_path_of


def serve_observations(view: TraceView) -> Iterator[tuple[str, Observation | None]]:
    """Yield the observations from Serve's REST interface and from KubeRay's copy of it."""
    clock = serve_clock(view.head)
    polls = view.polls()
    yield "serve_config_sent", _serve_stamp(polls, _deployed_stamps, "last_deployed_time_s", clock)
    # The first reason is KubeRay 1.3 and later, the second one earlier versions.
    for reason in ("UpdatedServeApplications", "SubmittedServeDeployment"):
        for event in view.events_of(view.rayservice, reason)[:1]:
            yield "serve_config_sent", event_observation(event)
    yield "replica_requested", _serve_stamp(polls, _replica_stamps, "replica start_time_s", clock)
    yield "replica_placed", _polled(view, _placed, "serve-rest replica placed")
    yield "worker_asked", _worker_asked(view)
    yield "app_running", _polled(view, _all_running, "serve-rest applications RUNNING")
    if view.rayservice:
        match = view.rayservice.first_match(_status_running)
        yield "app_running", state_observation(f"rayservices {view.name} applicationStatuses RUNNING", match)


def log_observations(view: TraceView, logs: LogReading) -> Iterator[tuple[str, Observation | None]]:
    """Yield the log observations of the replica that the application waited for."""
    replica = deciding_replica(view, logs)
    yield from _controller_observations(view, logs)
    for entry in (entry for entry in logs.all("controller_started") if entry.replica_id == replica):
        yield "replica_started", _logged(view, entry)
    for milestone, entry in step_entries(view, logs).items():
        yield milestone, _logged(view, entry)
    own = replica_entries(view, logs)
    if weight_path_of(view) is None:
        yield "weights_downloaded", _before_loading(view, logs, own)
    for entry in [entry for entry in own if entry.marker == "replica_initialised"][:1]:
        # The replica has finished. The milestone is the controller's knowledge of it, which follows.
        yield "replica_started", _following(_logged(view, entry))
    yield from _runtime_env(view, logs)


def _controller_observations(view: TraceView, logs: LogReading) -> Iterator[tuple[str, Observation | None]]:
    for milestone, marker in _LOGGED:
        for entry in logs.all(marker)[:1]:
            yield milestone, _logged(view, entry)
    for entry in _autoscaler_line(view, logs):
        yield "worker_asked", _logged(view, entry)
    for entry in logs.all("controller_built")[-1:]:
        yield "app_built", _logged(view, entry)


def runtime_env_s(view: TraceView) -> dict[str, float]:
    """Return the longest successful build of a runtime environment per role (`head`, `worker`), in seconds."""
    roles: dict[str, str] = {}
    hosts = {address for pod in view.engine_pods if (address := text(dig(pod.last, "status", "podIP")))}
    for node in objects(view.ray_answer("ray-nodes"), "data", "result", "result"):
        engine = not hosts or text(node.get("node_ip")) in hosts
        roles[text(node.get("node_id"))] = "head" if node.get("is_head_node") else "worker" if engine else ""
    found: dict[str, float] = {}
    for built in objects(view.ray_answer("ray-runtime-envs"), "data", "result", "result"):
        took_s = (number(built.get("creation_time_ms")) or 0.0) / 1000
        role = roles.get(text(built.get("node_id")))
        if role and built.get("success") is True and 0 < took_s < _LONGEST_S:
            found[role] = max(found.get(role, 0.0), took_s)
    return found


def _serve_stamp(polls: Sequence[Answer], read: Any, what: str, clock: str) -> Observation | None:
    """Return the earliest stamp of a kind over all answers, bounded by the first answer that contained it."""
    found = [(stamp, answer.received_at) for answer in polls for stamp in read(answer.body)]
    if not found:
        return None
    stamp, received_at = min(found, key=lambda pair: (pair[0].at, pair[1]))
    return Observation(f"serve-rest {what}", stamp, clock, received_at)


def _deployed_stamps(body: Any) -> list[Stamp]:
    stamps = [from_epoch_s(dig(app, "last_deployed_time_s")) for app in mapping(dig(body, "applications")).values()]
    return [stamp for stamp in stamps if stamp]


def _replica_stamps(body: Any) -> list[Stamp]:
    replicas = [replica for app in mapping(dig(body, "applications")).values() for replica in replicas_of(app)]
    return [stamp for replica in replicas if (stamp := from_epoch_s(replica.get("start_time_s")))]


def _placed(body: Any) -> bool:
    replicas = [replica for app in mapping(dig(body, "applications")).values() for replica in replicas_of(app)]
    return any(replica.get("node_id") for replica in replicas)


def _all_running(body: Any) -> bool:
    states = [dig(app, "status") for app in mapping(dig(body, "applications")).values()]
    return bool(states) and all(state == "RUNNING" for state in states)


def _status_running(obj: Any) -> bool:
    for part in ("activeServiceStatus", "pendingServiceStatus"):
        apps = mapping(dig(obj, "status", part, "applicationStatuses")).values()
        if apps and all(dig(app, "status") == "RUNNING" for app in apps):
            return True
    return False


def _polled(view: TraceView, holds: Any, source: str) -> Observation | None:
    polls = view.polls()
    for position, answer in enumerate(polls):
        if holds(answer.body):
            # The state may have changed after Serve built an answer and before it arrived.
            before = tuple(earlier.received_at - promptness(view) for earlier in polls[:position])
            return Observation(source, received_at=answer.received_at, before=before, not_before=answer.unchanged_until)
    return None


def _worker_asked(view: TraceView) -> Observation | None:
    """Return when Ray's autoscaler asked for the worker: the last rise of its group's replicas before it was created.

    A worker that was created before anyone asked the autoscaler did not wait for it.
    """
    cluster, pod = view.raycluster, _asked_pod(view)
    if cluster is None or (pod is None and (view.worker is not None or not view.dynamic)):
        return None
    found: FirstMatch | None = None
    for position, version in enumerate(cluster.versions[1:], start=1):
        before = _replicas_wanted(cluster.versions[position - 1].object, pod)
        rises = _replicas_wanted(version.object, pod) > before
        if rises and (pod is None or _may_precede(pod, version.received_at)):
            found = FirstMatch(version, version.received_at, cluster.versions[:position])
    return state_observation(f"rayclusters {cluster.name} workerGroupSpecs replicas", found)


def _replicas_wanted(cluster: Mapping[str, Any], worker: History | None) -> float:
    """Return the replicas of a worker's group as a RayCluster's specification asks for them; of all without a group."""
    name = text(worker.labels.get("ray.io/group")) if worker else ""
    groups = objects(cluster, "spec", "workerGroupSpecs")
    own = [group for group in groups if not name or group.get("groupName") == name] or groups
    return sum(number(group.get("replicas")) or 0.0 for group in own)


def _asked_pod(view: TraceView) -> History | None:
    """Return the pod that may have waited for the autoscaler: the worker, or the first one that it replaced.

    None if that was created together with the head: the autoscaler runs in the head's pod, so it could not ask yet.
    """
    pod = view.worker
    for lost in reversed(view.lost_pods):
        pod = lost.pod if pod is not None and lost.successor.uid == pod.uid else pod
    head = view.head.created if view.head else None
    if pod is None or (head and pod.created and pod.created.at <= head.at):
        return None
    return pod


def _may_precede(pod: History, at: datetime) -> bool:
    return pod.created is None or at <= pod.created.until + DEFAULT_BOUND


def _autoscaler_line(view: TraceView, logs: LogReading) -> Iterator[LogEntry]:
    """Yield the last line in which the autoscaler asked for a worker of the group before the worker was created."""
    pod = _asked_pod(view)
    if pod is None and view.worker is not None:
        return
    group = text(pod.labels.get("ray.io/group")) if pod else ""
    lines = [entry for entry in logs.all("autoscaler_adding") if not group or f"of type {group}" in entry.text]
    before = [entry for entry in lines if _may_precede(pod, entry.stamp.at)] if pod else lines[:1]
    yield from before[-1:]


# Longer than any deployment; such a figure is invalid.
_LONGEST_S = 86_400.0
_LOGGED = (
    ("serve_config_sent", "controller_deploying"),
    ("app_build_started", "controller_building"),
    ("replica_requested", "controller_adding"),
)


def _logged(view: TraceView, entry: LogEntry) -> Observation:
    pod = pod_of_log(view, entry)
    # The autoscaler's output has the kubelet's stamp if the recorder requested stamps.
    clock = ray_clock(pod) if entry.dialect == "ray" else serve_clock(pod)
    clock = node_clock(view.node_name_of(pod)) if pod and entry.by_kubelet else clock
    source = f"log {entry.log.filename or entry.log.pod}: {entry.text[:60].strip()}"
    return Observation(source, entry.stamp, clock, entry.log.received_at)


def _before_loading(view: TraceView, logs: LogReading, own: Sequence[LogEntry]) -> Observation | None:
    """Return the upper bound of the end of the download: the start of the loading, computed from vLLM's stated
    duration.

    vLLM states the duration in a line (0.10 and later: `Loading weights took N seconds`) or by its progress bar
    (0.5.4). The progress bar ends some time before the next line. `own`: entries of the replica that decided.
    """
    for entry in [entry for entry in own if entry.marker == "shards_loaded"][-1:]:
        took = _SECONDS.search(entry.text)
        return _preceding(_logged(view, entry), float(took.group(1)) if took else 0.0)
    for entry in [entry for entry in own if entry.marker == "model_loaded"][:1]:
        for log, took_s in logs.shards_s:
            if log.node_ip == entry.log.node_ip and took_s < _LONGEST_S:
                return _preceding(_logged(view, entry), took_s)
    return None


def _preceding(base: Observation, by_s: float) -> Observation | None:
    if base.stamp is None or not by_s < _LONGEST_S:
        return None
    stamp = Stamp(base.stamp.at - timedelta(seconds=by_s), base.stamp.resolution)
    source = f"{base.source}, minus its stated loading time"
    return Observation(source, received_at=base.received_at, settled=((stamp, base.clock),))


def _following(*bases: Observation, by_s: float = 0.0, what: str = "") -> Observation:
    """Return an instant soon after all of `bases`, and at least `by_s` seconds after them."""
    written = tuple(
        (Stamp(base.stamp.at + timedelta(seconds=by_s), max(base.stamp.resolution, _MILLISECOND)), base.clock)
        for base in bases
        if base.stamp
    )
    source = " and ".join(base.source for base in bases)
    received_at = max((base.received_at for base in bases if base.received_at), default=None)
    return Observation(f"{source}{what}", received_at=received_at, written=written, soon=True)


def _runtime_env(view: TraceView, logs: LogReading) -> Iterator[tuple[str, Observation | None]]:
    """Yield when the runtime environments were ready.

    Ray reports how long a node took to build its environment, but not when. On the head the build begins soon after the
    deployment (ray 2.60: Serve's build task installs before it imports). On the worker it begins soon after a raylet
    has joined and a replica has been requested.
    """
    took = runtime_env_s(view)
    deployed = [_logged(view, entry) for entry in logs.all("controller_building")[:1]]
    if "head" in took and deployed:
        yield "head.runtime_env_ready", _following(deployed[0], by_s=took["head"], what=_TOOK)
    joined = raylet(view, view.worker) if view.worker else None
    if "worker" in took and joined is not None:
        asked = [_logged(view, entry) for entry in logs.all("controller_adding")[:1]]
        joined = replace(joined, received_at=joined.received_at or view.last_received_at)
        yield "worker.runtime_env_ready", _following(*asked, joined, by_s=took["worker"], what=_TOOK)


_TOOK = ", plus ray-runtime-envs creation_time_ms"
_MILLISECOND = timedelta(milliseconds=1)
_SECONDS = re.compile(r"took ([0-9]{1,6}(?:\.[0-9]+)?) seconds")
