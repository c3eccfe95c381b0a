"""Looks for a thing by the name that the ledger has, where AWS's reply with its id was lost and its tags are gone too.

Names that we chose also stand where no tag editor changes them: the client token of an instance, the description of a
snapshot, the tag of an image. A thing that carries our tags is in the list of what is ours and is not meant here.
"""

from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, absent, from_pairs
from airflow_llm_provisioning.gateways.clouds.eks.tags import AWS_TAGS, NAME_PREFIX


def client_token(token: str, content: str) -> str:
    """Return EC2's idempotency token of a launch: at most 64 characters, and it ends with the content."""
    return f"{token[:32]}-{content}"


def description(kubernetes_minor: str, name: str) -> str:
    """Return what a snapshot says of itself: it ends with our name in brackets."""
    return f"Images for Kubernetes {kubernetes_minor} ({name})"


def untagged(aws: Aws, kind: str, name: str) -> bool | None:
    """Return whether there is an instance, snapshot or image of this name without our tags; None for other names."""
    if kind == "image" and ":" in name and "@" not in name:
        return _image(aws, *name.rsplit(":", 1))
    if not name.startswith(NAME_PREFIX) or kind not in ("instance", "snapshot"):
        return None
    return any(map(_lost_its_tags, _instances(aws, name) if kind == "instance" else _snapshots(aws, name)))


def _instances(aws: Aws, name: str) -> list[dict[str, Any]]:
    states = ["pending", "running", "stopping", "stopped", "shutting-down"]
    wanted = [{"Name": "instance-state-name", "Values": states}]
    pages = aws.client("ec2").get_paginator("describe_instances").paginate(Filters=wanted)
    listed = [item for page in pages for group in page["Reservations"] for item in group["Instances"]]
    end = client_token("", name.removeprefix(NAME_PREFIX))
    return [item for item in listed if str(item.get("ClientToken", "")).endswith(end)]


def _snapshots(aws: Aws, name: str) -> list[dict[str, Any]]:
    pages = aws.client("ec2").get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
    end = description("", name).rpartition(" ")[2]
    listed = [item for page in pages for item in page["Snapshots"]]
    return [item for item in listed if str(item.get("Description", "")).endswith(end)]


def _image(aws: Aws, repository: str, tag: str) -> bool:
    ecr = aws.client("ecr")
    try:
        found = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])["imageDetails"]
        arn = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryArn"]
        tags = from_pairs(ecr.list_tags_for_resource(resourceArn=arn).get("tags"))
    except AWS_ERRORS as error:
        if not absent(error):
            raise
        return False
    return bool(found) and not AWS_TAGS.is_ours(tags)


def _lost_its_tags(item: Mapping[str, Any]) -> bool:
    return not AWS_TAGS.is_ours(from_pairs(item.get("Tags")))
