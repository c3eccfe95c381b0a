"""The objects of one generated deployment, in the formats and sizes of the recordings.

They are generated, not simulated: they have no causal order, and no phase can be read from them. This module must not
know its readers.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

NAMESPACE: Final = "ml"
Object = dict[str, Any]

_SERVE_CONFIG: Final = """\
applications:
  - name: llm
    route_prefix: /
    import_path: serving.llm:build_app
    runtime_env:
      working_dir: https://example.invalid/app.zip
      env_vars: {MODEL_ID: phi, HF_TOKEN: hf_made_up}
    deployments:
      - name: LLM
        num_replicas: 1
        ray_actor_options: {num_cpus: 1}
"""
_ENV: Final = [{"name": f"RAY_SETTING_{number}", "value": f"value-{number}" * 3} for number in range(14)]
_MOUNTS: Final = [{"name": f"volume-{number}", "readOnly": True, "mountPath": f"/mnt/{number}"} for number in range(5)]
_SCRIPT: Final = "while true; do ray health-check --address head:6379 && break; sleep 5; done; # " + "wait " * 120


@dataclass(frozen=True, slots=True)
class Kind:
    """The API path of a resource."""

    api: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None) -> str:
        """Return the path of its collection."""
        base = f"/apis/{self.api}" if "/" in self.api else f"/api/{self.api}"
        return f"{base}/namespaces/{namespace}/{self.plural}" if self.namespaced else f"{base}/{self.plural}"


KINDS: Final = {
    "rayservices": Kind("ray.io/v1", "RayService", "rayservices"),
    "rayclusters": Kind("ray.io/v1", "RayCluster", "rayclusters"),
    "pods": Kind("v1", "Pod", "pods"),
    "services": Kind("v1", "Service", "services"),
    "endpointslices": Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
    "nodes": Kind("v1", "Node", "nodes", namespaced=False),
    "events": Kind("v1", "Event", "events"),
}
# Relative frequency of the changes in a deployment of the recordings.
_WEIGHTS: Final = {"event": 60, "pods": 24, "rayservices": 6, "rayclusters": 6, "nodes": 8, "services": 3}


def paths() -> list[str]:
    """Return the path of every collection that is watched."""
    return [*(kind.path(NAMESPACE) for kind in KINDS.values()), KINDS["events"].path("default")]


def name_of(number: int) -> str:
    """Return the name of a trial's RayService."""
    return f"llm-{number:04d}"


def uid_of(number: int) -> str:
    """Return the uid of a trial's RayService."""
    return f"rs-{number:04d}-6c06-4027-8ccd-27283c713915"


