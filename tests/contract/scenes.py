"""What each cloud's scene is made of: a preparation of every kind, and a stranger's object beside each kind.

Only what differs between the clouds is here; the claims are in test_every_cloud.py.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from simulator_in_background import BackgroundSimulator
from toy_cloud import KINDS

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.gateways.clouds.base import Owned
from llm_provisioning_simulator.server import AZURE_GROUP, GOOGLE_PROJECT
from llm_provisioning_simulator.world import Image, NodePool

SPEED = 600.0
"""Virtual seconds a second, where no test asks for another."""
CLOUDS = [
    pytest.param("eks", marks=pytest.mark.eks),
    pytest.param("gke", marks=pytest.mark.gke),
    pytest.param("aks", marks=pytest.mark.aks),
    "toy",
]

Request = tuple[str, Mapping[str, Any]]

# Ten gigabytes, so that a build of it takes minutes.
RECIPE = {"base": "rayproject/ray-ml:2.33.0.914af0-py311", "pip": ["hf_transfer==0.1.9"]}
FOREIGN_DIGEST = "sha256:" + "f" * 64


def build(**env: str) -> Request:
    """Return the request for an image of our own; `env` makes it another one."""
    recipe = {**RECIPE, "env": env}
    return "build_image", {"recipe": recipe, "repository": "scene", "target": "scene", "keep_days": 1}


def pool(name: str, machine_type: str, gpu_sku: str, cluster: str) -> Request:
    """Return the request for a node pool without nodes."""
    described = {
        "name": name,
        "machine_type": machine_type,
        "gpu_sku": gpu_sku,
        "gpu_count": 1,
        "min_nodes": 0,
        "max_nodes": 1,
        "labels": {"llm-provisioning/target": "scene"},
        "taints": [],
        "streaming": True,
    }
    return "set_up_node_pool", {"cluster": cluster, "pool": described, "target": "scene"}


@dataclass(frozen=True)
class Scene:
    """One cloud's. `finish`: what is prepared to the end, in order; `begin`: what is under way when the worker dies.

    `under_way`: the kinds of the things that show so. `kinds`: every kind that the gateway makes. `speed`: virtual
    seconds a second while something is under way: slow enough that it stays so.
    `outlive`: leaves behind what only a crash of the cloud's own leaves. `strangers`: puts another owner's object
    beside each kind and returns them with the claim that they are ours; `stands`: says whether one still exists.
    `builds`: how many builds were ever begun. `variant`: what its trials serve. `unreachable`: changes its connection
    so that no server answers.
    """

    finish: Sequence[Request]
    begin: Sequence[Request]
    under_way: frozenset[str]
    kinds: frozenset[str]
    speed: float
    strangers: Callable[[BackgroundSimulator], list[Owned]]
    stands: Callable[[BackgroundSimulator, Owned], bool]
    builds: Callable[[BackgroundSimulator], int]
    outlive: Callable[[BackgroundSimulator], None] = lambda _: None
    variant: str = "improved"
    unreachable: Callable[[str], str] = lambda connection: re.sub(
        r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:9", connection
    )


def claimed(kind: str, identity: str) -> Owned:
    """Return a thing with the claim that it is ours."""
    return Owned(kind, identity, {LABEL_MANAGED_BY: OWNER})


# --- EKS


def aws(running: BackgroundSimulator, service: str) -> Any:
    """Return another owner's client."""
    extra = running.simulator.connections()["simulated_aws"]["extra"]
    return _client(service, extra["region_name"], extra["endpoint_url"])


@cache
def _client(service: str, region: str, endpoint_url: str) -> Any:
    """Return a client; making one reads megabytes of its service's model."""
    import boto3

    return boto3.Session("theirs", "theirs", region_name=region).client(service, endpoint_url=endpoint_url)


def outlived_volume(running: BackgroundSimulator) -> None:
    """A builder's data volume whose machine is gone: EC2 deletes it with the machine, unless it fails to."""
    tags = [{"Key": LABEL_MANAGED_BY, "Value": OWNER}]
    specifications = [{"ResourceType": "volume", "Tags": tags}]
    aws(running, "ec2").create_volume(AvailabilityZone="us-west-2a", Size=1, TagSpecifications=specifications)


