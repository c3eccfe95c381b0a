"""Dragonfly as plain Kubernetes objects, without its manager: scheduler, seed peer, and a peer on every node.

What the chart's objects of the lightweight deployment are (d7y.io, "Lightweight Deployment", 2026-07; dragonflyoss/
helm-charts charts/dragonfly/templates @0067507): the scheduler coordinates; a seed peer fetches from registries and
keeps what it fetched; dfdaemon on every node is a proxy on port 4001 that gets layers from peers; dfinit writes
containerd's `hosts.toml`, so that pulls go through that proxy (dragonflyoss/client, dragonfly-client-init/src/
container_runtime/containerd.rs).

Differences from the chart, and why. The scheduler and the seed peer are Deployments, because content lives as long as
its preparation. containerd is not restarted, which needs a privileged container: EKS's AL2023, GKE and AKS have a
`config_path`, and containerd reads what is below it at each pull. Logs go to the console, where the recording finds
them. Pure.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.fields import items, mapping
from airflow_llm_provisioning.core.manifests.groups import RayGroup, pod_template, ray_groups
from airflow_llm_provisioning.core.prepared_objects import EVIDENCE, NAME

PROXY_PORT: Final = 4001
SCHEDULER_PORT: Final = 8002
SOCKET: Final = "/var/run/dragonfly/dfdaemon.sock"
STORAGE: Final = "/var/lib/dragonfly"
CONTAINERD: Final = "/etc/containerd/config.toml"
# Role of a pod: label and value.
ROLE: Final = "llm-provisioning/dragonfly"
SCHEDULER, SEED, PEER = "scheduler", "seed-peer", "peer"
# The client's version that is deployed where a target names none (seen in a Karpenter deployment, 2026).
CLIENT_TAG: Final = "v1.5.7"
BUSYBOX: Final = "docker.io/library/busybox:1.37.0"
# Of dfdaemon's lines: that its proxy listens, the first piece of a layer from a peer, every piece from a registry, the
# beginning and the end of a task (dragonflyoss/client proxy/mod.rs, resource/task.rs, grpc/dfdaemon_download.rs; the
# same from 0.1 to 1.x but for ` using protocol tcp` behind a peer).
LISTENS: Final = "proxy server listening on"
KEPT_LINES: Final = (LISTENS, "-0 from parent", " from source", "download task started", "download task succeeded")
# Where other pods than a preparation's run, on nodes that clouds and people keep for a cluster's own services.
_SYSTEM: Final = [{"key": "CriticalAddonsOnly", "operator": "Exists"}]


def dragonfly_objects(
    manifest: Mapping[str, Any], *, scheduler_tag: str, client_tag: str = CLIENT_TAG
) -> list[dict[str, Any]]:
    """Return Dragonfly's objects, without names (`core.prepared_objects`).

    `manifest`: the RayService, as placed on the target's nodes: the peers run on every node that one of its groups may
    use. There the pulls of all registries go through them: an image may be built after this was called.
    """
    return [
        _config(),
        _service(),
        _deployment(SCHEDULER, f"docker.io/dragonflyoss/scheduler:{scheduler_tag}", [], SCHEDULER_PORT),
        _deployment(SEED, f"docker.io/dragonflyoss/client:{client_tag}", ["--log-level=info", "--console"], 4000),
        _peers(manifest, client_tag),
    ]


def waiting_container(wait_s: int, *, fails: bool = False) -> dict[str, Any]:
    """Return an init container that ends when the node's peer listens, or after `wait_s`: then it `fails`, or the pull
    goes to the registry.

    On a new node the peer's own image is pulled at the same time, and without this the serving image's pull begins
    first (the peers are a DaemonSet, which has no say in other pods' start).
    """
    look = f'nc -z -w 2 "$NODE_IP" {PROXY_PORT}'
    loop = (
        f'waited=0; until {look}; do if [ "$waited" -ge {wait_s} ]; then echo "no peer on $NODE_IP after $waited s"; '
        f'exit {int(fails)}; fi; sleep 1; waited=$((waited + 1)); done; echo "peer on $NODE_IP after $waited s"'
    )
    return {
        "name": "wait-for-peer",
        "image": BUSYBOX,
        "command": ["sh", "-c", loop],
        "env": [{"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}},
    }


def pulling_job(manifest: Mapping[str, Any], image: str, wait_s: int) -> dict[str, Any]:
    """Return the Job that fills the seed peer: it pulls an image through the peer of a node like the head's, with the
    credentials that the node has.

    Dragonfly's own `dfctl task preheat` wants a registry's user and password on its command line, and a Job has none.
    """
    head = ray_groups(manifest)[0]
    template = pod_template(manifest, head)
    spec, metadata = mapping(template["spec"]), mapping(template.get("metadata"))
    told = json.dumps({"image": image})
    container = {
        "name": "pull",
        "image": image,
        "imagePullPolicy": "Always",
        "command": ["sh", "-c", f"echo 'LLM-PREPARED {told}'"],
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}},
    }
    pod = {
        **{key: spec[key] for key in _PLACE if key in spec},
        "restartPolicy": "Never",
        # Peers that the cluster does not admit would be found out by the trials only.
        "initContainers": [waiting_container(wait_s, fails=True)],
        "containers": [container],
    }
    kept = {key: dict(metadata[key]) for key in ("labels", "annotations") if metadata.get(key)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {"backoffLimit": 2, "template": {"metadata": kept, "spec": pod}},
    }


# Of the head's pod: where the Job may run and how it gets its image.
_PLACE: Final = ("nodeSelector", "affinity", "tolerations", "serviceAccountName", "imagePullSecrets")


def _config() -> dict[str, Any]:
    """Return the configuration files as JSON, which is YAML."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "data": {
            "scheduler.yaml": _file({"server": {"port": SCHEDULER_PORT}, "seedPeer": {"enable": True}}),
            "seed-peer.yaml": _file({**_daemon(), "seedPeer": {"enable": True, "type": "super"}}),
            "peer.yaml": _file(_daemon()),
            "dynconfig.yaml": _file({"scheduler": {"addr": f"{NAME}:{SCHEDULER_PORT}"}}),
            "scheduler-dynconfig.yaml": _file({"seedPeerClusterConfig": {"loadLimit": 2000}}),
            "dfinit.yaml": _file(
                {
                    "proxy": {"addr": f"http://127.0.0.1:{PROXY_PORT}"},
                    "containerRuntime": {"containerd": {"configPath": CONTAINERD, "proxyAllRegistries": True}},
                }
            ),
        },
    }


