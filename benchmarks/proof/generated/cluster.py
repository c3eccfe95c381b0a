"""The versions that the API server of a generated cluster stores during a deployment: writes and events of KubeRay, the
scheduler, the kubelets and the node autoscaler.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from proof.generated.names import (
    ADDRESSES,
    CLUSTER,
    IMAGE,
    IMAGE_BYTES,
    NAME,
    NODES,
    OLD_CLUSTER,
    Json,
)
from proof.generated.scenario import Scenario
from proof.generated.store import Store, VersionedObject

_OPERATOR = ("rayservice-controller", "operator")
_CLUSTER_OPERATOR = ("raycluster-controller", "operator")


class Cluster:
    """Writes the objects and events of a deployment. `t`: the true instants."""

    def __init__(self, store: Store, scenario: Scenario, t: Mapping[str, datetime]) -> None:
        self.store, self.scenario, self.t = store, scenario, t
        self.clocks, self.rng = store.clocks, store.rng
        self.old = scenario.kuberay == "1.1"
        self.cluster_name = OLD_CLUSTER if self.old else CLUSTER

    def write_all(self) -> None:
        """Store all versions."""
        for role in ("head", "worker"):
            self._node(role)
        service = self._rayservice()
        cluster = self._raycluster()
        for role in ("head", "worker"):
            pod = self._pod(role)
            self._scheduling(role, pod)
            self._kubelet_events(role, pod)
        self._operator_events(service, cluster)
        self._services()

    def _after(self, name: str, low_s: float = 0.002, high_s: float = 0.02) -> datetime:
        return self.t[name] + timedelta(seconds=self.rng.uniform(low_s, high_s))

    def _rayservice(self) -> VersionedObject:
        config = "applications:\n- name: llm\n  import_path: app:app\n"
        config += "  runtime_env: {pip: [vllm==0.5.4]}\n" if self.scenario.pip else ""
        workers = 0 if self.scenario.dynamic else 1
        spec: Json = {
            "serveConfigV2": config,
            "rayClusterConfig": {
                "enableInTreeAutoscaling": self.scenario.dynamic,
                "workerGroupSpecs": [{"groupName": "gpu-group", "replicas": workers, "minReplicas": 0}],
            },
        }
        if self.scenario.exclude_head:
            spec["excludeHeadPodFromServeSvc"] = True
        service = VersionedObject(self.store, "rayservices", NAME, "rs")
        service.write(self.t["submitted"], "python", spec=spec)
        pending: Json = {"rayClusterName": self.cluster_name}
        status: Json = {"pendingServiceStatus": pending}
        if not self.old:
            second = self.clocks.second(self._after("submitted", 0.03, 0.1), "operator")
            status["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": second}]
        service.write(self._after("submitted", 0.03, 0.2), "ray-operator", status=status)
        deploying = {**pending, "applicationStatuses": {"llm": {"status": "DEPLOYING"}}}
        copied = min(self._after("serve_config_sent", 0.1, 2.1), self.t["app_running"])
        service.write(copied, "ray-operator", status={"pendingServiceStatus": deploying})
        running = {**pending, "applicationStatuses": {"llm": {"status": "RUNNING"}}}
        service.write(
            self.t["app_running_copied"],
            "ray-operator",
            status={"activeServiceStatus": running, "pendingServiceStatus": {}},
        )
        ready = self.clocks.second(self.t["rayservice_ready"], "operator")
        final: Json = {"serviceStatus": "Running"}
        if not self.old:
            final["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]
        service.write(self.t["rayservice_ready"], "ray-operator", status=final)
        return service

    def _raycluster(self) -> VersionedObject:
        cluster = VersionedObject(
            self.store,
            "rayclusters",
            self.cluster_name,
            "rc",
            ownerReferences=[{"kind": "RayService", "name": NAME, "uid": "rs"}],
        )
        group: Json = {"groupName": "gpu-group", "replicas": 0 if self.scenario.dynamic else 1}
        cluster.write(self.t["raycluster_created"], "ray-operator", spec={"workerGroupSpecs": [group]})
        cluster.write(self._after("head.pod_created"), "ray-operator", status={"desiredWorkerReplicas": 0})
        cluster.write(self._after("head.ready", 0.01, 0.1), "ray-operator", status={"readyWorkerReplicas": 0})
        if self.scenario.dynamic:
            grown = {"workerGroupSpecs": [{**group, "replicas": 1}]}
            cluster.write(self.t["worker_asked"], "autoscaler", spec=grown)
        return cluster

    def _operator_events(self, service: VersionedObject, cluster: VersionedObject) -> None:
        """Write KubeRay's events: 1.7 uses events.k8s.io; 1.1 the older API with other reasons (its controllers)."""
        if self.old:
            waiting = tuple(self.t["raycluster_created"] + timedelta(seconds=2 * n) for n in range(1, _REPEATS))
            told = [
                ("raycluster_created", "ServiceNotReady", service, "The service is not ready yet.", waiting),
                ("head.pod_created", "Created", cluster, "Created head pod", ()),
                ("worker.pod_created", "Created", cluster, "Created worker pod", ()),
                ("serve_config_sent", "SubmittedServeDeployment", service, "Controller sent API request", ()),
                ("rayservice_ready", "Running", service, "The Serve applicaton is now running.", ()),
            ]
        else:
            told = [
                ("raycluster_created", "CreatedRayCluster", service, f"Created RayCluster {self.cluster_name}", ()),
                ("head.pod_created", "CreatedHeadPod", cluster, "Created head Pod", ()),
                ("worker.pod_created", "CreatedWorkerPod", cluster, "Created worker Pod", ()),
                ("serve_config_sent", "UpdatedServeApplications", service, "Updated serve applications", ()),
                ("serve_service_created", "CreatedService", service, "Created service", ()),
            ]
        for when, reason, thing, message, repeats in told:
            by = _OPERATOR if thing is service else _CLUSTER_OPERATOR
            at = self._after(when, 0.002, 0.03)
            self.store.event(at, reason, thing.about, by, message, fine=not self.old, repeats=repeats)

    def _pod(self, role: str) -> VersionedObject:
        limits = {"nvidia.com/gpu": "1"} if role == "worker" else {"cpu": "2"}
        pod = VersionedObject(
            self.store,
            "pods",
            f"{self.cluster_name}-{role}",
            f"pod-{role}",
            labels={"ray.io/cluster": self.cluster_name, "ray.io/node-type": role},
            ownerReferences=[{"kind": "RayCluster", "name": self.cluster_name, "uid": "rc"}],
        )
        spec: Json = {"containers": [{"name": f"ray-{role}", "image": IMAGE, "resources": {"limits": limits}}]}
        if role == "worker":
            spec["initContainers"] = [{"name": "wait-gcs-ready", "image": IMAGE}]
        pod.write(self.t[f"{role}.pod_created"], "ray-operator", spec=spec)
        if f"{role}.unschedulable" in self.t:
            at = self.t[f"{role}.unschedulable"]
            refused = self._condition("PodScheduled", at, "api", status="False")
            pod.write(at, "kube-scheduler", status={"conditions": [refused]})
        bound = [self._condition("PodScheduled", self.t[f"{role}.scheduled"], "api")]
        pod.write(
            self.t[f"{role}.scheduled"],
            "kube-scheduler",
            spec={"nodeName": NODES[role]},
            status={"conditions": bound, "podIP": ""},
        )
        self._containers(role, pod, bound)
        return pod

    def _containers(self, role: str, pod: VersionedObject, bound: list[Json]) -> None:
        """Write the container statuses. A kubelet writes a pod's status some tenths of a second after the change."""
        node, address = NODES[role], ADDRESSES[role]
        if role == "worker":
            began = {"startedAt": self.clocks.second(self.t["worker.init_started"], node)}
            init = {"name": "wait-gcs-ready", "restartCount": 0, "state": {"running": began}}
            status: Json = {"podIP": address, "initContainerStatuses": [init]}
            early = min(self._after("worker.init_started", 0.1, 1.2), self.t["worker.init_finished"])
            pod.write(early, "kubelet", status=status)
            ended = {**began, "finishedAt": self.clocks.second(self.t["worker.init_finished"], node)}
            done = {"initContainerStatuses": [{**init, "state": {"terminated": ended}}]}
            pod.write(self._after("worker.init_finished", 0.03, 0.09), "kubelet", status=done)
        running = {"running": {"startedAt": self.clocks.second(self.t[f"{role}.container_started"], node)}}
        main = {"name": f"ray-{role}", "state": running, "restartCount": 0}
        started = {"podIP": address, "containerStatuses": [main]}
        pod.write(self._after(f"{role}.container_started", 0.1, 1.2), "kubelet", status=started)
        ready = self._condition("Ready", self.t[f"{role}.ready"], node)
        at = min(self._after(f"{role}.ready", 0.005, 0.2), self._before_publishing(role))
        pod.write(at, "kubelet", status={"conditions": [*bound, ready]})

    def _before_publishing(self, role: str) -> datetime:
        """Return the latest write: a slice cannot show a pod as ready before the API server does."""
        late = self.t["serve_config_sent"] if role == "head" else self.t["worker.ready"] + timedelta(seconds=0.015)
        return late - timedelta(seconds=0.001)

    def _condition(self, kind: str, at: datetime, source: str, *, status: str = "True") -> Json:
        return {"type": kind, "status": status, "lastTransitionTime": self.clocks.second(at, source)}

    def _kubelet_events(self, role: str, pod: VersionedObject) -> None:
        main = f"spec.containers{{ray-{role}}}"
        first = "spec.initContainers{wait-gcs-ready}" if role == "worker" else main
        if f"{role}.pull_finished" in self.t:
            self._kubelet(role, pod, f"{role}.pull_started", "Pulling", first, f'Pulling image "{IMAGE}"')
            self._kubelet(role, pod, f"{role}.pull_finished", "Pulled", first, self._pulled(role))
        else:
            self._kubelet(role, pod, f"{role}.image_present", "Pulled", first, self._present())
        if role == "worker":
            self._kubelet(role, pod, "worker.init_started", "Started", first, "Started container wait-gcs-ready")
            self._kubelet(role, pod, "worker.init_finished", "Pulled", main, self._present())
        self._kubelet(role, pod, f"{role}.container_started", "Started", main, f"Started container ray-{role}")

    def _pulled(self, role: str) -> str:
        took = (self.t[f"{role}.pull_finished"] - self.t[f"{role}.pull_started"]).total_seconds()
        text = f'Successfully pulled image "{IMAGE}" in {_go(took)}'
        if self.scenario.pulled != "plain":
            text += f" ({_go(took)} including waiting)"
        if self.scenario.pulled == "sized":
            text += f". Image size: {IMAGE_BYTES} bytes."
        return text

    def _present(self) -> str:
        tail = " and can be accessed by the pod" if self.scenario.pulled == "sized" else ""
        return f'Container image "{IMAGE}" already present on machine{tail}'

    def _kubelet(self, role: str, pod: VersionedObject, when: str, reason: str, path: str, message: str) -> None:
        about = {**pod.about, "fieldPath": path}
        by = ("kubelet", NODES[role])
        self.store.event(self._after(when, 0.0005, 0.004), reason, about, by, message, fine=False, host=NODES[role])

    def _scheduling(self, role: str, pod: VersionedObject) -> None:
        at = self._after(f"{role}.scheduled", 0.0002, 0.004)
        scheduler = ("default-scheduler", "scheduler")
        self.store.event(at, "Scheduled", pod.about, scheduler, "Successfully assigned", fine=True)
        if f"{role}.unschedulable" not in self.t:
            return
        refused = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        at = self._after(f"{role}.unschedulable", 0.0002, 0.004)
        self.store.event(at, "FailedScheduling", pod.about, scheduler, refused, fine=True, warning=True)
        asked = self.t[f"{role}.node_requested"]
        if self.scenario.autoscaler == "cluster-autoscaler":
            by = ("cluster-autoscaler", "cluster-autoscaler")
            self.store.event(asked, "TriggeredScaleUp", pod.about, by, "pod triggered scale-up: [{a 0->1}]", fine=False)
        if self.scenario.autoscaler == "karpenter":
            told = f"Pod should schedule on: nodeclaim/claim-{role}"
            nominated = self._after(f"{role}.node_requested", 0.005, 0.2)
            self.store.event(nominated, "Nominated", pod.about, ("karpenter", "karpenter"), told, fine=False)
            self._nodeclaim(role)

    def _nodeclaim(self, role: str) -> None:
        """Write Karpenter's conditions, each by Karpenter's clock; the node's name appears with its registration."""
        claim = VersionedObject(self.store, "nodeclaims", f"claim-{role}", f"claim-{role}")
        claim.write(self.t[f"{role}.node_requested"], "karpenter", spec={"resources": {}})
        conditions: list[Json] = []
        status: dict[str, Any] = {}
        steps = [("Launched", "node_launched"), ("Registered", "node_registered"), ("Initialized", "node_initialised")]
        for kind, name in steps:
            if f"{role}.{name}" not in self.t:
                continue
            conditions = [*conditions, self._condition(kind, self.t[f"{role}.{name}"], "karpenter")]
            status = {"conditions": conditions, **({"nodeName": NODES[role]} if kind != "Launched" else {})}
            claim.write(self._after(f"{role}.{name}", 0.01, 0.1), "karpenter", status=status)

    def _node(self, role: str) -> None:
        name = NODES[role]
        labels = {"node.kubernetes.io/instance-type": "x", "topology.kubernetes.io/zone": f"{self.scenario.cloud}-a"}
        if self.scenario.autoscaler == "luna":
            labels["node.elotl.co/created-by"] = "luna"
        node = VersionedObject(self.store, "nodes", name, name, labels=labels)
        gpu = {"nvidia.com/gpu": "1"} if role == "worker" else {}
        created = self.t.get(f"{role}.node_created")
        if created is None:
            long_ago = self.t["submitted"] - timedelta(hours=1)
            ready = self._condition("Ready", long_ago, name)
            node.write(long_ago, "kubelet", spec={}, status={"conditions": [ready], "allocatable": gpu})
        else:
            node.write(created, "kubelet", spec={}, status={"conditions": [], "allocatable": {"cpu": "8"}})
            ready = self._condition("Ready", self.t[f"{role}.node_ready"], name)
            told = self._after(f"{role}.node_ready", 0.002, 0.02)
            offered = self.t.get(f"{role}.gpu_allocatable")
            early = offered is not None and offered < told
            if offered and early:
                node.write(offered, "kubelet", status={"allocatable": {"cpu": "8", **gpu}})
            node.write(told, "kubelet", status={"conditions": [ready]})
            if offered and not early:
                node.write(offered, "kubelet", status={"allocatable": {"cpu": "8", **gpu}})
        self._streaming(role, node)

    def _streaming(self, role: str, node: VersionedObject) -> None:
        """Write GKE's event about a streamed image on the node."""
        delivery = self.scenario.head_image if role == "head" else self.scenario.worker_image
        if delivery == "streamed" and self.scenario.cloud == "gke":
            about = {"kind": "Node", "name": NODES[role], "uid": NODES[role]}
            told = f"Image {IMAGE} is backed by image streaming."
            at = self._after(f"{role}.pull_started", 0.1, 0.3)
            self.store.event(at, "ImageStreaming", about, ("image-streaming", NODES[role]), told, fine=False)

    def _services(self) -> None:
        service_name = f"{NAME}-serve-svc"
        service = VersionedObject(
            self.store, "services", service_name, "svc", ownerReferences=[{"uid": "rs", "name": NAME}]
        )
        service.write(self.t["serve_service_created"], "ray-operator", spec={"clusterIP": "10.96.0.9"})
        slices = VersionedObject(
            self.store,
            "endpointslices",
            f"{service_name}-abcde",
            "eps",
            ownerReferences=[{"uid": "svc", "name": service_name}],
            labels={"kubernetes.io/service-name": service_name},
            annotations={_TRIGGER: self.clocks.second(self.t["serve_service_created"], "api")},
        )
        born = self.t["endpointslice_created"]
        if self.scenario.exclude_head:
            slices.object["endpoints"] = [_endpoint("worker", ready=self.t["endpoint_ready"] <= born)]
        else:
            slices.object["endpoints"] = [_endpoint("head", ready=True), _endpoint("worker", ready=False)]
        slices.write(born, "kube-controller-manager")
        if self.t["endpoint_ready"] > born or not self.scenario.exclude_head:
            # The changed annotation repeats the worker's Ready stamp, which its kubelet wrote.
            slices.object["metadata"]["annotations"] = {
                _TRIGGER: self.clocks.second(self.t["worker.ready"], "node-gpu")
            }
            slices.object["endpoints"] = [{**e, "conditions": {"ready": True}} for e in slices.object["endpoints"]]
            later = self.t["endpoint_ready"] if self.scenario.exclude_head else self._after("worker.ready", 0.02, 0.3)
            slices.write(max(later, born + timedelta(seconds=0.005)), "kube-controller-manager", spec={})


# `ServiceNotReady` occurs every two seconds; a few repeats are enough.
_REPEATS = 5
_TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"


def _endpoint(role: str, *, ready: bool) -> Json:
    return {"addresses": [ADDRESSES[role]], "conditions": {"ready": ready}, "targetRef": {"uid": f"pod-{role}"}}


def _go(took_s: float) -> str:
    """Write a duration in Go's format, with milliseconds."""
    minutes, left = divmod(round(took_s, 3), 60)
    if took_s < 1:
        return f"{took_s * 1000:.0f}ms"
    return f"{int(minutes)}m{left:.3f}s" if minutes else f"{left:.3f}s"
