"""The groups of Ray pods in a RayService, their Ray containers, and what these ask for.

Knows KubeRay's layout only: one head group and any number of worker groups, each with a pod template.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.devices import devices
from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.manifests.tree import Node, Path, found, path_text, shown
from airflow_llm_provisioning.core.quantity import whole_count
from airflow_llm_provisioning.core.scaling import ScalingSetup
from airflow_llm_provisioning.exceptions import ManifestError

CLUSTER: Final[Path] = ("spec", "rayClusterConfig")
HEAD: Final[Path] = (*CLUSTER, "headGroupSpec")
WORKERS: Final[Path] = (*CLUSTER, "workerGroupSpecs")
# The value of the label `ray.io/group` that KubeRay 1.7 gives to the head pod.
HEAD_GROUP: Final = "headgroup"
# The Ray container is the first of the pod (kuberay 1.7, RayContainerIndex).
RAY_CONTAINER: Final = 0

_PRIVATE_DOMAINS: Final = ("kubernetes.io", "k8s.io")


@dataclass(frozen=True, slots=True)
class RayGroup:
    """One group of equal Ray pods. `path`: keys from the manifest's top to the group."""

    path: Path
    role: Literal["head", "worker"]
    name: str
    container: int = RAY_CONTAINER

    @property
    def place(self) -> str:
        """The group's key path as text."""
        return path_text(self.path)

    @property
    def template_path(self) -> Path:
        """Key path of the pod template."""
        return (*self.path, "template")

    @property
    def container_path(self) -> Path:
        """Key path of the Ray container."""
        return (*self.template_path, "spec", "containers", self.container)


def ray_groups(manifest: Mapping[str, Any]) -> tuple[RayGroup, ...]:
    """Return the head's group and then the worker groups, as far as they have a Ray container."""
    named: list[RayGroup] = [RayGroup(HEAD, "head", HEAD_GROUP)]
    for index, group in enumerate(items(found(manifest, WORKERS))):
        named.append(RayGroup((*WORKERS, index), "worker", text(mapping(group).get("groupName")) or f"#{index}"))
    return tuple(group for group in named if isinstance(found(manifest, group.container_path), dict))


def worker_groups(manifest: Mapping[str, Any]) -> tuple[RayGroup, ...]:
    """Return the worker groups."""
    return tuple(group for group in ray_groups(manifest) if group.role == "worker")


def group_spec(manifest: Mapping[str, Any], group: RayGroup) -> Node:
    """Return the group itself: replicas, start parameters, template. It is a part of the manifest, no copy."""
    return _part(manifest, group.path)


def pod_template(manifest: Mapping[str, Any], group: RayGroup) -> Node:
    """Return the group's pod template. It is a part of the manifest, no copy."""
    return _part(manifest, group.template_path)


def ray_container(manifest: Mapping[str, Any], group: RayGroup) -> Node:
    """Return the container that runs Ray. It is a part of the manifest, no copy."""
    return _part(manifest, group.container_path)


def accelerators(container: Mapping[str, Any]) -> dict[str, int]:
    """Return extended resource -> count, as a container requests or limits them, whichever is more.

    Every resource name with a domain counts that is not Kubernetes' own: `nvidia.com/gpu`, `nvidia.com/mig-1g.10gb`,
    `google.com/tpu`, `aws.amazon.com/neuron`. Kubernetes allows whole numbers only (docs, "Extended resources").
    """
    counts: dict[str, int] = {}
    for kind in ("requests", "limits"):
        for name, amount in mapping(mapping(container.get("resources")).get(kind)).items():
            if is_accelerator(name):
                counts[name] = max(counts.get(name, 0), _count(name, amount))
    return {name: count for name, count in counts.items() if count}


def replica_count(group: Mapping[str, Any], key: str) -> int | None:
    """Return the number at `replicas`, `minReplicas` or `maxReplicas` of a group, None where there is no number."""
    value = group.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_accelerator(resource: str) -> bool:
    """Say whether a resource name is an extended resource."""
    domain, slash, _ = resource.partition("/")
    return bool(slash) and not any(domain == own or domain.endswith(f".{own}") for own in _PRIVATE_DOMAINS)


def engine_groups(manifest: Mapping[str, Any]) -> tuple[RayGroup, ...]:
    """Return the groups that run the engine: those that ask for accelerators, else all workers, else the head."""
    groups = ray_groups(manifest)
    asking = tuple(group for group in groups if devices(accelerators(ray_container(manifest, group))))
    return asking or worker_groups(manifest) or groups


def images(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the images of the Ray containers, head first, each once."""
    named = (text(ray_container(manifest, group).get("image")) for group in ray_groups(manifest))
    return tuple(dict.fromkeys(image for image in named if image))


def setup_of(manifest: Mapping[str, Any]) -> ScalingSetup:
    """Return the set-up: dynamic where Ray's autoscaler is on and an engine group starts without a pod."""
    scaled = any(starting_replicas(manifest, group) == 0 for group in engine_groups(manifest) if group.role == "worker")
    autoscaler = found(manifest, (*CLUSTER, "enableInTreeAutoscaling")) is True
    return ScalingSetup.DYNAMIC if autoscaler and scaled else ScalingSetup.STATIC


def starting_replicas(manifest: Mapping[str, Any], group: RayGroup) -> int:
    """Return with how many pods a group starts: `replicas`, not below `minReplicas` nor above `maxReplicas`.

    Both default to 0 (kuberay 1.7, utils.GetWorkerGroupDesiredReplicas). The head always starts with 1.
    """
    if group.role == "head":
        return 1
    spec = group_spec(manifest, group)
    least = max(replica_count(spec, "replicas") or 0, replica_count(spec, "minReplicas") or 0)
    most = replica_count(spec, "maxReplicas")
    return least if most is None else min(least, most)


def max_replicas(manifest: Mapping[str, Any], group: RayGroup) -> int | None:
    """Return to how many pods a group may grow: None where the manifest sets no limit; the head has 1."""
    return 1 if group.role == "head" else replica_count(group_spec(manifest, group), "maxReplicas")


def _count(name: str, amount: Any) -> int:
    counted = whole_count(amount)
    if counted is not None:
        return counted
    raise ManifestError(f"The resource {name} has the amount {shown(amount)}; allowed are whole numbers.")


def _part(manifest: Mapping[str, Any], path: Path) -> Node:
    part = found(manifest, path)
    if not isinstance(part, dict):
        raise ManifestError(f"The RayService has no {path_text(path)}.")
    return part