def _daemon() -> dict[str, Any]:
    """Return dfdaemon's settings: layers go through the peers, and the id of a layer's task is its digest."""
    return {
        "download": {"server": {"socketPath": SOCKET}},
        "storage": {"dir": STORAGE},
        "proxy": {
            "server": {"port": PROXY_PORT},
            "rules": [{"regex": "blobs/sha256.*"}],
            "registryMirror": {"addr": "https://index.docker.io", "enableTaskIDBasedBlobDigest": True},
        },
    }


def _file(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1)


def _service() -> dict[str, Any]:
    """Return the headless Service by which peers find the scheduler."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "spec": {
            "clusterIP": "None",
            "selector": {ROLE: SCHEDULER, "app": NAME},
            "ports": [{"name": "grpc", "port": SCHEDULER_PORT}],
        },
    }


def _deployment(role: str, image: str, args: Sequence[str], port: int) -> dict[str, Any]:
    """Return the Deployment of the scheduler or of the seed peer: one pod, never beside a trial's."""
    labels = {ROLE: role, "app": NAME}
    seed = role == SEED
    container = {
        "name": role,
        "image": image,
        "args": [*args] or ["--console"],
        "ports": [{"containerPort": port}],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}},
        "readinessProbe": _probe(f":{port}"),
        "volumeMounts": [*_files(role), *([{"name": "storage", "mountPath": STORAGE}] if seed else [])],
    }
    apart = {"labelSelector": {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]}}
    spec = {
        # A trial's pods on this node would find it old, and its layers would not come over a network.
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{**apart, "topologyKey": "kubernetes.io/hostname"}]
            }
        },
        "tolerations": list(_SYSTEM),
        "containers": [container],
        "volumes": [_volume(), *([{"name": "storage", "emptyDir": {}}] if seed else [])],
    }
    metadata: dict[str, Any] = {"labels": labels}
    if seed:
        metadata["annotations"] = {EVIDENCE: "|".join(KEPT_LINES)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{NAME}-{role}"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


def _peers(manifest: Mapping[str, Any], tag: str) -> dict[str, Any]:
    labels = {ROLE: PEER, "app": NAME}
    container = {
        "name": PEER,
        "image": f"docker.io/dragonflyoss/client:{tag}",
        "args": ["--log-level=info", "--console"],
        "ports": [{"containerPort": PROXY_PORT}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "4", "memory": "4Gi"}},
        "readinessProbe": _probe(f"unix://{SOCKET}"),
        "volumeMounts": [*_files(PEER), {"name": "socket", "mountPath": "/var/run/dragonfly"}],
    }
    dfinit = {
        "name": "dfinit",
        "image": f"docker.io/dragonflyoss/dfinit:{tag}",
        "args": ["--log-level=info", "--console"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "volumeMounts": [*_files("dfinit"), {"name": "containerd", "mountPath": "/etc/containerd"}],
    }
    host = (("socket", "/var/run/dragonfly"), ("containerd", "/etc/containerd"))
    spec = {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "affinity": _everywhere(manifest),
        "tolerations": [{"operator": "Exists"}],
        "initContainers": [dfinit],
        "containers": [container],
        "volumes": [
            _volume(),
            *({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}} for name, path in host),
        ],
    }
    annotations = {EVIDENCE: "|".join(KEPT_LINES)}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
        },
    }


