"""Made-up deployments whose truth is known, told the way a cluster tells them. Shares no code with what reads traces.

Every source has a clock of its own (skew drawn per source), kubelets and the API server write whole seconds, and what
reaches the recorder may be late, doubled or lost. `truth` holds each instant in the recorder's clock.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

BASE = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NAME, NAMESPACE, CLUSTER = "trial-a", "serving", "trial-a-x7k2p"
IMAGE = "registry.example/llm:1"
GIGABYTES = 11_600_000_000


@dataclass
class Distortion:
    """What happens to a trace on its way. `skew_s`: each source is off by up to this; the others are probabilities."""

    skew_s: float = 0.0
    late: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    logs: bool = True


@dataclass
class Deployment:
    """The lines as recorded, the truth, and what was drawn."""

    lines: list[dict]
    truth: dict[str, datetime]
    skews: dict[str, float]
    dynamic: bool
    lost: set[str] = field(default_factory=set)


def generate(seed: int, distortion: Distortion | None = None) -> Deployment:
    """Draw one deployment."""
    return _Teller(random.Random(seed), distortion or Distortion()).tell()


class _Teller:
    def __init__(self, rng: random.Random, distortion: Distortion) -> None:
        self.rng, self.distortion = rng, distortion
        self.dynamic, self.fresh = rng.random() < 0.5, rng.random() < 0.7
        self.start = BASE + timedelta(seconds=rng.random() * 3600)
        sources = ("api", "operator", "scheduler", "node-head", "node-gpu")
        self.skews = {source: rng.uniform(-1, 1) * distortion.skew_s for source in sources}
        self.lines: list[dict] = []
        self.lost: set[str] = set()
        self.version = 100
        self.truth = self._draw()

    def _draw(self) -> dict[str, datetime]:
        u, t = self.rng.uniform, {}
        t["submitted"] = 0.0
        t["raycluster_created"] = u(1.9, 2.3)
        t["head.pod_created"] = t["raycluster_created"] + u(0.01, 0.1)
        t["head.scheduled"] = t["head.pod_created"] + u(0.01, 0.1)
        t["head.pull_started"] = t["head.scheduled"] + u(0.3, 1)
        t["head.pull_finished"] = t["head.pull_started"] + u(5, 200)
        t["head.container_started"] = t["head.pull_finished"] + u(0.1, 1)
        t["head.ray_started"] = t["head.container_started"] + u(3, 9)
        t["head.ready"] = t["head.ray_started"] + u(2, 6)
        t["serve_config_sent"] = t["head.ready"] + u(1, 5)
        t["app_built"] = t["serve_config_sent"] + u(1, 100)
        t["replica_requested"] = t["app_built"] + u(0.1, 0.3)
        before_worker = t["raycluster_created"] + 0.02
        if self.dynamic:
            before_worker = t["worker_asked"] = t["replica_requested"] + u(1.5, 5)
        t["worker.pod_created"] = before_worker + u(0.01, 0.1)
        placed = t["worker.pod_created"]
        if self.fresh:
            t["worker.node_requested"] = placed + u(1, 15)
            t["worker.node_created"] = t["worker.node_requested"] + u(25, 120)
            t["worker.node_ready"] = t["worker.node_created"] + u(0.3, 30)
            placed = t["worker.gpu_allocatable"] = t["worker.node_ready"] + u(2, 60)
        t["worker.scheduled"] = placed + u(0.01, 0.5)
        t["worker.pull_started"] = t["worker.scheduled"] + u(0.3, 1)
        t["worker.pull_finished"] = t["worker.pull_started"] + u(5, 200)
        t["worker.init_started"] = t["worker.pull_finished"] + u(0.1, 0.5)
        waits_for = max(t["worker.init_started"], t["head.container_started"] + 2)
        t["worker.init_finished"] = waits_for + u(5, 50)
        t["worker.container_started"] = t["worker.init_finished"] + u(0.1, 0.5)
        t["worker.ray_started"] = t["worker.container_started"] + u(3, 6)
        t["replica_initialising"] = max(t["worker.ray_started"], t["replica_requested"]) + u(1, 40)
        t["weights_downloaded"] = t["replica_initialising"] + u(3, 200)
        t["model_loaded"] = t["weights_downloaded"] + u(3, 60)
        t["replica_started"] = t["model_loaded"] + u(0.2, 0.5)
        t["app_running"] = t["replica_started"] + u(0.1, 0.5)
        t["serve_service_created"] = t["app_running"] + u(0.1, 2)
        t["endpoint_ready"] = t["serve_service_created"] + u(0.01, 0.05)
        return {name: self.start + timedelta(seconds=value) for name, value in t.items()}

    def tell(self) -> Deployment:
        self._own(
            "HEADER",
            self.start,
            {
                "format": 1,
                "origin": "simulated",
                "rayservice": {"namespace": NAMESPACE, "name": NAME, "uid": "rs"},
                "trial": {},
                "cluster": {},
                "clock": {},
            },
        )
        self._objects()
        self._events()
        self._answers()
        self.lines += [dict(line) for line in self.lines if self.rng.random() < self.distortion.doubled]
        self.lines.sort(key=lambda line: line["received_at"])
        return Deployment(self.lines, self.truth, self.skews, self.dynamic, self.lost)

    def _objects(self) -> None:
        t = self.truth
        service = self._object("rs", NAME, "submitted", spec=self._spec())
        self._put("rayservices", "submitted", service)
        cluster = self._object(
            "rc",
            CLUSTER,
            "raycluster_created",
            owner="rs",
            spec={"workerGroupSpecs": [{"replicas": 0 if self.dynamic else 1}]},
        )
        self._put("rayclusters", "raycluster_created", cluster)
        if self.dynamic:
            grown = {**cluster, "spec": {"workerGroupSpecs": [{"replicas": 1}]}}
            self._put("rayclusters", "worker_asked", grown, kind="MODIFIED", manager="autoscaler")
        self._pod("head", "node-head", "10.0.0.1", "ray-head", init=None)
        self._pod("worker", "node-gpu", "10.0.0.2", "ray-worker", init="wait-gcs-ready")
        self._node("node-head", self.start - timedelta(hours=1), None)
        if self.fresh:
            self._node("node-gpu", None, "worker")
        else:
            self._node("node-gpu", self.start - timedelta(hours=1), None)
        self._put(
            "services",
            "serve_service_created",
            self._object("svc", f"{NAME}-serve-svc", "serve_service_created", owner="rs"),
        )
        endpoints = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"uid": "pod-head"}}]
        self._put(
            "endpointslices",
            "endpoint_ready",
            {
                **self._object(
                    "eps",
                    f"{NAME}-serve-svc-1",
                    "endpoint_ready",
                    owner="svc",
                    labels={"kubernetes.io/service-name": f"{NAME}-serve-svc"},
                ),
                "endpoints": endpoints,
            },
        )
        assert t["endpoint_ready"] > t["submitted"]

    def _spec(self) -> dict:
        config = "applications:\n- name: llm\n  import_path: app:app\n"
        return {
            "serveConfigV2": config,
            "rayClusterConfig": {
                "enableInTreeAutoscaling": self.dynamic,
                "workerGroupSpecs": [{"replicas": 0 if self.dynamic else 1}],
            },
        }

    def _pod(self, role: str, node: str, address: str, main: str, init: str | None) -> None:
        limits = {"nvidia.com/gpu": "1"} if role == "worker" else {"cpu": "2"}
        spec = {"containers": [{"name": main, "image": IMAGE, "resources": {"limits": limits}}]}
        if init:
            spec["initContainers"] = [{"name": init, "image": IMAGE}]
        pod = self._object(
            f"pod-{role}",
            f"{CLUSTER}-{role}",
            f"{role}.pod_created",
            owner="rc",
            spec=spec,
            labels={"ray.io/cluster": CLUSTER, "ray.io/node-type": role},
        )
        self._put("pods", f"{role}.pod_created", pod)
        bound = {**pod, "spec": {**spec, "nodeName": node}}
        conditions = [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._second(f"{role}.scheduled", "api")}
        ]
        self._put("pods", f"{role}.scheduled", {**bound, "status": {"conditions": conditions}}, kind="MODIFIED")
        status = {"podIP": address, "conditions": conditions}
        if init:
            ended = {
                "terminated": {
                    "startedAt": self._second("worker.init_started", node),
                    "finishedAt": self._second("worker.init_finished", node),
                }
            }
            status["initContainerStatuses"] = [{"name": init, "state": ended}]
            self._put("pods", "worker.init_finished", {**bound, "status": status}, kind="MODIFIED", lag=0.3)
        running = {"running": {"startedAt": self._second(f"{role}.container_started", node)}}
        status = {**status, "containerStatuses": [{"name": main, "state": running, "restartCount": 0}]}
        self._put("pods", f"{role}.container_started", {**bound, "status": status}, kind="MODIFIED", lag=0.7)
        if role == "head":
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": self._second("head.ready", node)}
            status = {**status, "conditions": [*conditions, ready]}
            self._put("pods", "head.ready", {**bound, "status": status}, kind="MODIFIED")

    def _node(self, name: str, created: datetime | None, role: str | None) -> None:
        gpu = {"nvidia.com/gpu": "1"} if name == "node-gpu" else {}
        ready = {"type": "Ready", "status": "True"}
        if role is None:
            node = self._object(name, name, created, labels={"node.kubernetes.io/instance-type": "x"})
            stamp = self._write(created, "api", 0)
            node["status"] = {"allocatable": gpu, "conditions": [{**ready, "lastTransitionTime": stamp}]}
            self._put("nodes", self.start, node, kind="LISTED")
            return
        node = self._object(name, name, f"{role}.node_created")
        self._put("nodes", f"{role}.node_created", node)
        ready["lastTransitionTime"] = self._second(f"{role}.node_ready", name)
        node = {**node, "status": {"conditions": [ready], "allocatable": {"cpu": "8"}}}
        self._put("nodes", f"{role}.node_ready", node, kind="MODIFIED")
        node = {**node, "status": {"conditions": [ready], "allocatable": gpu}}
        self._put("nodes", f"{role}.gpu_allocatable", node, kind="MODIFIED")

    def _events(self) -> None:
        for role, node in (("head", "node-head"), ("worker", "node-gpu")):
            self._event(f"{role}.scheduled", "Scheduled", f"pod-{role}", "default-scheduler", "scheduler", "Assigned")
            init = "spec.initContainers{wait-gcs-ready}" if role == "worker" else "spec.containers{ray-head}"
            main = "spec.containers{ray-worker}" if role == "worker" else "spec.containers{ray-head}"
            took = (self.truth[f"{role}.pull_finished"] - self.truth[f"{role}.pull_started"]).total_seconds()
            pulled = (
                f'Successfully pulled image "{IMAGE}" in {took:.3f}s ({took:.3f}s including waiting). '
                f"Image size: {GIGABYTES} bytes."
            )
            self._kubelet(f"{role}.pull_started", "Pulling", role, node, init, f'Pulling image "{IMAGE}"')
            self._kubelet(f"{role}.pull_finished", "Pulled", role, node, init, pulled)
            if role == "worker":
                self._kubelet("worker.init_started", "Started", role, node, init, "Started container")
            self._kubelet(f"{role}.container_started", "Started", role, node, main, "Started container")
        if self.fresh:
            self._event(
                "worker.node_requested",
                "TriggeredScaleUp",
                "pod-worker",
                "cluster-autoscaler",
                "scheduler",
                "pod triggered scale-up",
            )
        for number in range(6):  # the operator's own, harmless, but they show its clock
            at = self.start + timedelta(seconds=2 + 7 * number)
            self._event(at, "Reconciled", "rs", "rayservice-controller", "operator", f"pass {number}")

    def _answers(self) -> None:
        if not self.distortion.logs:
            return
        end = self.truth["endpoint_ready"] + timedelta(seconds=5)
        nodes = [
            {
                "node_id": role,
                "node_ip": ip,
                "is_head_node": role == "head",
                "start_time_ms": int(self._at(f"{role}.ray_started", node).timestamp() * 1000),
            }
            for role, node, ip in (("head", "node-head", "10.0.0.1"), ("worker", "node-gpu", "10.0.0.2"))
        ]
        self._line(
            end, {"resource": "ray-nodes", "status_code": 200, "object": {"data": {"result": {"result": nodes}}}}
        )
        controller = [
            ("serve_config_sent", "Deploying new app 'llm'."),
            ("app_built", "Imported and built app 'llm' successfully."),
            ("replica_requested", "Adding 1 replica to Deployment(name='L', app='llm')."),
            (
                "replica_started",
                "Replica(id='abc', deployment='L', app='llm') started successfully on node 'x' after 3.0s (PID: 1).",
            ),
        ]
        replica = [
            ("replica_initialising", "Started initializing replica."),
            ("weights_downloaded", "Weights downloaded in 3.00 seconds"),
            ("model_loaded", "Model loaded in 5.00 seconds"),
            ("replica_started", "Finished initializing replica."),
        ]
        for name, ip, node, entries in (
            ("serve/controller_1.log", "10.0.0.1", "node-head", controller),
            ("serve/replica_llm_L_abc.log", "10.0.0.2", "node-gpu", replica),
        ):
            text = "".join(
                f"INFO {self._at(key, node).strftime('%Y-%m-%d %H:%M:%S,%f')[:-3]} x y -- {said}\n"
                for key, said in entries
            )
            self._line(
                end, {"resource": "ray-log-file", "status_code": 200, "filename": name, "node_ip": ip, "object": text}
            )
        app = {"llm": {"status": "DEPLOYING"}}
        self._poll(self.truth["serve_config_sent"] + timedelta(seconds=0.5), app, None)
        seen = self.truth["app_running"] + timedelta(seconds=self.rng.random())
        self._poll(seen, {"llm": {"status": "RUNNING"}}, seen - timedelta(seconds=1))

    def _poll(self, at: datetime, apps: dict, unchanged: datetime | None) -> None:
        extra = {"unchanged_until": unchanged.strftime("%Y-%m-%dT%H:%M:%S.%fZ")} if unchanged else {}
        self._line(
            at,
            {
                "resource": "serve-rest",
                "status_code": 200,
                "service": f"{CLUSTER}-head-svc",
                **extra,
                "object": {"applications": apps},
            },
        )

    # -- how things are written ---------------------------------------------------------------------------------------
    def _when(self, when: str | datetime) -> datetime:
        return self.truth[when] if isinstance(when, str) else when

    def _at(self, when: str | datetime, source: str) -> datetime:
        return self._when(when) + timedelta(seconds=self.skews[source])

    def _write(self, when: str | datetime, source: str, digits: int) -> str:
        at = self._at(when, source)
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if digits else at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _second(self, when: str | datetime, source: str) -> str:
        return self._write(when, source, 0)

    def _object(
        self, uid: str, name: str, created: str | datetime, *, owner: str | None = None, labels=None, spec=None
    ) -> dict:
        metadata = {
            "uid": uid,
            "name": name,
            "namespace": NAMESPACE,
            "labels": labels or {},
            "creationTimestamp": self._second(created, "api"),
        }
        if owner:
            metadata["ownerReferences"] = [{"uid": owner}]
        return {"metadata": metadata, "spec": spec or {}}

    def _put(
        self,
        resource: str,
        when: str | datetime,
        obj: dict,
        *,
        kind: str = "ADDED",
        manager: str = "m",
        lag: float = 0.0,
    ) -> None:
        self.version += 1
        at = self._when(when) + timedelta(seconds=lag)
        written = {"manager": manager, "operation": "Update", "time": self._second(at, "api")}
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version), "managedFields": [written]}}
        self._line(at, {"type": kind, "resource": resource, "object": obj})

    def _kubelet(self, when: str, reason: str, role: str, node: str, path: str, message: str) -> None:
        if self.rng.random() < self.distortion.lost:
            self.lost.add(when)
            return
        stamp = self._second(when, node)
        for resource in ("events", "events.events.k8s.io"):
            core = resource == "events"
            about = {"kind": "Pod", "name": f"{CLUSTER}-{role}", "uid": f"pod-{role}", "fieldPath": path}
            obj = {
                "metadata": self._event_metadata(f"{role}-{reason}-{path}"),
                "reason": reason,
                "involvedObject" if core else "regarding": about,
                "message" if core else "note": message,
                "source" if core else "deprecatedSource": {"component": "kubelet", "host": node},
                "firstTimestamp" if core else "deprecatedFirstTimestamp": stamp,
                "count" if core else "deprecatedCount": 1,
                "eventTime": None,
            }
            self._line(self.truth[when], {"type": "ADDED", "resource": resource, "object": obj})

    def _event(self, when: str | datetime, reason: str, uid: str, component: str, source: str, message: str) -> None:
        if isinstance(when, str) and self.rng.random() < self.distortion.lost:
            self.lost.add(when)
            return
        obj = {
            "metadata": self._event_metadata(f"{uid}-{reason}-{message}"),
            "reason": reason,
            "message": message,
            "involvedObject": {"kind": "x", "name": "x", "uid": uid},
            "source": {},
            "reportingComponent": component,
            "eventTime": self._write(when, source, 6),
        }
        self._line(self._when(when), {"type": "ADDED", "resource": "events", "object": obj})

    def _event_metadata(self, uid: str) -> dict:
        self.version += 1
        return {"uid": uid, "name": uid, "resourceVersion": str(self.version)}

    def _own(self, kind: str, at: datetime, obj: dict) -> None:
        self.lines.append(
            {"received_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "type": kind, "resource": "trace", "object": obj}
        )

    def _line(self, at: datetime, line: dict) -> None:
        lag = self.rng.uniform(0.003, 0.05)
        if self.rng.random() < self.distortion.late:
            lag += self.rng.uniform(0.2, 4)
        received = at + timedelta(seconds=lag)
        self.lines.append({"received_at": received.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), **line})
