"""The objects that `compile_cache` prepares: a claim, and a Job that starts the very engine in the worker's own pod."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.manifests import RayGroup, engine_groups, images, pod_template, ray_container
from airflow_llm_provisioning.core.manifests.groups import accelerators
from airflow_llm_provisioning.core.manifests.serve_config import serve_config
from airflow_llm_provisioning.core.manifests.tree import copied
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.treatments.base import StepContext
from airflow_llm_provisioning.core.treatments.cache_programs import FILL
from airflow_llm_provisioning.core.treatments.shared_claims import ServedImages

NAME: Final = "compile_cache"
KEY_FILE: Final = "cache.tar"
SIZE: Final = "10Gi"
# A GPU is paid for while the Job runs.
LIMIT_S: Final = 3000
# What of the Ray container makes the engine what it is.
_OF_CONTAINER: Final = ("env", "envFrom", "resources", "volumeMounts", "securityContext", "imagePullPolicy")
_SHARED: Final = "/dev/shm"  # noqa: S108 - where Ray and NCCL look for it
_GI: Final = {"Gi": 1, "Ti": 1024}
# Beginnings of the variables that are in a cache's key, or choose what is compiled (vLLM envs.compile_factors; torch).
_VARIABLES: Final = ("VLLM_", "TORCH", "PYTORCH_", "TRITON_", "CUDA_", "NVIDIA_")
# What of a group's pod says on which GPU it runs.
_PLACED_BY: Final = ("nodeSelector", "affinity", "runtimeClassName")


def archive_key(manifest: Mapping[str, Any], group: RayGroup, recipe: str) -> str:
    """Return the name of the archive for the engines of a group: of the applications, the image's recipe, and what of
    the group may give the engine another GPU or configuration.
    """
    template = mapping(pod_template(manifest, group))
    spec, ray = mapping(template.get("spec")), ray_container(manifest, group)
    variables = [item for item in map(mapping, items(ray.get("env"))) if text(item.get("name")).startswith(_VARIABLES)]
    return fingerprint(
        {
            "applications": serve_config(manifest).get("applications"),
            "recipe": recipe,
            "image": text(ray.get("image")) if len(images(manifest)) > 1 else "",
            "gpus": accelerators(ray),
            "variables": sorted(map(dict, variables), key=lambda item: str(item["name"])),
            # Luna is told the kind of GPU by annotations of the pod.
            "placed": [mapping(template.get("metadata")).get("annotations"), *map(spec.get, _PLACED_BY)],
        },
        8,
    )


def cache_objects(context: StepContext) -> Mapping[str, Any]:
    """Return the arguments of `PrepareObjects`: a claim and a Job for each image, kind of GPU and engine configuration
    of the target.
    """
    told = context.target.told_of(NAME)
    objects: list[dict[str, Any]] = []
    served = ServedImages()
    claims: dict[str, str] = {}
    for image, manifest in context.served() or ((context.image, context.manifest()),):
        for group, claim, archive, root in _wanted(manifest):
            if archive in claims:
                continue
            if not told.get("claim") and claim not in claims.values():
                objects.append(_claim(claim, told))
            claims[archive] = claim
            named = served.named(image, manifest, text(ray_container(manifest, group).get("image")))
            objects.append(_job(manifest, group, claim, archive, root, named))
    size = text(told.get("size")) or SIZE
    amount = int(size[:-2]) * _GI[size[-2:]] if size[:-2].isdigit() and size[-2:] in _GI else 0
    disks = max(1, sum(item["kind"] == "PersistentVolumeClaim" for item in objects))
    return {
        "target": context.target.as_dict(),
        "treatment": NAME,
        "objects": objects,
        "image": served.given(),
        "idle": [{"what": "disk", "name": text(told.get("storage_class")), "amount": amount * disks}],
    }


def _wanted(manifest: Mapping[str, Any]) -> Iterator[tuple[RayGroup, str, str, str]]:
    """Yield group, claim, archive and root of each cache that a RayService unpacks: its init containers say them."""
    for group in engine_groups(manifest):
        spec = mapping(pod_template(manifest, group).get("spec"))
        volumes: dict[str, Mapping[str, Any]] = {
            text(mapping(item).get("name")): mapping(item) for item in items(spec.get("volumes"))
        }
        for init in map(mapping, items(spec.get("initContainers"))):
            args = [text(item) for item in items(init.get("args"))]
            if len(args) == 2 and args[0].endswith(f"/{KEY_FILE}"):
                for mount in map(mapping, items(init.get("volumeMounts"))):
                    source = mapping(volumes.get(text(mount.get("name")), {}).get("persistentVolumeClaim"))
                    if source and args[0].startswith(f"{mount.get('mountPath')}/"):
                        yield group, text(source.get("claimName")), args[0], args[1]


def _claim(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": text(told.get("storage_class")),
        "resources": {"requests": {"storage": text(told.get("size")) or SIZE}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _job(
    manifest: Mapping[str, Any], group: RayGroup, claim: str, archive: str, root: str, image: str
) -> dict[str, Any]:
    """Return the Job: a worker's pod with the archive's claim writable, and our program instead of Ray's worker."""
    template: dict[str, Any] = copied(pod_template(manifest, group))
    spec, metadata = template["spec"], mapping(template.get("metadata"))
    ray = ray_container(manifest, group)
    unpacks = next(item for item in spec["initContainers"] if text(next(iter(item.get("args") or ()), "")) == archive)
    mounts = {mount["mountPath"]: mount["name"] for mount in unpacks["volumeMounts"]}
    where = str(PurePosixPath(archive).parent.parent)
    container = {
        **{key: copied(ray[key]) for key in _OF_CONTAINER if ray.get(key)},
        "name": "fill",
        "image": image,
        "command": ["python", "-c", FILL],
        "args": [json.dumps(_one_replica(serve_config(manifest))), archive, root],
    }
    shared = _shared_memory(container)
    container["volumeMounts"] += [{"name": mounts[where], "mountPath": where}, *(mount for _, mount in shared)]
    writable = {"name": mounts[where], "persistentVolumeClaim": {"claimName": claim}}
    pod = {
        **{key: value for key, value in spec.items() if key not in ("initContainers", "containers", "volumes")},
        "restartPolicy": "Never",
        "initContainers": [item for item in spec["initContainers"] if item is not unpacks],
        "containers": [container],
        "volumes": [
            *(writable if item["name"] == mounts[where] else item for item in spec["volumes"]),
            *(volume for volume, _ in shared),
        ],
    }
    # A node autoscaler may look at labels and annotations of a pod.
    kept = {key: dict(metadata[key]) for key in ("labels", "annotations") if metadata.get(key)}
    of_job = {
        "backoffLimit": 1,
        "activeDeadlineSeconds": LIMIT_S,
        "template": {"metadata": kept, "spec": {key: value for key, value in pod.items() if value != []}},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": of_job}


def _shared_memory(container: Mapping[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return volume and mount of shared memory, as KubeRay gives it to its pods (1.7, common/pod.go); none where the
    user has one.
    """
    if any(mapping(mount).get("mountPath") == _SHARED for mount in items(container.get("volumeMounts"))):
        return []
    asked = mapping(container.get("resources"))
    size = mapping(asked.get("requests")).get("memory") or mapping(asked.get("limits")).get("memory")
    medium: dict[str, Any] = {"medium": "Memory", **({"sizeLimit": size} if size else {})}
    return [({"name": "shared-mem", "emptyDir": medium}, {"name": "shared-mem", "mountPath": _SHARED})]


def _one_replica(value: Any) -> Any:
    """Return Serve's configuration with one replica of each deployment: more do not fit into one pod, and their number
    is in no cache's key.
    """
    if isinstance(value, Mapping):
        made = {key: _one_replica(inner) for key, inner in value.items()}
        if isinstance(made.get("num_replicas"), int):
            made["num_replicas"] = 1
        if isinstance(made.get("autoscaling_config"), dict):
            made["autoscaling_config"] |= {"min_replicas": 1, "initial_replicas": 1}
        return made
    return [_one_replica(item) for item in value] if isinstance(value, list) else value
