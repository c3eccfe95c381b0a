"""Changes to what the Ray containers run: image, pull policy, environment, volumes.

Each function returns a changed copy; the manifest that it gets is never changed. What the user decided otherwise is
refused with group and key, never overwritten.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import text
from airflow_llm_provisioning.core.manifests.groups import RayGroup, images, pod_template, ray_container, ray_groups
from airflow_llm_provisioning.core.manifests.serve_config import applications, place_in_config, serve_config
from airflow_llm_provisioning.core.manifests.tree import Node, copied, entries, found, shown
from airflow_llm_provisioning.exceptions import ManifestError

PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")


def with_image(manifest: Mapping[str, Any], new: Mapping[str, str]) -> Node:
    """Return the manifest with images replaced. `new`: old reference -> new one.

    Replaces them in the Ray containers, and in init containers and the autoscaler's container where these name the same
    image. Raises ManifestError for a reference that no Ray container uses.
    """
    used = images(manifest)
    unused = [reference for reference in new if reference not in used]
    if unused:
        raise ManifestError(
            f"The image {shown(unused[0])} cannot be replaced: no Ray container uses it; these do: {', '.join(used)}."
        )
    made: Node = copied(manifest)
    for holder in _image_holders(made):
        image = text(holder.get("image"))
        if image in new:
            holder["image"] = new[image]
    return made


def with_pull_policy(manifest: Mapping[str, Any], policy: str) -> Node:
    """Return the manifest with this `imagePullPolicy` in every Ray container, and in init containers of its image."""
    if policy not in PULL_POLICIES:
        raise ManifestError(f"The pull policy {shown(policy)} is unknown; allowed are {', '.join(PULL_POLICIES)}.")
    made: Node = copied(manifest)
    for container in _same_image_containers(made):
        container["imagePullPolicy"] = policy
    return made


def with_env(manifest: Mapping[str, Any], env: Mapping[str, str], groups: Iterable[RayGroup] | None = None) -> Node:
    """Return the manifest with these variables in every Ray container, or in those of `groups`, in the order of their
    names.

    Raises ManifestError where the user sets one to another value, in the container or in an application's runtime
    environment, which Ray would prefer.
    """
    for path, application in applications(serve_config(manifest)):
        place = (*path, "runtime_env", "env_vars")
        for name, value in _texts(found(application, ("runtime_env", "env_vars"))):
            if name in env and value != env[name]:
                raise ManifestError(
                    f"The variable {shown(name)} cannot be set: {place_in_config(place)} sets it to another value."
                )
    made: Node = copied(manifest)
    for group in ray_groups(made) if groups is None else groups:
        listed = entries(ray_container(made, group), "env", group.container_path)
        for name in sorted(env):
            _add_variable(listed, name, env[name], group)
    return made


def with_volume(
    manifest: Mapping[str, Any], groups: Iterable[RayGroup], volume: Mapping[str, Any], mount: Mapping[str, Any]
) -> Node:
    """Return the manifest with a volume in the pods of `groups`, mounted in their Ray containers.

    `volume`, `mount`: as Kubernetes writes them; `mount` needs `name` (the volume's) and `mountPath`. Raises
    ManifestError where a pod has another volume of that name, or mounts something else at that path.
    """
    if not volume.get("name") or mount.get("name") != volume["name"] or not mount.get("mountPath"):
        raise ManifestError("A volume needs a name, and its mount that name and a mountPath.")
    made: Node = copied(manifest)
    for group in groups:
        pod_path = (*group.template_path, "spec")
        volumes = entries(pod_template(made, group)["spec"], "volumes", pod_path)
        mounts = entries(ray_container(made, group), "volumeMounts", group.container_path)
        _add(volumes, volume, "name", f"{group.place} (group {group.name})", "volume")
        _add(mounts, mount, "mountPath", f"{group.place} (group {group.name})", "mount")
    return made


def with_init_container(
    manifest: Mapping[str, Any], groups: Iterable[RayGroup], container: Mapping[str, Any], volume: Mapping[str, Any]
) -> Node:
    """Return the manifest with an init container in the pods of `groups`, after the user's own, and a volume for it.

    `container`: as Kubernetes writes it, without image and security context: it gets those of the Ray container.
    Raises ManifestError where a pod has another init container or volume of that name.
    """
    made: Node = copied(manifest)
    for group in groups:
        place, spec = f"{group.place} (group {group.name})", pod_template(made, group)["spec"]
        ray = ray_container(made, group)
        same = {key: ray[key] for key in ("image", "imagePullPolicy", "securityContext") if ray.get(key)}
        pod_path = (*group.template_path, "spec")
        _add(entries(spec, "volumes", pod_path), volume, "name", place, "volume")
        _add(entries(spec, "initContainers", pod_path), {**container, **same}, "name", place, "init container")
    return made


def with_first_init_container(
    manifest: Mapping[str, Any], groups: Iterable[RayGroup], container: Mapping[str, Any]
) -> Node:
    """Return the manifest with an init container in the pods of `groups`, before every other one: the kubelet pulls the
    images of a pod's other containers after it has ended. KubeRay puts its own init container behind those of the
    manifest (kuberay 1.7, common/pod.go, DefaultWorkerPodTemplate).

    Raises ManifestError where a pod has another container of that name.
    """
    made: Node = copied(manifest)
    for group in groups:
        spec, path = pod_template(made, group)["spec"], (*group.template_path, "spec")
        inits = entries(spec, "initContainers", path)
        where = f"{group.place} (group {group.name})"
        for present in (*inits, *entries(spec, "containers", path)):
            if present.get("name") == container["name"] and present != container:
                raise ManifestError(
                    f"The init container {shown(container['name'])} cannot be added: {where} has another of this name."
                )
        if container not in inits:
            inits.insert(0, copied(container))
    return made


def _image_holders(manifest: Node) -> Iterator[Node]:
    yield from _same_image_containers(manifest)
    options = found(manifest, ("spec", "rayClusterConfig", "autoscalerOptions"))
    if isinstance(options, dict):
        yield options


def _same_image_containers(manifest: Node) -> Iterator[Node]:
    """Return every Ray container, and the init containers that run the image of the Ray container beside them."""
    for group in ray_groups(manifest):
        container = ray_container(manifest, group)
        image = container.get("image")
        inits = found(manifest, (*group.template_path, "spec", "initContainers"))
        # Found before the Ray container is given out: its image may change there.
        same = [item for item in inits or () if isinstance(item, dict) and item.get("image") == image]
        yield container
        yield from same


def _add_variable(listed: list[Node], name: str, value: str, group: RayGroup) -> None:
    for entry in listed:
        if entry.get("name") != name:
            continue
        if entry.get("valueFrom") is None and (entry.get("value") or "") == value:
            return
        source = "takes it from elsewhere (valueFrom)" if entry.get("valueFrom") else "sets it to another value"
        raise ManifestError(
            f"The variable {shown(name)} cannot be set: the Ray container of {group.place} (group {group.name}) "
            f"{source}."
        )
    listed.append({"name": name, "value": value})


def _add(listed: list[Node], item: Mapping[str, Any], key: str, place: str, what: str) -> None:
    for present in listed:
        if present.get(key) == item[key]:
            if present == item:
                return
            raise ManifestError(f"The {what} {shown(item[key])} cannot be added: {place} has another with this {key}.")
    listed.append(copied(item))


def _texts(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