def strangers_on_aws(running: BackgroundSimulator) -> list[Owned]:
    ec2, ecr, codebuild = aws(running, "ec2"), aws(running, "ecr"), aws(running, "codebuild")
    machine = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    volume = ec2.create_volume(AvailabilityZone="us-west-2a", Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    manifest = '{"schemaVersion": 2, "mediaType": "x", "config": {"size": 1}, "layers": []}'
    bucket, project, repository = "theirs-bucket", "llm-provisioning-theirs", "theirs"
    aws(running, "s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    codebuild.create_project(
        name=project,
        source={"type": "S3", "location": f"{bucket}/x.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/x",
    )
    running_build = codebuild.start_build(projectName=project)["build"]["id"]
    ecr.create_repository(repositoryName=repository)
    image = ecr.put_image(repositoryName=repository, imageTag="1", imageManifest=manifest)["image"]["imageId"]
    return [
        claimed("instance", machine),
        claimed("volume", volume),
        claimed("snapshot", snapshot),
        claimed("bucket", bucket),
        claimed("project", project),
        claimed("build", running_build),
        claimed("image", f"{repository}@{image['imageDigest']}"),
        claimed("repository", repository),
    ]


def stands_on_aws(running: BackgroundSimulator, thing: Owned) -> bool:
    identity = thing.identity

    def client(service: str) -> Any:
        return aws(running, service)

    def living(reservations: list[Any]) -> bool:
        return [item["State"]["Name"] for group in reservations for item in group["Instances"]] == ["running"]

    name, _, digest = identity.partition("@")
    look: dict[str, Callable[[], bool]] = {
        "instance": lambda: living(client("ec2").describe_instances(InstanceIds=[identity])["Reservations"]),
        "volume": lambda: bool(client("ec2").describe_volumes(VolumeIds=[identity])["Volumes"]),
        "snapshot": lambda: bool(client("ec2").describe_snapshots(SnapshotIds=[identity])["Snapshots"]),
        "bucket": lambda: identity in [item["Name"] for item in client("s3").list_buckets()["Buckets"]],
        "project": lambda: identity in client("codebuild").list_projects()["projects"],
        "build": lambda: client("codebuild").batch_get_builds(ids=[identity])["builds"][0]["buildStatus"] != "STOPPED",
        "image": lambda: (
            digest in [i["imageDigest"] for i in client("ecr").list_images(repositoryName=name)["imageIds"]]
        ),
        "repository": lambda: bool(client("ecr").describe_repositories(repositoryNames=[identity])["repositories"]),
    }
    return look[thing.kind]()


def builds_on_aws(running: BackgroundSimulator) -> int:
    stand_in: Any = running.simulator.cloud("eks")
    return len(stand_in.codebuild.builds)


# --- GKE

GOOGLE_PARENT = f"projects/{GOOGLE_PROJECT}/locations/us-central1"
GOOGLE_ZONE = "us-central1-a"


def disk_image(**options: int) -> Request:
    """Return the request for a disk image that holds the image that was built before."""
    return "snapshot_image", {"zone": GOOGLE_ZONE, "target": "scene", "keep_days": 1, **options}


def strangers_on_google(running: BackgroundSimulator) -> list[Owned]:
    stand_in: Any = running.simulator.cloud("gke")
    world = running.simulator.world
    repository = f"{GOOGLE_PARENT}/repositories/theirs"

    def put() -> None:
        stand_in.registry.repositories[repository] = {"name": repository, "format": "DOCKER", "labels": {"by": "them"}}
        world.push(foreign_image(f"us-central1-docker.pkg.dev/{GOOGLE_PROJECT}/theirs/x:1", "us-central1"))
        stand_in.builds.builds["theirs"] = {"id": "theirs", "status": "WORKING", "tags": ["theirs"]}
        world.clusters["gke-fast"].pools["theirs"] = NodePool("theirs", "e2-standard-4", 0, 1, {}, (), {})
        compute, thing = stand_in.compute, {"name": "theirs", "labels": {"by": "them"}, "status": "READY", "disks": []}
        compute.disks[GOOGLE_ZONE, "theirs"] = compute.instances[GOOGLE_ZONE, "theirs"] = {**thing, "selfLink": "x"}
        compute.images["theirs"] = {**thing, "selfLink": "x", "storageLocations": ["us-central1"]}

    running.call(put)
    zone = f"projects/{GOOGLE_PROJECT}/zones/{GOOGLE_ZONE}"
    return [
        claimed("instance", f"{zone}/instances/theirs"),
        claimed("disk", f"{zone}/disks/theirs"),
        claimed("disk_image", f"projects/{GOOGLE_PROJECT}/global/images/theirs"),
        claimed("repository", repository),
        claimed("image", f"{repository}/packages/x/versions/{FOREIGN_DIGEST}"),
        claimed("build", f"projects/{GOOGLE_PROJECT}/locations/global/builds/theirs"),
        claimed("node_pool", f"{GOOGLE_PARENT}/clusters/gke-fast/nodePools/theirs"),
    ]


def stands_on_google(running: BackgroundSimulator, thing: Owned) -> bool:
    stand_in: Any = running.simulator.cloud("gke")
    world = running.simulator.world
    look: dict[str, Callable[[], bool]] = {
        "repository": lambda: thing.identity in stand_in.registry.repositories,
        "image": lambda: FOREIGN_DIGEST in {image.digest for image in world.images.values()},
        "build": lambda: stand_in.builds.builds["theirs"]["status"] == "WORKING",
        "instance": lambda: (GOOGLE_ZONE, "theirs") in stand_in.compute.instances,
        "disk": lambda: (GOOGLE_ZONE, "theirs") in stand_in.compute.disks,
        "disk_image": lambda: "theirs" in stand_in.compute.images,
        "node_pool": lambda: "theirs" in world.clusters["gke-fast"].pools,
    }
    return bool(running.call(look[thing.kind]))


def builds_on_google(running: BackgroundSimulator) -> int:
    stand_in: Any = running.simulator.cloud("gke")
    return len(stand_in.builds.builds)


# --- AKS

AZURE_HOST = "simulatedregistry.azurecr.io"


def strangers_on_azure(running: BackgroundSimulator) -> list[Owned]:
    stand_in: Any = running.simulator.cloud("aks")
    world = running.simulator.world
    reference = f"{AZURE_HOST}/theirs:1"

    def put() -> None:
        world.push(foreign_image(reference, "eastus"))
        world.clusters["aks-fast"].pools["theirs"] = NodePool("theirs", "Standard_D4s_v5", 0, 1, {}, (), {})

    running.call(put)
    assert stand_in.resource_group == AZURE_GROUP
    return [claimed("image", f"{AZURE_HOST}/theirs@{FOREIGN_DIGEST}"), claimed("agent_pool", "aks-fast/theirs")]


def stands_on_azure(running: BackgroundSimulator, thing: Owned) -> bool:
    world = running.simulator.world
    look: dict[str, Callable[[], bool]] = {
        "image": lambda: FOREIGN_DIGEST in {image.digest for image in world.images.values()},
        "agent_pool": lambda: "theirs" in world.clusters["aks-fast"].pools,
    }
    return bool(running.call(look[thing.kind]))


def builds_on_azure(running: BackgroundSimulator) -> int:
    stand_in: Any = running.simulator.cloud("aks")
    return len(stand_in.tasks.runs)


def foreign_image(reference: str, region: str) -> Image:
    """Return another owner's image."""
    return Image(reference, FOREIGN_DIGEST, (1_000_000,), {}, {}, region, datetime(2026, 1, 1, tzinfo=UTC))


# --- A toy, as another package brings it


def toy_account() -> Path:
    return Path(json.loads(os.environ["AIRFLOW_CONN_TOY"])["extra"]["folder"])


def strangers_in_toys(_: BackgroundSimulator) -> list[Owned]:
    for kind in KINDS:
        (toy_account() / kind / "theirs.json").write_text('{"tags": {}}')
    return [claimed(kind, f"{kind}/theirs") for kind in KINDS]


def stands_in_toys(_: BackgroundSimulator, thing: Owned) -> bool:
    return (toy_account() / f"{thing.identity}.json").exists()


def builds_in_toys(_: BackgroundSimulator) -> int:
    log = toy_account() / "builds.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


SCENES: Mapping[str, Scene] = {
    "eks": Scene(
        finish=[build(), ("snapshot_image", {"kubernetes_minor": "1.34", "target": "scene", "keep_days": 1})],
        begin=[
            build(OTHER="1"),
            ("snapshot_image", {"kubernetes_minor": "1.33", "target": "scene", "keep_days": 1}),
        ],
        under_way=frozenset({"build", "instance"}),
        kinds=frozenset({"build", "project", "instance", "snapshot", "volume", "image", "repository", "bucket"}),
        speed=5.0,
        strangers=strangers_on_aws,
        stands=stands_on_aws,
        builds=builds_on_aws,
        outlive=outlived_volume,
    ),
    "gke": Scene(
        finish=[build(), disk_image(), pool("scene", "g2-standard-12", "L4", "gke-fast")],
        begin=[build(OTHER="1"), disk_image(volume_gib=90)],
        under_way=frozenset({"build", "instance"}),
        kinds=frozenset({"build", "image", "repository", "node_pool", "instance", "disk", "disk_image"}),
        speed=5.0,
        strangers=strangers_on_google,
        stands=stands_on_google,
        builds=builds_on_google,
    ),
    "aks": Scene(
        finish=[
            build(),
            ("enable_streaming", {"cluster": "aks-fast", "target": "scene"}),
            pool("scene", "Standard_NV36ads_A10_v5", "A10", "aks-fast"),
        ],
        begin=[pool("scene2", "Standard_NV36ads_A10_v5", "A10", "aks-fast")],
        under_way=frozenset({"agent_pool"}),
        kinds=frozenset({"agent_pool", "streaming_artifact", "image"}),
        speed=40.0,
        strangers=strangers_on_azure,
        stands=stands_on_azure,
        builds=builds_on_azure,
    ),
    "toy": Scene(
        finish=[build()],
        begin=[build(OTHER="1")],
        under_way=frozenset({"build"}),
        kinds=frozenset(KINDS),
        speed=5.0,
        strangers=strangers_in_toys,
        stands=stands_in_toys,
        builds=builds_in_toys,
        variant="baked_image",
        unreachable=lambda connection: connection.replace("toy_account", "nowhere"),
    ),
}


def reference(experiment: Experiment, cloud: str) -> dict[str, Any]:
    """Return how a cloud of the experiment is opened."""
    if cloud == "generic":
        return {"cloud": "generic"}
    if cloud == "toy":
        # The clock is a cluster's.
        return {"cloud": "toy", "conn_id": "toy", "cluster": experiment.targets[0].cluster_reference()}
    target = next(item for item in experiment.targets if item.cloud == cloud and item.nodes.features)
    return target.cloud_reference() or {}
