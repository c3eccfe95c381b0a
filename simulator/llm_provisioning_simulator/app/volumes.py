"""What outlives a pod because it lies on a volume: downloaded weights, compiled graphs.

A persistent volume claim keeps it for the whole cluster, a host path for its node, an emptyDir for its pod; the
container's own file system keeps nothing. It knows paths and volumes of pods, and no reason for a mount.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llm_provisioning_simulator.hub_models import HubModel
from llm_provisioning_simulator.runtime import ContainerContext
from llm_provisioning_simulator.world import digest_of

# The home of Ray's images, and where huggingface_hub and vLLM keep what they fetched and compiled below it.
HUB_CACHE: Final = "/home/ray/.cache/huggingface"
COMPILE_CACHE: Final = "/home/ray/.cache/vllm"


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that holds entries of a cache."""

    entries: frozenset[str]
    size_bytes: int

    @property
    def digest(self) -> str:
        """The file's digest."""
        return digest_of("archive", str(self.size_bytes), *sorted(self.entries))


class VolumeCaches:
    """The lasting caches of one cluster: volume and path -> what has been put there."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], set[str]] = {}
        self._models: dict[tuple[str, str], HubModel] = {}
        self.archives: dict[tuple[str, str], Archive] = {}
        """Volume and path -> archive."""

    def holds(self, ctx: ContainerContext, path: str, content: str) -> bool:
        """Tell whether a container finds `content` below `path`, which some pod before it has left there."""
        volume = _volume(ctx, path)
        return volume is not None and content in self._held.get((volume, path), ())

    def keep(self, ctx: ContainerContext, path: str, content: str) -> None:
        """Leave `content` below `path`; it is gone with the pod unless a lasting volume is mounted there."""
        volume = _volume(ctx, path)
        if volume is not None:
            self._held.setdefault((volume, path), set()).add(content)

    def entries(self, ctx: ContainerContext, path: str) -> frozenset[str]:
        """Return all that a container finds below `path`."""
        volume = _volume(ctx, path)
        return frozenset() if volume is None else frozenset(self._held.get((volume, path), ()))

    def pack(self, ctx: ContainerContext, path: str, archive: Archive) -> None:
        """Leave an archive at `path`."""
        volume = _volume(ctx, path)
        if volume is not None:
            self.archives[volume, path] = archive

    def archive_at(self, ctx: ContainerContext, path: str) -> Archive | None:
        """Return the archive at a path of a lasting volume, or None."""
        volume = _volume(ctx, path)
        return None if volume is None else self.archives.get((volume, path))

    def fill(self, ctx: ContainerContext, path: str, model: HubModel) -> None:
        """Leave a model's files in a folder."""
        volume = _volume(ctx, path)
        if volume is not None:
            self._models[volume, path] = model

    def model_at(self, ctx: ContainerContext, path: str) -> HubModel | None:
        """Return the model in a folder of a lasting volume, or None."""
        volume = _volume(ctx, path)
        return None if volume is None else self._models.get((volume, path))


def image_at(ctx: ContainerContext, path: str) -> str | None:
    """Return the image that is mounted where `path` lies, or None."""
    reference = (_mounted(ctx, path).get("image") or {}).get("reference")
    return str(reference) if reference else None


def _volume(ctx: ContainerContext, path: str) -> str | None:
    """Return the identity of the volume that `path` lies on, or None."""
    volume = _mounted(ctx, path)
    uid = ctx.pod["metadata"].get("uid")
    if "emptyDir" in volume and uid:
        return f"pod {uid}: {volume['name']}"
    if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
        return f"claim {claim}"
    if host_path := (volume.get("hostPath") or {}).get("path"):
        return f"{ctx.node.name}:{host_path}"
    return None


def _mounted(ctx: ContainerContext, path: str) -> Mapping[str, Any]:
    """Return the volume that `path` lies on; empty for none."""
    mounts = [
        mount
        for mount in ctx.container.get("volumeMounts") or ()
        if path == mount["mountPath"] or path.startswith(mount["mountPath"].rstrip("/") + "/")
    ]
    if not mounts:
        return {}
    deepest = max(mounts, key=lambda mount: len(mount["mountPath"]))
    volumes: dict[str, Mapping[str, Any]] = {item["name"]: item for item in ctx.pod["spec"].get("volumes") or ()}
    return volumes.get(deepest["name"]) or {}
