"""What a dead end is: a change to a scene that would serve, and the words by which the cluster tells of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml

from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.world import World

Object = dict[str, Any]
Where = Literal["event", "container", "condition", "application", "deployment", "silence"]
"""An event about the object; the state of one of its containers; its condition; a Serve application's or deployment's
status within the RayService. `silence`: the object exists, and has no status.
"""

NAMESPACE: Final = "serving"
NAME: Final = "llm"
IMAGE: Final = "registry.example.com/acme/ray-llm:2.60.0"
MODEL: Final = "microsoft/Phi-3-mini-4k-instruct"
OTHER_IMAGE: Final = "registry.example.com/acme/other:1"


@dataclass(frozen=True, slots=True)
class Says:
    """Which kind of object says it, where, with which reason, and a part of its sentence."""

    kind: Literal["Pod", "RayService", "RayCluster", "Node", "PersistentVolumeClaim"]
    where: Where
    reason: str
    text: str = ""


@dataclass(slots=True)
class Scene:
    """A RayService that would be served, on a cluster with one CPU node and one GPU node (L4) that are there.

    `manifest` is applied once the scene is changed. `store`: of the cluster, for objects beside it.
    """

    manifest: Object
    cluster: SimulatedCluster
    world: World

    @property
    def store(self) -> Any:
        """The cluster's objects."""
        return self.cluster.store

    def group(self, role: Literal["head", "worker"]) -> Object:
        """Return the head group's or the worker group's spec."""
        cluster = self.manifest["spec"]["rayClusterConfig"]
        found: Object = cluster["headGroupSpec"] if role == "head" else cluster["workerGroupSpecs"][0]
        return found

    def pod(self, role: Literal["head", "worker"]) -> Object:
        """Return a group's pod spec."""
        spec: Object = self.group(role)["template"]["spec"]
        return spec

    def container(self, role: Literal["head", "worker"]) -> Object:
        """Return a group's Ray container."""
        container: Object = self.pod(role)["containers"][0]
        return container

    def amounts(self, role: Literal["head", "worker"], **amounts: str) -> None:
        """Set requests and limits of a group's Ray container; `gpu` stands for nvidia.com/gpu."""
        renamed = {"nvidia.com/gpu" if key == "gpu" else key: value for key, value in amounts.items()}
        for part in ("requests", "limits"):
            self.container(role)["resources"][part].update(renamed)

    def serve(self, change: Callable[[Object], None]) -> None:
        """Change the Serve application."""
        config = yaml.safe_load(self.manifest["spec"]["serveConfigV2"])
        change(config["applications"][0])
        self.manifest["spec"]["serveConfigV2"] = yaml.safe_dump(config)

    def llm(self, **engine: Any) -> None:
        """Change the engine's arguments; `model` is where its weights come from."""

        def change(application: Object) -> None:
            config = application["args"]["llm_configs"][0]
            if model := engine.pop("model", None):
                config["model_loading_config"]["model_source"] = model
            config["engine_kwargs"].update(engine)

        self.serve(change)

    def create(self, resource: str, name: str, **content: Any) -> None:
        """Create an object in the namespace of the RayService."""
        self.store.create(resource, {"metadata": {"name": name}, **content}, namespace=NAMESPACE, manager="kubectl")

    def fault(self, name: str, value: Any) -> None:
        """Switch a named fault."""
        self.cluster.faults.switch(name, value)


@dataclass(frozen=True, slots=True)
class DeadEnd:
    """One dead end. `changed`: what makes it one, in a sentence; `nodes`: who makes nodes for its pods."""

    name: str
    changed: str
    change: Callable[[Scene], None]
    says: Says
    nodes: Literal["fixed", "luna"] = "fixed"


def a_manifest() -> Object:
    """Return the RayService of every scene: Ray's own LLM application of one GPU, as KubeRay's sample has it."""
    config = {
        "applications": [
            {
                "name": "llm_app",
                "route_prefix": "/",
                "import_path": "ray.serve.llm:build_openai_app",
                "args": {
                    "llm_configs": [
                        {
                            "model_loading_config": {"model_id": "phi-3-mini", "model_source": MODEL},
                            "engine_kwargs": {"max_model_len": 4096},
                        }
                    ]
                },
            }
        ]
    }
    head = _group({"cpu": "2", "memory": "8Gi"}, "ray-head", "cpu", {"dashboard-host": "0.0.0.0", "num-cpus": "0"})  # noqa: S104
    worker = _group({"cpu": "8", "memory": "20Gi", "nvidia.com/gpu": "1"}, "ray-worker", "gpu", {})
    worker |= {"groupName": "gpu-group", "replicas": 1, "minReplicas": 1, "maxReplicas": 1}
    worker["template"]["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "serveConfigV2": yaml.safe_dump(config),
            "rayClusterConfig": {"rayVersion": "2.60.0", "headGroupSpec": head, "workerGroupSpecs": [worker]},
        },
    }


def _group(amounts: Mapping[str, str], name: str, pool: str, params: Mapping[str, str]) -> Object:
    resources = {"requests": dict(amounts), "limits": dict(amounts)}
    container = {"name": name, "image": IMAGE, "resources": resources}
    spec = {"containers": [container], "nodeSelector": {"pool": pool}, "terminationGracePeriodSeconds": 5}
    metadata = {"labels": {"elotl-luna": "true"}}
    return {"rayStartParams": dict(params), "template": {"metadata": metadata, "spec": spec}}
