"""The clouds' answers about a simulated trial: the gateways' real queries, sent to clients that read the World.

The HTTP stand-ins give the same answers (tests/earned, tests/contract). Here they are given in memory, because a wait
for a socket is not possible in virtual time. Only data that the real APIs show are read: a node's volume, a project's
switches, a registry's referrers; never how an image reached a node.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from airflow_llm_provisioning.gateways.clouds.base import Evidence
from llm_provisioning_simulator.clouds.eks.machines import Ami
from llm_provisioning_simulator.world import (
    GP3_BASELINE_MIB_S,
    CloudCluster,
    NodeSpec,
    World,
    normalise,
    streaming_artifact,
)


def answers(
    world: World, cluster: CloudCluster, claims: Sequence[str], facts: Mapping[str, Any], *, now: datetime
) -> list[Evidence]:
    """Return the answers of the cluster's cloud to each claim at this instant."""
    if not claims:
        return []
    match cluster.cloud:
        case "eks":
            return _aws(world, cluster, claims, facts)
        case "gke":
            return _google(world, cluster, claims, facts)
        case _:
            return _azure(world, cluster, claims, facts, now)


def _aws(world: World, cluster: CloudCluster, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
    from airflow_llm_provisioning.gateways.clouds.eks.evidence import evidence

    clients = {"ec2": _Ec2(world), "s3": _S3(world)}
    aws: Any = SimpleNamespace(client=clients.__getitem__, region=cluster.region)
    return evidence(aws, claims, facts)


class _S3:
    """GetBucketLocation of the buckets that are there."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get_bucket_location(self, *, Bucket: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """Return a bucket's region; us-east-1 has no constraint."""
        found = self._world.buckets.get(f"s3://{Bucket}")
        if found is None:
            from botocore.exceptions import ClientError

            raise ClientError({"Error": {"Code": "NoSuchBucket", "Message": "no such bucket"}}, "GetBucketLocation")
        region = found.region
        return {"LocationConstraint": None if region == "us-east-1" else region}


class _Ec2:
    """DescribeInstances and DescribeVolumes of the running machines."""

    def __init__(self, world: World) -> None:
        self._machines = {provider_id.rpartition("/")[2]: spec for provider_id, spec in world.nodes.items()}

    def get_paginator(self, _operation: str) -> Any:
        """Return the only page of describe_instances."""
        return SimpleNamespace(paginate=self._instances)

    def describe_volumes(self, *, Filters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """Return the requested data volumes."""
        wanted = Filters[0]["Values"]
        return {"Volumes": [_volume(name, spec) for name, spec in self._machines.items() if f"vol-{name}" in wanted]}

    def describe_images(self, *, ImageIds: Sequence[str], **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """Return the images that nodes here boot; their ids are made of the systems that the nodes were asked for."""
        amis = [Ami(name, "1.34", nvidia=True, alias=name.removeprefix("ami-")) for name in ImageIds]
        return {"Images": [{"ImageId": ami.ami_id, "Name": ami.name} for ami in amis]}

    def describe_instance_attribute(self, *, InstanceId: str, Attribute: str) -> dict[str, Any]:  # noqa: N803 - the same
        """Return a machine's attribute as EC2 does; of the attributes, the user data alone is known: base64."""
        text = self._machines[InstanceId].user_data if Attribute == "userData" else ""
        return {"UserData": {"Value": base64.b64encode(text.encode()).decode()} if text else {}}

    def _instances(self, *, Filters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:  # noqa: N803 - boto3's name
        found = [name for name in Filters[0]["Values"] if name in self._machines]
        devices = {name: [{"DeviceName": "/dev/xvdb", "Ebs": {"VolumeId": f"vol-{name}"}}] for name in found}
        instances = [
            {
                "InstanceId": name,
                "ImageId": f"ami-{self._machines[name].ami_alias}",
                "BlockDeviceMappings": devices[name],
            }
            for name in found
        ]
        return [{"Reservations": [{"Instances": instances}]}]


def _volume(name: str, spec: NodeSpec) -> dict[str, Any]:
    throughput = spec.data_volume_throughput_mib_s or GP3_BASELINE_MIB_S
    volume: dict[str, Any] = {
        "VolumeId": f"vol-{name}",
        "SnapshotId": spec.snapshot_id or "",
        "Throughput": throughput,
    }
    if spec.volume_initialization_rate_mib_s is not None:
        volume["VolumeInitializationRate"] = spec.volume_initialization_rate_mib_s
    return volume


def _google(world: World, cluster: CloudCluster, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
    from airflow_llm_provisioning.gateways.clouds.gke.verdicts import verify

    state = SimpleNamespace(state=SimpleNamespace(name="ENABLED" if world.gke_streaming_api_enabled else "DISABLED"))
    clients = SimpleNamespace(
        services=SimpleNamespace(get_service=lambda **_: state),
        container=SimpleNamespace(get_cluster=lambda **_: _described(cluster)),
        bucket=lambda name: _bucket(world, name),
    )
    path = f"projects/proof/locations/{cluster.region}"
    project: Any = SimpleNamespace(clients=clients, name="proof", region=cluster.region, path=path)
    return [verify(project, claim, facts) for claim in claims]


def _bucket(world: World, name: str) -> dict[str, Any]:
    """Return where a bucket is, as storage v1 describes it."""
    found = world.buckets.get(f"gs://{name}")
    if found is None:
        from google.api_core.exceptions import NotFound

        raise NotFound("The specified bucket does not exist.")
    return {"location": found.region.upper(), "locationType": "region"}


def _described(cluster: CloudCluster) -> Any:
    """Return the cluster as container v1 describes it, with the fields that are read."""
    from google.cloud import container_v1

    pools = [
        {
            "name": pool.name,
            "status": "RUNNING",
            "config": {
                "image_type": pool.image_type or "COS_CONTAINERD",
                # The pools that Google makes have no setting of their own.
                **({} if pool.auto_provisioned else {"gcfs_config": {"enabled": pool.streaming}}),
            },
        }
        for pool in cluster.pools.values()
    ]
    return container_v1.Cluster(
        name=cluster.name,
        status="RUNNING",
        current_master_version=cluster.kubernetes_version,
        node_pool_defaults={"node_config_defaults": {"gcfs_config": {"enabled": cluster.streaming}}},
        node_pools=pools,
    )


def _azure(
    world: World, cluster: CloudCluster, claims: Sequence[str], facts: Mapping[str, Any], now: datetime
) -> list[Evidence]:
    from airflow_llm_provisioning.gateways.clouds.aks.evidence import StreamingEvidence

    accounts = [
        SimpleNamespace(name=bucket.account, location=bucket.region, primary_location=bucket.region)
        for bucket in world.buckets.values()
        if bucket.account
    ]
    account: Any = SimpleNamespace(
        data_plane=lambda server: _Registry(world, server, now),
        storage=SimpleNamespace(storage_accounts=SimpleNamespace(list=lambda: accounts)),
        containers=SimpleNamespace(
            managed_clusters=SimpleNamespace(get=lambda _group, _name: SimpleNamespace(location=cluster.region))
        ),
        resource_group="proof",
        subscription_id="proof",
    )
    asked = StreamingEvidence(account)
    asked._pools = _AgentPools(cluster)  # type: ignore[assignment]  # noqa: SLF001 - its client is ARM's
    return [asked.answer(claim, facts) for claim in claims]


class _Registry:
    """The data plane of one Azure registry: tags, referrers, manifest attributes."""

    def __init__(self, world: World, server: str, now: datetime) -> None:
        self._world, self._server = world, server
        self._made = {
            (repository.partition("/")[2], digest): made_at
            for (repository, digest), made_at in world.aks_converted.items()
            if made_at <= now and repository.startswith(f"{server}/")
        }

    def digest_of_tag(self, repository: str, tag: str) -> str | None:
        """Return what a tag points at."""
        found = self._world.images.get(normalise(f"{self._server}/{repository}:{tag}"))
        return found.digest if found else None

    def streaming_artifacts(self, repository: str, digest: str) -> list[str]:
        """Return the referrers of the streaming kind; they exist after the conversion is complete."""
        return [streaming_artifact(digest)] if (repository, digest) in self._made else []

    def manifest_attributes(self, repository: str, artifact: str) -> dict[str, Any] | None:
        """Return when an artifact was created."""
        made = {(name, streaming_artifact(digest)): at for (name, digest), at in self._made.items()}
        made_at = made.get((repository, artifact))
        return {"createdTime": made_at.isoformat()} if made_at else None


class _AgentPools:
    """AKS's agent pools."""

    def __init__(self, cluster: CloudCluster) -> None:
        self._cluster = cluster

    def get(self, _cluster: str, name: str) -> Any:
        """Return a pool, or None."""
        pool = self._cluster.pools.get(name)
        if pool is None:
            return None
        profile = SimpleNamespace(enabled=pool.streaming)
        return SimpleNamespace(properties=SimpleNamespace(artifact_streaming_profile=profile))
