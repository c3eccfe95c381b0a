"""What the real preparation leaves behind, put there directly: for runs that have no cloud APIs to call.

One function per cloud, each the equivalent of the calls named in it; that those calls leave exactly this is what the
stand-ins' and gateways' tests claim. Everything is derived from the target and the deployment plan, nothing from a
variant's name: an image that is not ours (the baseline's) has nothing prepared.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import DeploymentPlan
from llm_provisioning_simulator.images import built_image
from llm_provisioning_simulator.world import CloudCluster, DiskImage, Image, Snapshot, World

REPOSITORY: Final = "llm-provisioning"
_ACCOUNT: Final = "123456789012"
_SNAPSHOT: Final = "snap-0prepared"
_DISK_IMAGE: Final = "projects/simulated/global/images/llm-disk-prepared"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a target's trials find. `image`: the reference to serve, None where the public base serves; `luna`: the data
    of Luna's ConfigMap, as the set-up of the target's nodes writes it; `digest`, `snapshot_id`: what the build and the
    snapshot returned; `disk_image`: the disk image that holds the image.
    """

    image: str | None
    luna: Mapping[str, str]
    digest: str | None = None
    snapshot_id: str | None = None
    disk_image: str | None = None


def prepare(world: World, cluster: CloudCluster, target: Target, plan: DeploymentPlan, now: datetime) -> Prepared:
    """Bring the world and the cloud cluster into the state that a target's preparation leaves."""
    return _CLOUDS[target.cloud](world, cluster, target, plan, now)


def _eks(world: World, _cluster: CloudCluster, target: Target, plan: DeploymentPlan, now: datetime) -> Prepared:
    """CodeBuild's build into ECR; SnapshotImage (EC2, SSM, CreateSnapshot), where the target asks for one; Luna's
    nodes: Bottlerocket in every variant, the data volume from the snapshot or empty.
    """
    image = _built(world, plan, f"{_ACCOUNT}.dkr.ecr.{target.region}.amazonaws.com", target.region, now)
    data: dict[str, Any] = {"VolumeSize": target.nodes.data_volume_gib, "VolumeType": "gp3"}
    if target.nodes.has("image_snapshot") and image is not None:
        held = {image.reference: image.digest}
        minor = target.nodes.kubernetes_minor
        world.snapshots[_SNAPSHOT] = Snapshot(_SNAPSHOT, held, target.nodes.data_volume_gib, minor)
        data["SnapshotId"] = _SNAPSHOT
        if target.nodes.volume_initialization_rate_mib_s:
            data["VolumeInitializationRate"] = target.nodes.volume_initialization_rate_mib_s
    luna = {
        "aws.isBottlerocketImage": "true",
        "aws.blockDeviceMappings": json.dumps([{"DeviceName": "/dev/xvdb", "Ebs": data}]),
    }
    return _prepared(image, luna, data.get("SnapshotId"))


def _gke(world: World, cluster: CloudCluster, target: Target, plan: DeploymentPlan, now: datetime) -> Prepared:
    """Cloud Build into Artifact Registry; where the target streams: services.enable, the cluster's gcfsConfig and one
    warming pull by a streaming node; Luna's node service account.
    """
    image = _built(world, plan, target.registry or "registry", target.region, now)
    disk_image = _disk_image(world, target, image)
    if target.nodes.has("image_streaming"):
        world.gke_streaming_api_enabled = cluster.streaming = True
        if image is not None:
            world.gke_warm_cache.add((target.region or "", image.digest))
    account = target.nodes.options.get("node_service_account")
    if account:
        world.grant(str(account), "roles/artifactregistry.reader", "roles/serviceusage.serviceUsageConsumer")
    made = _prepared(image, {"gcp.nodeServiceAccount": str(account)} if account else {})
    return replace(made, disk_image=disk_image)


def _disk_image(world: World, target: Target, image: Image | None) -> str | None:
    """services.enable, and SnapshotImage (Compute Engine's disks, instances and images), where the target asks for
    one.
    """
    if not target.nodes.has("preloaded_disk") or image is None:
        return None
    world.gke_streaming_api_enabled = True
    world.disk_images[_DISK_IMAGE] = DiskImage(_DISK_IMAGE, frozenset({image.digest}), target.nodes.data_volume_gib)
    return _DISK_IMAGE


def _aks(world: World, cluster: CloudCluster, target: Target, plan: DeploymentPlan, now: datetime) -> Prepared:
    """An ACR task's build, in a registry attached to the cluster; where the target streams: the Premium registry's
    conversion of the image, complete; Luna's artifact streaming.
    """
    registry = f"{target.registry}.azurecr.io"
    world.aks_attached.add((cluster.name, registry))
    image = _built(world, plan, registry, target.region, now)
    if target.nodes.has("image_streaming") and image is not None:
        world.aks_premium_registries.add(registry)
        world.aks_converted[image.repository, image.digest] = now
    streams = "true" if target.nodes.has("image_streaming") else "false"
    return _prepared(image, {"azure.enableArtifactStreaming": streams})


def _prepared(image: Image | None, luna: Mapping[str, str], snapshot_id: str | None = None) -> Prepared:
    if image is None:
        return Prepared(None, luna)
    return Prepared(image.reference, luna, image.digest, snapshot_id)


def _built(world: World, plan: DeploymentPlan, registry: str, region: str | None, now: datetime) -> Image | None:
    if not plan.own_image:
        return None
    reference = f"{registry}/{REPOSITORY}/serving:{plan.recipe.tag()}"
    return world.push(built_image(world, plan.recipe.dockerfile(), reference, region=region, now=now))


_CLOUDS: Final[Mapping[str, Callable[[World, CloudCluster, Target, DeploymentPlan, datetime], Prepared]]] = {
    "eks": _eks,
    "gke": _gke,
    "aks": _aks,
}