class ObjectSequence:
    """The objects of one cluster: their first versions and their changes."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._name = name_of(number)
        self._uid = uid_of(number)
        self._step = 0

    def initial(self) -> Iterator[tuple[str, Object]]:
        """Yield the objects that exist before the first request."""
        yield "rayservices", self._rayservice()
        yield "rayclusters", self._raycluster()
        for role in ("head", "worker"):
            yield "nodes", self._node(role)
            yield "pods", self._pod(role)
        yield "services", self._service()

    def next_versions(self, chance: random.Random) -> Iterator[tuple[str, Object]]:
        """Yield the versions of the next change."""
        self._step += 1
        role = chance.choice(("head", "worker"))
        match chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]:
            case "event":
                yield from self._event(role)
            case "pods":
                yield "pods", self._pod(role)
            case "rayservices":
                yield "rayservices", self._rayservice()
            case "rayclusters":
                yield "rayclusters", self._raycluster()
            case "nodes":
                yield "nodes", self._node(role)
            case _:
                yield "services", self._service()

    def named(self) -> tuple[str, str]:
        """Return collection path and uid of the only object that is requested by name: the RayService."""
        return KINDS["rayservices"].path(NAMESPACE), self._uid

    def serve_answer(self) -> Object:
        """Return the answer of Serve's REST interface."""
        replica = {"state": "RUNNING", "node_id": "b", "start_time_s": 1.0, "log_file_path": "/serve/replica_x.log"}
        deployment = {"status": "HEALTHY", "message": "", "replicas": [replica]}
        return {"applications": {"llm": {"status": "RUNNING", "deployments": {"LLM": deployment}}}}

    def _metadata(self, name: str, uid: str, owner: str | None = None, **more: Any) -> Object:
        fields: Object = {"f:status": {f"f:field{number}": {} for number in range(12)}}
        return {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid,
            "creationTimestamp": stamp(datetime.now(UTC)),
            **({"ownerReferences": [{"uid": owner, "controller": True}]} if owner else {}),
            "managedFields": [
                {"manager": manager, "operation": "Update", "time": stamp(datetime.now(UTC)), "fieldsV1": fields}
                for manager in ("kuberay-operator", "kubelet")
            ],
            **more,
        }

    def _rayservice(self) -> Object:
        condition = {"type": "Ready", "status": "False", "reason": "Initializing", "message": f"step {self._step}"}
        return _object(
            "rayservices",
            self._metadata(self._name, self._uid),
            spec={"serveConfigV2": _SERVE_CONFIG, "rayClusterConfig": self._groups()},
            status={"conditions": [condition], "pendingServiceStatus": {"rayClusterName": f"{self._name}-abc12"}},
        )

    def _groups(self) -> Object:
        template = {"spec": _pod_spec("node")}
        return {"headGroupSpec": {"template": template}, "workerGroupSpecs": [{"replicas": 1, "groupName": "gpu"}]}

    def _raycluster(self) -> Object:
        metadata = self._metadata(f"{self._name}-abc12", f"rc-{self._uid}", self._uid)
        status = {"desiredWorkerReplicas": 1, "observedGeneration": self._step}
        return _object("rayclusters", metadata, spec=self._groups(), status=status)

    def _pod(self, role: str) -> Object:
        labels = {"ray.io/cluster": f"{self._name}-abc12", "ray.io/node-type": role, "ray.io/is-ray-node": "yes"}
        metadata = self._metadata(f"{self._name}-abc12-{role}", f"{role}-{self._uid}", f"rc-{self._uid}", labels=labels)
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": stamp(datetime.now(UTC))}
            for kind in ("PodScheduled", "Initialized", "PodReadyToStartContainers", "ContainersReady", "Ready")
        ]
        state = {"running": {"startedAt": stamp(datetime.now(UTC))}}
        statuses = [{"name": "ray", "ready": False, "restartCount": self._step, "state": state, "image": "acme/ray:1"}]
        status = {"phase": "Running", "conditions": conditions, "containerStatuses": statuses}
        return _object("pods", metadata, spec=_pod_spec(f"node-{self._number}-{role}"), status=status)

    def _node(self, role: str) -> Object:
        metadata = self._metadata(f"node-{self._number}-{role}", f"node-{self._number}-{role}-{self._uid}")
        del metadata["namespace"]
        images = [{"names": [f"acme/image-{number}@sha256:{'0' * 64}"], "sizeBytes": 1000} for number in range(8)]
        status = {"allocatable": {"cpu": "8", "nvidia.com/gpu": "1"}, "images": images, "note": self._step}
        return _object("nodes", metadata, spec={"providerID": f"made-up:///{role}"}, status=status)

    def _service(self) -> Object:
        metadata = self._metadata(f"{self._name}-serve-svc", f"svc-{self._uid}", self._uid)
        return _object("services", metadata, spec={"ports": [{"port": 8000}], "note": self._step}, status={})

    def _event(self, role: str) -> Iterator[tuple[str, Object]]:
        """Yield one event in both APIs, as an API server shows it."""
        name = f"{self._name}-abc12-{role}"
        metadata = {
            "name": f"{name}.{self._step:016x}",
            "namespace": NAMESPACE,
            "uid": f"event-{self._step}-{self._uid}",
            "creationTimestamp": stamp(datetime.now(UTC)),
        }
        about = {"kind": "Pod", "namespace": NAMESPACE, "name": name, "uid": f"{role}-{self._uid}", "apiVersion": "v1"}
        text = f"Readiness probe failed in step {self._step}: " + "no answer from the proxy; " * 6
        now = stamp(datetime.now(UTC))
        source = {"component": "kubelet", "host": f"node-{self._number}-{role}"}
        yield "events", _object(
            "events", metadata, involvedObject=about, reason="Unhealthy", message=text, source=source,
            firstTimestamp=now, lastTimestamp=now, count=1, type="Warning", eventTime=None,
        )  # fmt: skip


def endpoint_slice(number: int, now: datetime) -> Object:
    """Return the EndpointSlice that makes a cluster's deployment ready."""
    metadata = {
        "name": f"{name_of(number)}-serve-svc-x1",
        "namespace": NAMESPACE,
        "uid": f"slice-{uid_of(number)}",
        "creationTimestamp": stamp(now),
        "labels": {"kubernetes.io/service-name": f"{name_of(number)}-serve-svc"},
        "ownerReferences": [{"uid": f"svc-{uid_of(number)}", "controller": True}],
    }
    endpoints = [{"addresses": ["10.244.0.3"], "conditions": {"ready": True, "serving": True, "terminating": False}}]
    return _object("endpointslices", metadata, addressType="IPv4", endpoints=endpoints, ports=[{"port": 8000}])


def stamp(instant: datetime) -> str:
    """Return an instant as Kubernetes writes it: whole seconds."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _object(resource: str, metadata: Object, **content: Any) -> Object:
    kind = KINDS[resource]
    return {"kind": kind.kind, "apiVersion": kind.api, "metadata": metadata, **content}


def _pod_spec(node: str) -> Object:
    container = {"image": "acme/ray-llm:2.60.0", "env": _ENV, "volumeMounts": _MOUNTS, "args": [_SCRIPT]}
    resources = {"limits": {"cpu": "2", "memory": "6Gi"}, "requests": {"cpu": "2", "memory": "6Gi"}}
    spec = {
        "initContainers": [{"name": "wait-gcs-ready", **container}],
        "containers": [{"name": "ray", **container, "resources": resources}],
        "nodeName": node,
    }
    copied: Object = json.loads(json.dumps(spec))
    return copied
