"""How an image reaches a node, and how long a pull takes. Decided only from what the clouds hold.

An accelerated delivery has conditions, each left behind by some call to a cloud; where one is missing the image is
pulled in full, as on any node. `Delivery.why` names the condition that decided.
"""

import heapq
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from llm_provisioning_simulator.profiles import Profile
from llm_provisioning_simulator.world import Delivery, Image, NodeSpec, World, normalise

MIB: Final = 1024**2
# Any of a row lets a node pull, or stream: the image-streaming page's requirements, and the roles that include them.
_GKE_PULL_ROLES: Final = frozenset(
    f"roles/{role}"
    for role in (
        "artifactregistry.reader",
        "artifactregistry.writer",
        "artifactregistry.repoAdmin",
        "artifactregistry.admin",
        "viewer",
        "editor",
        "owner",
    )
)
_GKE_STREAM_ROLES: Final = frozenset(
    f"roles/{role}"
    for role in ("serviceusage.serviceUsageConsumer", "serviceusage.serviceUsageAdmin", "editor", "owner")
)


def deliver(
    world: World,
    node: NodeSpec,
    reference: str,
    image: Image,
    profile: Profile,
    rng: random.Random,
    at: datetime,
    *,
    pull_secrets: bool = False,
) -> Delivery:
    """Decide how `reference`, which names `image`, reaches a node that asks for it at this instant.

    `pull_secrets`: the pod brings credentials of its own.
    """
    if node.cloud == "eks":
        return _from_snapshot(world, node, reference, image, profile, rng)
    if node.disk_image and _disk_obstacle(world, node, image) is None:
        # The same snapshotter mounts them, so it takes as long as a streaming mount.
        return Delivery(
            "mounted",
            mount_s=profile.sample("stream_mount_s", rng),
            first_touch_bytes_s=profile.sample("disk_first_touch_bytes_s", rng),
            why=f"the disk from {node.disk_image} holds its layers",
        )
    if node.cloud == "gke":
        obstacle = _gke_obstacle(world, node, image, at)
    elif pull_secrets:
        obstacle = "the pod brings imagePullSecrets, and only the node's own identity is led to the streaming artifact"
    else:
        obstacle = _aks_obstacle(world, node, reference, image, at)
    if obstacle:
        return Delivery("pull", why=obstacle)
    return Delivery(
        "streamed",
        mount_s=profile.sample("stream_mount_s", rng),
        first_touch_bytes_s=profile.sample("stream_first_touch_bytes_s", rng),
        why="the image is streamed",
    )


def refusal(world: World, node: NodeSpec, image: Image, *, pull_secrets: bool = False) -> str | None:
    """Return why a registry does not let a node read an image, as the container runtime words it; None when it does.

    `pull_secrets`: the pod brings credentials of its own, which stand in for the node's.
    """
    if node.cloud == "gke":
        return _gke_refusal(world, node, image)
    return _aks_refusal(world, node, image) if node.cloud == "aks" and not pull_secrets else None


def remember_pull(world: World, node: NodeSpec, image: Image) -> None:
    """Note a finished full pull: by a streaming GKE node it fills its region's cache behind the streaming mounts."""
    if node.cloud == "gke" and _gke_ineligible(world, node, image) is None:
        world.gke_warm_cache.add((node.region, image.digest))


def snapshot_digest(world: World, node: NodeSpec, reference: str) -> str | None:
    """Return the digest under which a node's data volume holds a reference, or None."""
    snapshot = world.snapshots.get(node.snapshot_id or "")
    if snapshot is None:
        return None
    wanted = normalise(reference)
    return next((digest for held, digest in snapshot.images.items() if normalise(held) == wanted), None)


def pull_s(
    image: Image, profile: Profile, rng: random.Random, node: NodeSpec | None = None, operating_system: str = ""
) -> float:
    """Draw the duration of a full pull: layers come a few at a time over the narrowest of link and registry, and are
    unpacked one after the other at the rate of one core or of the disk, whichever is slower.

    `node`: decides the disk and whether layers are unpacked in parallel; without it both are the plain ones.
    """
    hub = image.reference.startswith("docker.io/")
    source = profile.sample("docker_hub_bytes_s" if hub else "registry_bytes_s", rng)
    link = profile.sample("node_link_bytes_s", rng)
    written = profile.sample("disk_write_bytes_s", rng) / profile.value("unpacked_ratio")
    written *= node.disk_speed if node is not None else 1.0
    core = profile.sample("unpack_bytes_s", rng)
    overhead_s = profile.sample("pull_overhead_s", rng)
    unpackers = (node.parallel_unpacks if node is not None else None) or 1
    if unpackers > 1:
        # The rate was measured over whole pulls, so registry and unpacking are in it; Docker Hub is slower than that.
        whole = profile.sample(f"{operating_system}_parallel_pull_bytes_s", rng)
        rate = min(whole, unpackers * core, link, written, source if hub else whole)
        return overhead_s + image.compressed_bytes / rate
    streams = int(profile.value("parallel_layer_downloads"))
    return overhead_s + _pipeline_s(image.layer_bytes, min(source, link), min(core, written), streams)


