"""What AWS itself says about a trial's nodes: the volume they run on, the image they booted, their user data."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.gateways.clouds.base import Evidence
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, in_words
from airflow_llm_provisioning.gateways.clouds.eks.nodes import DATA_DEVICE
from airflow_llm_provisioning.gateways.clouds.eks.soci import parallel_pull

Answer = tuple[bool | None, str, str]
# Labels of a node that say which autoscaler or group made it.
_MAKERS: Final = ("node.elotl.co/created-by", "karpenter.sh/nodepool", "eks.amazonaws.com/nodegroup")


def evidence(aws: Aws, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
    """Return one Evidence per claim; what cannot be told is None with the reason, never a guess."""
    found = []
    for claim in claims:
        if claim not in _ANSWERS:
            answer: Answer = (None, f"AWS cannot say anything about {claim!r}.", "-")
        else:
            answer = _answer(aws, claim, facts)
        found.append(Evidence(claim, *answer))
    return found


def instance_ids(provider_ids: Iterable[str]) -> list[str]:
    """Return the instances of nodes (`aws:///us-west-2a/i-0abc`); others have none on AWS."""
    tails = [str(item).rpartition("/")[2] for item in provider_ids]
    return [tail for tail in tails if tail.startswith("i-")]


def _answer(aws: Aws, claim: str, facts: Mapping[str, Any]) -> Answer:
    ids = instance_ids(facts.get("provider_ids") or ())
    if not ids and claim not in _WITHOUT_NODES:
        return None, "The trial's nodes name no EC2 instance.", "Node.spec.providerID"
    try:
        return _ANSWERS[claim](aws, ids, facts)
    except AWS_ERRORS as error:
        return None, f"Not known: {in_words(error)}.", "ec2"


def _snapshot_mounted(aws: Aws, ids: Sequence[str], facts: Mapping[str, Any]) -> Answer:
    """Only Bottlerocket keeps its images on the data volume: another AMI says no, as another snapshot or rate does."""
    wanted, source = facts.get("snapshot_id"), "ec2 DescribeVolumes SnapshotId"
    if not wanted:
        return None, "No snapshot is named to compare with.", source
    volumes = _data_volumes(aws, ids)
    wrong = {
        name: item.get("SnapshotId") or "none" for name, item in volumes.items() if item.get("SnapshotId") != wanted
    }
    missing = sorted(set(ids) - set(volumes))
    if wrong:
        return False, f"Data volumes are not from {wanted} ({_listed(wrong)}).", source
    if missing:
        return None, f"The data volume of {', '.join(missing)} is not to be seen (any more).", source
    at_rate, rate_told = _at_rate(volumes, facts.get("volume_initialization_rate_mib_s"))
    bottlerocket, booted, _ = _bottlerocket(aws, ids, facts)
    told = f"{DATA_DEVICE} of {', '.join(sorted(volumes))} was restored from {wanted}{rate_told}. {booted}"
    return at_rate and bottlerocket is not False, told, f"{source}, DescribeImages Name"


def _at_rate(volumes: Mapping[str, Mapping[str, Any]], wanted: int | None) -> tuple[bool, str]:
    """Return whether every volume is initialized at the rate that was asked for, if one was, and a clause about it."""
    if wanted is None:
        return True, ""
    rates = {name: item.get("VolumeInitializationRate") or "default" for name, item in volumes.items()}
    if all(rate == wanted for rate in rates.values()):
        return True, f", initialized at {wanted} MiB/s"
    return False, f", but not initialized at {wanted} MiB/s ({_listed(rates)})"


def _rate(aws: Aws, ids: Sequence[str], facts: Mapping[str, Any]) -> Answer:
    wanted, source = facts.get("volume_initialization_rate_mib_s"), "ec2 DescribeVolumes VolumeInitializationRate"
    if wanted is None:
        return None, "No rate is named to compare with.", source
    rates = {name: item.get("VolumeInitializationRate") for name, item in _data_volumes(aws, ids).items()}
    if not rates:
        return None, "The data volumes are not to be seen (any more).", source
    said = f"Rates in MiB/s: {_listed(rates)}; wanted {wanted}."
    return all(rate == wanted for rate in rates.values()), said, source


def _bottlerocket(aws: Aws, ids: Sequence[str], facts: Mapping[str, Any]) -> Answer:
    """The AMI's name holds variant and version; the node's own labels say who made it."""
    source = "ec2 DescribeImages Name"
    images = sorted({str(item["ImageId"]) for item in _instances(aws, ids).values()})
    names = sorted(_image_names(aws, images).values())
    if not names:
        return None, f"The images {', '.join(images) or 'of the nodes'} are not described.", source
    makers = sorted({f"{key}={labels[key]}" for labels in _labels(facts) for key in _MAKERS if key in labels})
    told = f"The nodes ({', '.join(makers)})" if makers else "The nodes"
    return all(name.startswith("bottlerocket-") for name in names), f"{told} booted {', '.join(names)}.", source


def _parallel_pull_set(aws: Aws, ids: Sequence[str], facts: Mapping[str, Any]) -> Answer:
    """The version decides whether the settings count; the volume's throughput is told, and the pull's rate judges it.
    User data may hold anything, so only what was looked for in it is told.
    """
    source = "ec2 DescribeInstanceAttribute userData, DescribeImages Name"
    instances, ec2 = _instances(aws, ids), aws.client("ec2")
    names = _image_names(aws, sorted({str(item["ImageId"]) for item in instances.values()}))
    told, answers = [], []
    for name, instance in sorted(instances.items()):
        held = ec2.describe_instance_attribute(InstanceId=name, Attribute="userData").get("UserData") or {}
        text = base64.b64decode(held.get("Value") or "").decode(errors="replace")
        answer, why = parallel_pull(names.get(str(instance["ImageId"]), "an image that is not described"), text)
        answers.append(answer)
        told.append(f"{name}: {why}")
    missing = sorted(set(ids) - set(instances))
    told += [f"{name} is not to be seen (any more)" for name in missing]
    throughput = {
        name: item.get("Throughput") for name, item in _data_volumes(aws, ids).items() if "Throughput" in item
    }
    told += [f"MiB/s of the data volumes: {_listed(throughput)}"] if throughput else []
    holds = False if False in answers else None if missing or None in answers or not answers else True
    return holds, f"{'; '.join(told)}.", source


def _image_names(aws: Aws, images: Sequence[str]) -> dict[str, str]:
    """Return AMI -> name. A node may run an image that was deprecated since."""
    if not images:
        return {}
    described = aws.client("ec2").describe_images(ImageIds=list(images), IncludeDeprecated=True)["Images"]
    return {str(item["ImageId"]): str(item.get("Name")) for item in described}


def _labels(facts: Mapping[str, Any]) -> list[Mapping[str, str]]:
    return [node.get("labels") or {} for node in facts.get("nodes") or ()]


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in sorted(values.items()))


def _instances(aws: Aws, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    pages = aws.client("ec2").get_paginator("describe_instances")
    listed = pages.paginate(Filters=[{"Name": "instance-id", "Values": list(ids)}])
    return {
        str(item["InstanceId"]): item
        for page in listed
        for group in page["Reservations"]
        for item in group["Instances"]
    }


def _data_volumes(aws: Aws, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return instance -> its data volume, for those instances that still have one."""
    holders = {}
    for name, instance in _instances(aws, ids).items():
        for device in instance.get("BlockDeviceMappings", []):
            if device["DeviceName"] == DATA_DEVICE:
                holders[str(device["Ebs"]["VolumeId"])] = name
    if not holders:
        return {}
    volumes = aws.client("ec2").describe_volumes(Filters=[{"Name": "volume-id", "Values": sorted(holders)}])["Volumes"]
    return {holders[item["VolumeId"]]: item for item in volumes}


def _bucket_region(aws: Aws, _ids: Sequence[str], facts: Mapping[str, Any]) -> Answer:
    """Buckets of us-east-1 have no location constraint (S3 API, GetBucketLocation)."""
    source, address = "s3 GetBucketLocation", str(facts.get("weights_source") or "")
    if not address.lower().startswith("s3://"):
        return None, "The trial names no bucket of S3.", source
    name = address[len("s3://") :].partition("/")[0]
    found = aws.client("s3").get_bucket_location(Bucket=name).get("LocationConstraint") or "us-east-1"
    return found == aws.region, f"Bucket {name} is in {found}, the nodes are in {aws.region}.", source


# Claims that have nothing to do with a node; preflight asks them before there is one.
_WITHOUT_NODES: Final = ("weights_bucket_region",)
_ANSWERS: Final[Mapping[str, Callable[[Aws, Sequence[str], Mapping[str, Any]], Answer]]] = {
    "snapshot_mounted": _snapshot_mounted,
    "volume_initialization_rate": _rate,
    "bottlerocket_node": _bottlerocket,
    "parallel_pull_set": _parallel_pull_set,
    "weights_bucket_region": _bucket_region,
}