def _files(role: str) -> list[dict[str, Any]]:
    """Return the mounts of a program's configuration."""
    wanted = {"dfinit.yaml": "dfinit.yaml"} if role == "dfinit" else {f"{role}.yaml": _PROGRAM[role]}
    if role != "dfinit":
        wanted["scheduler-dynconfig.yaml" if role == SCHEDULER else "dynconfig.yaml"] = "dynconfig.yaml"
    return [
        {"name": "config", "mountPath": f"/etc/dragonfly/{name}", "subPath": source} for source, name in wanted.items()
    ]


_PROGRAM: Final = {SCHEDULER: "scheduler.yaml", SEED: "dfdaemon.yaml", PEER: "dfdaemon.yaml"}


def _volume() -> dict[str, Any]:
    return {"name": "config", "configMap": {"name": NAME}}


def _probe(address: str) -> dict[str, Any]:
    return {
        "exec": {"command": ["/bin/grpc_health_probe", f"-addr={address}"]},
        "periodSeconds": 2,
        "failureThreshold": 60,
    }


def _everywhere(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the affinity to every node that a group of the RayService may use; none where a group may use all."""
    terms = [term for group in ray_groups(manifest) for term in _terms(manifest, group)]
    if not all(term["matchExpressions"] for term in terms):
        return {}
    unique = list({json.dumps(term, sort_keys=True): term for term in terms}.values())
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": unique}}}


def _terms(manifest: Mapping[str, Any], group: RayGroup) -> list[dict[str, Any]]:
    """Return what a group's pods want of their node, as the terms of which one must hold."""
    spec = mapping(pod_template(manifest, group)["spec"])
    chosen = [
        {"key": key, "operator": "In", "values": [value]}
        for key, value in sorted(mapping(spec.get("nodeSelector")).items())
    ]
    affinity = mapping(mapping(mapping(spec.get("affinity")).get("nodeAffinity")).get(_REQUIRED))
    told = [list(items(mapping(term).get("matchExpressions"))) for term in items(affinity.get("nodeSelectorTerms"))]
    return [{"matchExpressions": [*chosen, *one]} for one in told or [[]]]


_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