def peer_pull_s(image: Image, profile: Profile, rng: random.Random, node: NodeSpec, held: float, pulling: int) -> float:
    """Draw the duration of a pull through a peer. `held`: which share of the layers a seed peer holds; the others it
    fetches from the registry meanwhile. `pulling`: how many nodes share the seed peer's link.

    dfdaemon stores what it gets on the node's disk, beside what is unpacked (dragonflyoss/client, resource/piece.rs).
    """
    hub = image.reference.startswith("docker.io/")
    source = profile.sample("docker_hub_bytes_s" if hub else "registry_bytes_s", rng)
    link = profile.sample("node_link_bytes_s", rng)
    peer = min(profile.sample("peer_bytes_s", rng), link, link / max(1, pulling))
    download = 1.0 / (held / peer + (1.0 - held) / min(source, peer))
    written = profile.sample("disk_write_bytes_s", rng) * node.disk_speed / (profile.value("unpacked_ratio") + 1.0)
    core = profile.sample("unpack_bytes_s", rng)
    streams = int(profile.value("parallel_layer_downloads"))
    overhead_s = profile.sample("pull_overhead_s", rng)
    return overhead_s + _pipeline_s(image.layer_bytes, download, min(core, written), streams)


def plain_pull_s(image: Image, profile: Profile, rng: random.Random, node: NodeSpec) -> float:
    """Draw the duration of a pull whose layers are not compressed: the bytes over the narrowest of link and registry,
    unless the disk is slower. The node's memory takes the first bytes, as of any download.
    """
    rate = min(profile.sample("registry_bytes_s", rng), profile.sample("node_link_bytes_s", rng))
    disk = profile.sample("disk_write_bytes_s", rng) * node.disk_speed
    size = image.compressed_bytes
    written_s = max(0.0, size - profile.value("dirty_page_bytes")) / disk
    return profile.sample("pull_overhead_s", rng) + max(size / rate, written_s)


def _pipeline_s(layers: Sequence[int], download_bytes_s: float, unpack_bytes_s: float, streams: int) -> float:
    """Return when the last layer is unpacked. Concurrent downloads share the rate equally; unpacking is in order."""
    arrived = _arrivals(layers, download_bytes_s, streams)
    done = 0.0
    for size, instant in zip(layers, arrived, strict=True):
        done = max(done, instant) + size / unpack_bytes_s
    return done


def _arrivals(layers: Sequence[int], bytes_s: float, streams: int) -> list[float]:
    """Return when each layer has arrived, downloads starting in order and never more than `streams` at once."""
    arrived = [0.0] * len(layers)
    # Virtual work: bytes every running download has received since the start; all receive the same.
    running: list[tuple[float, int]] = []
    waiting = iter(range(len(layers)))
    received, now = 0.0, 0.0
    for _ in layers:
        while len(running) < streams and (layer := next(waiting, None)) is not None:
            heapq.heappush(running, (received + layers[layer], layer))
        target, layer = running[0]
        now += (target - received) * len(running) / bytes_s
        received = target
        heapq.heappop(running)
        arrived[layer] = now
    return arrived


def _from_snapshot(
    world: World, node: NodeSpec, reference: str, image: Image, profile: Profile, rng: random.Random
) -> Delivery:
    obstacle = _snapshot_obstacle(world, node, reference, image)
    if obstacle:
        return Delivery("pull", why=obstacle)
    rate = profile.sample("hydration_first_touch_bytes_s", rng)
    if node.volume_initialization_rate_mib_s:
        rate = max(rate, node.volume_initialization_rate_mib_s * MIB)
    return Delivery("present", first_touch_bytes_s=rate, why=f"snapshot {node.snapshot_id} holds it")


