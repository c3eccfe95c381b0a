"""Pods that have a node and whose containers are never created: Secrets, ConfigMaps and their keys."""

from typing import Any, Final

from llm_provisioning_simulator.dead_ends.scene import DeadEnd, Says, Scene

_CONFIG: Final = "CreateContainerConfigError"


def _env(scene: Scene, source: dict[str, Any], role: Any = "worker") -> None:
    scene.container(role).setdefault("env", []).append({"name": "HF_TOKEN", "valueFrom": source})


def _env_from(scene: Scene, source: dict[str, Any]) -> None:
    scene.container("worker")["envFrom"] = [source]


def _volume(scene: Scene, volume: dict[str, Any]) -> None:
    scene.pod("worker").setdefault("volumes", []).append({"name": "extra", **volume})
    scene.container("worker").setdefault("volumeMounts", []).append({"name": "extra", "mountPath": "/extra"})


def _key_missing(scene: Scene) -> None:
    scene.create("secrets", "hf-secret", data={"other": "eA=="})
    _env(scene, {"secretKeyRef": {"name": "hf-secret", "key": "token"}})


def _item_missing(scene: Scene) -> None:
    scene.create("configmaps", "settings", data={"other": "x"})
    _volume(scene, {"configMap": {"name": "settings", "items": [{"key": "wanted", "path": "wanted"}]}})


_TOKEN: Final = {"secretKeyRef": {"name": "hf-secret", "key": "token"}}

ENDS: Final = (
    DeadEnd(
        "secret-missing",
        "a Secret that the worker's environment names does not exist",
        lambda scene: _env(scene, _TOKEN),
        Says("Pod", "container", _CONFIG, 'secret "hf-secret" not found'),
    ),
    DeadEnd(
        "head-secret-missing",
        "a Secret that the head's environment names does not exist",
        lambda scene: _env(scene, _TOKEN, "head"),
        Says("RayCluster", "condition", _CONFIG, 'secret "hf-secret" not found'),
    ),
    DeadEnd(
        "secret-key-missing",
        "the Secret exists and lacks the key",
        _key_missing,
        Says("Pod", "container", _CONFIG, "couldn't find key token in Secret serving/hf-secret"),
    ),
    DeadEnd(
        "env-from-secret-missing",
        "a Secret that envFrom names does not exist",
        lambda scene: _env_from(scene, {"secretRef": {"name": "keys"}}),
        Says("Pod", "container", _CONFIG, 'secret "keys" not found'),
    ),
    DeadEnd(
        "config-map-missing",
        "a ConfigMap that the worker's environment names does not exist",
        lambda scene: _env(scene, {"configMapKeyRef": {"name": "settings", "key": "a"}}),
        Says("Pod", "container", _CONFIG, 'configmap "settings" not found'),
    ),
    DeadEnd(
        "env-from-config-map-missing",
        "a ConfigMap that envFrom names does not exist",
        lambda scene: _env_from(scene, {"configMapRef": {"name": "settings"}}),
        Says("Pod", "container", _CONFIG, 'configmap "settings" not found'),
    ),
    DeadEnd(
        "secret-volume-missing",
        "a Secret that a volume names does not exist",
        lambda scene: _volume(scene, {"secret": {"secretName": "certs"}}),
        Says("Pod", "event", "FailedMount", 'MountVolume.SetUp failed for volume "extra" : secret "certs" not found'),
    ),
    DeadEnd(
        "config-map-volume-missing",
        "a ConfigMap that a volume names does not exist",
        lambda scene: _volume(scene, {"configMap": {"name": "settings"}}),
        Says("Pod", "event", "FailedMount", 'configmap "settings" not found'),
    ),
    DeadEnd(
        "volume-key-missing",
        "the ConfigMap of a volume lacks a key that is asked for",
        _item_missing,
        Says("Pod", "event", "FailedMount", "references non-existent configmap key: wanted"),
    ),
)