def _snapshot_obstacle(world: World, node: NodeSpec, reference: str, image: Image) -> str | None:
    if not node.snapshot_id:
        return "no data volume from a snapshot"
    snapshot = world.snapshots.get(node.snapshot_id)
    if snapshot is None:
        return f"snapshot {node.snapshot_id} does not exist"
    if node.instance_store_raid:
        return "container storage is on the instance store, not on the snapshot's volume"
    cluster = world.clusters.get(node.cluster)
    if cluster and snapshot.kubernetes_minor and not _same_minor(snapshot.kubernetes_minor, cluster.kubernetes_version):
        return f"snapshot was made for Kubernetes {snapshot.kubernetes_minor}"
    held = snapshot_digest(world, node, reference)
    if held is None:
        return f"snapshot {node.snapshot_id} does not hold this reference"
    return None if held == image.digest else f"snapshot {node.snapshot_id} holds another image under this reference"


def _same_minor(one: str, other: str) -> bool:
    def minor(version: str) -> list[str]:
        return version.removeprefix("v").split(".")[:2]

    return minor(one) == minor(other)


def _gke_refusal(world: World, node: NodeSpec, image: Image) -> str | None:
    private = "-docker.pkg.dev/" in image.reference
    if not private or _may(world, node, _GKE_PULL_ROLES):
        return None
    host, _, path = image.reference.partition("/")
    name, _, tag = path.rpartition(":")
    return f"unexpected status from HEAD request to https://{host}/v2/{name}/manifests/{tag}: 403 Forbidden"


def _gke_ineligible(world: World, node: NodeSpec, image: Image) -> str | None:
    if not world.gke_streaming_api_enabled:
        return "containerfilesystem.googleapis.com is not enabled"
    if not node.streaming:
        return "image streaming is off on the node"
    if not _may(world, node, _GKE_STREAM_ROLES):
        return f"{node.service_account} lacks roles/serviceusage.serviceUsageConsumer"
    if image.region is None or not _covers(image.region, node.region):
        return f"the registry is in {image.region or 'no region'}, the node in {node.region}"
    return None


def _gke_obstacle(world: World, node: NodeSpec, image: Image, at: datetime) -> str | None:
    obstacle = _gke_ineligible(world, node, image)
    if obstacle is not None:
        return obstacle
    cached = (node.region, image.digest)
    forgotten_at = world.gke_prewarmed_until.get(cached)
    if cached in world.gke_warm_cache or (forgotten_at is not None and at < forgotten_at):
        return None
    return f"nobody in {node.region} has pulled it before"


def _disk_obstacle(world: World, node: NodeSpec, image: Image) -> str | None:
    """Return why a secondary boot disk does not help: GKE's page on preloading needs image streaming on the node."""
    if not world.gke_streaming_api_enabled:
        return "containerfilesystem.googleapis.com is not enabled"
    if not node.streaming:
        return "image streaming is off on the node"
    held = world.disk_images.get(node.disk_image)
    return None if held and image.digest in held.digests else f"{node.disk_image} does not hold {image.digest}"


def _may(world: World, node: NodeSpec, roles: frozenset[str]) -> bool:
    """Tell whether a GKE node's account has one of these roles; the project's default account is its editor."""
    return node.service_account in ("", "default") or bool(world.roles_of(node.service_account) & roles)


def _covers(registry: str, region: str) -> bool:
    """Tell whether a registry's location is the region, or the multi-region (`us`, `europe`, `asia`) it lies in."""
    return registry == region or (registry in {"us", "europe", "asia"} and region.startswith(f"{registry}-"))


def _aks_refusal(world: World, node: NodeSpec, image: Image) -> str | None:
    """Nodes pull from an Azure registry as the kubelet's identity, which needs AcrPull there (AKS docs, "Authenticate
    with Azure Container Registry").
    """
    registry = image.reference.partition("/")[0]
    attached = set(world.aks_repository_readers)
    if registry not in world.aks_abac_registries:
        attached |= world.aks_attached
    if not registry.endswith(".azurecr.io") or (node.cluster, registry) in attached:
        return None
    return (
        "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
        f"https://{registry}/oauth2/token: 401 Unauthorized"
    )


def _aks_obstacle(world: World, node: NodeSpec, reference: str, image: Image, at: datetime) -> str | None:
    registry = normalise(reference).partition("/")[0]
    converted_at = world.aks_converted.get((image.repository, image.digest))
    if not node.streaming:
        return "artifact streaming is off on the node"
    if registry not in world.aks_premium_registries:
        return f"{registry} is no Premium container registry"
    if "@" in reference:
        return "the reference is a digest, and only tags are redirected to the streaming artifact"
    if converted_at is None or converted_at > at:
        return "its streaming artifact is not complete"
    return None
