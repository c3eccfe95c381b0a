"""Everything on AWS that carries our tag, and how each kind is deleted.

Listing works from tags alone, in a process that knows nothing else. Images have no tags of their own in ECR: an image
is ours if its repository is. Deleting looks at the tags again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, absent, error_code, filters, from_pairs
from airflow_llm_provisioning.gateways.clouds.eks.by_name import untagged
from airflow_llm_provisioning.gateways.clouds.eks.tags import AWS_TAGS, NAME_PREFIX
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

_T = TypeVar("_T")
# In this order nothing is deleted while something else still needs it.
KINDS: Final = ("build", "project", "instance", "parameter", "snapshot", "volume", "image", "repository", "bucket")
_PREFIXES: Final[Mapping[str, str]] = {"instance": "i-", "snapshot": "snap-", "volume": "vol-"}
_OURS: Final = {LABEL_MANAGED_BY: OWNER}


class OwnedOnAws:
    """Lists and deletes what is ours in one account and region."""

    def __init__(self, aws: Aws, entries: LedgerEntries) -> None:
        self._aws, self._entries = aws, entries

    def everything(self) -> list[Owned]:
        """Return everything of ours, in the order in which it can be deleted. Raises rather than return part."""
        return [
            *self._builds(),
            *self._projects(),
            *self._instances(),
            *self._parameters(),
            *self._snapshots(),
            *self._volumes(),
            *self._images(),
            *self._repositories(),
            *self._buckets(),
        ]

    def delete(self, owned: Owned) -> None:
        """Delete one thing of ours; gone already is success; a thing without our tag is refused. AWS accepts some
        deletions long before the thing is gone: its ledger entry ends when it is seen to be gone, and list_owned shows
        it until then.
        """
        deletes: Mapping[str, Callable[[str], None]] = {
            "build": self._stop_build,
            "project": lambda name: self._aws.client("codebuild").delete_project(name=name),
            "instance": lambda name: self._aws.client("ec2").terminate_instances(InstanceIds=[name]),
            "parameter": lambda name: self._aws.client("ssm").delete_parameter(Name=name),
            "snapshot": lambda name: self._aws.client("ec2").delete_snapshot(SnapshotId=name),
            "volume": lambda name: self._aws.client("ec2").delete_volume(VolumeId=name),
            "image": self._delete_image,
            "repository": lambda name: self._aws.client("ecr").delete_repository(repositoryName=name, force=True),
            "bucket": self._delete_bucket,
        }
        if owned.kind not in deletes:
            raise CloudError(f"Cannot delete {owned.kind} {owned.identity}: no such kind; one of {', '.join(KINDS)}.")
        stands = False
        try:
            tags = self._tags_now(owned)
            if tags is not None:
                if not AWS_TAGS.is_ours(tags):
                    raise CloudError(
                        f"Refusing to delete {owned.kind} {owned.identity}: it does not carry the tag "
                        f"{LABEL_MANAGED_BY}={OWNER}, so it belongs to another owner."
                    )
                deletes[owned.kind](owned.identity)
                stands = self._stands(owned)
        except AWS_ERRORS as error:
            if not absent(error):
                raise
        if not stands:
            self._entries.gone(owned.kind, identity=owned.identity)

    def exists(self, kind: str, identity: str) -> bool | None:
        """Return whether a thing exists under AWS's own name with any tags, or under ours without our tags; None for
        what is no such name.
        """
        named = identity.startswith(_PREFIXES.get(kind, "")) and ("@" in identity or kind != "image")
        if kind not in KINDS:
            return None
        try:
            return self._stands(Owned(kind, identity, {})) if named else untagged(self._aws, kind, identity)
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            return False

    # --- listing

    def _instances(self) -> list[Owned]:
        # A terminated instance is gone; EC2 names it for an hour more.
        states = ["pending", "running", "stopping", "stopped", "shutting-down"]
        pages = self._aws.client("ec2").get_paginator("describe_instances")
        groups = [
            group
            for page in pages.paginate(Filters=filters(_OURS, instance_state_name=states))
            for group in page["Reservations"]
        ]
        return [_ec2("instance", item, "InstanceId", "LaunchTime") for group in groups for item in group["Instances"]]

    def _parameters(self) -> list[Owned]:
        ssm, found = self._aws.client("ssm"), []
        wanted = [{"Key": f"tag:{LABEL_MANAGED_BY}", "Option": "Equals", "Values": [OWNER]}]
        for page in ssm.get_paginator("describe_parameters").paginate(ParameterFilters=wanted):
            for item in page["Parameters"]:
                tags = _unless_gone(self._parameter_tags, item["Name"]) or {}
                if AWS_TAGS.is_ours(tags):
                    found.append(Owned("parameter", item["Name"], tags, item.get("LastModifiedDate")))
        return found

    def _parameter_tags(self, name: str) -> dict[str, str]:
        listed = self._aws.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=name)
        return from_pairs(listed.get("TagList"))

    def _volumes(self) -> list[Owned]:
        """A volume that hangs on an instance goes with it; those that are left over are listed."""
        pages = self._aws.client("ec2").get_paginator("describe_volumes")
        listed = [item for page in pages.paginate(Filters=filters(_OURS)) for item in page["Volumes"]]
        return [_ec2("volume", item, "VolumeId", "CreateTime") for item in listed if not item.get("Attachments")]

    def _snapshots(self) -> list[Owned]:
        pages = self._aws.client("ec2").get_paginator("describe_snapshots")
        listed = [
            item for page in pages.paginate(OwnerIds=["self"], Filters=filters(_OURS)) for item in page["Snapshots"]
        ]
        return [_ec2("snapshot", item, "SnapshotId", "StartTime") for item in listed]

    def _our_repositories(self) -> list[tuple[dict[str, Any], dict[str, str]]]:
        ecr, found = self._aws.client("ecr"), []
        for page in ecr.get_paginator("describe_repositories").paginate():
            for repository in page["repositories"]:
                tags = _unless_gone(self._repository_tags, repository["repositoryArn"]) or {}
                if AWS_TAGS.is_ours(tags):
                    found.append((repository, tags))
        return found

    def _repository_tags(self, arn: str) -> dict[str, str]:
        return from_pairs(self._aws.client("ecr").list_tags_for_resource(resourceArn=arn).get("tags"))

    def _repositories(self) -> list[Owned]:
        return [
            Owned("repository", item["repositoryName"], tags, item.get("createdAt"))
            for item, tags in self._our_repositories()
        ]

    def _images(self) -> list[Owned]:
        found = []
        for repository, tags in self._our_repositories():
            name = repository["repositoryName"]
            found += [
                Owned("image", f"{name}@{item['imageDigest']}", tags, item.get("imagePushedAt"), _priced("image", item))
                for item in _unless_gone(self._images_in, name) or ()
            ]
        return found

    def _images_in(self, repository: str) -> list[dict[str, Any]]:
        pages = self._aws.client("ecr").get_paginator("describe_images").paginate(repositoryName=repository)
        return [item for page in pages for item in page["imageDetails"]]

    def _our_projects(self) -> list[dict[str, Any]]:
        codebuild = self._aws.client("codebuild")
        pages = codebuild.get_paginator("list_projects").paginate()
        # Ours begin so; asking for others' details would need rights over every project of the account.
        names = [name for page in pages for name in page["projects"] if name.startswith(NAME_PREFIX)]
        found: list[dict[str, Any]] = []
        # BatchGetProjects takes 100 names.
        for begin in range(0, len(names), 100):
            found += codebuild.batch_get_projects(names=names[begin : begin + 100])["projects"]
        return [item for item in found if AWS_TAGS.is_ours(from_pairs(item.get("tags")))]

    def _projects(self) -> list[Owned]:
        return [
            Owned("project", item["name"], from_pairs(item.get("tags")), item.get("created"))
            for item in self._our_projects()
        ]

    def _builds(self) -> list[Owned]:
        codebuild, found = self._aws.client("codebuild"), []
        for project in self._our_projects():
            ids = codebuild.list_builds_for_project(projectName=project["name"])["ids"][:100]
            builds = codebuild.batch_get_builds(ids=ids)["builds"] if ids else []
            found += [
                Owned("build", item["id"], from_pairs(project.get("tags")), item.get("startTime"))
                for item in builds
                if item["buildStatus"] == "IN_PROGRESS"
            ]
        return found

    def _buckets(self) -> list[Owned]:
        s3, found = self._aws.client("s3"), []
        for bucket in s3.list_buckets()["Buckets"]:
            tags = self._bucket_tags(bucket["Name"])
            if AWS_TAGS.is_ours(tags):
                found.append(Owned("bucket", bucket["Name"], tags, bucket.get("CreationDate")))
        return found

    def _bucket_tags(self, name: str) -> dict[str, str]:
        try:
            return from_pairs(self._aws.client("s3").get_bucket_tagging(Bucket=name)["TagSet"])
        except AWS_ERRORS as error:
            # Other people's buckets, or buckets of other regions, are none of ours.
            if absent(error) or error_code(error) in (
                "AccessDenied",
                "PermanentRedirect",
                "IllegalLocationConstraintException",
            ):
                return {}
            raise

    # --- deleting

    def _tags_now(self, owned: Owned) -> dict[str, str] | None:
        """Return the tags a thing carries now, None when it is gone."""
        if owned.kind in ("instance", "snapshot", "volume"):
            return self._ec2_tags_now(owned.kind, owned.identity)
        if owned.kind in ("image", "repository"):
            ecr, name = self._aws.client("ecr"), owned.identity.partition("@")[0]
            return self._repository_tags(
                ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryArn"]
            )
        if owned.kind == "parameter":
            return self._parameter_tags(owned.identity)
        if owned.kind == "bucket":
            self._aws.client("s3").head_bucket(Bucket=owned.identity)
            return self._bucket_tags(owned.identity)
        name = owned.identity.partition(":")[0]
        projects = self._aws.client("codebuild").batch_get_projects(names=[name])["projects"]
        return from_pairs(projects[0].get("tags")) if projects else None

    def _ec2_tags_now(self, kind: str, identity: str) -> dict[str, str] | None:
        ec2 = self._aws.client("ec2")
        if kind == "instance":
            groups = ec2.describe_instances(InstanceIds=[identity])["Reservations"]
            listed = [item for group in groups for item in group["Instances"]]
            listed = [item for item in listed if item["State"]["Name"] != "terminated"]
        elif kind == "snapshot":
            listed = ec2.describe_snapshots(SnapshotIds=[identity])["Snapshots"]
        else:
            listed = ec2.describe_volumes(VolumeIds=[identity])["Volumes"]
        return from_pairs(listed[0].get("Tags")) if listed else None

    def _stands(self, owned: Owned) -> bool:
        """Return whether a thing is still seen after its deletion was asked for; AWS's error about what is absent says
        that it is not.
        """
        name, _, digest = owned.identity.partition("@")
        if owned.kind == "image":
            asked = {"repositoryName": name, "imageIds": [{"imageDigest": digest}]}
            return bool(self._aws.client("ecr").describe_images(**asked)["imageDetails"])
        if owned.kind == "build":
            builds = self._aws.client("codebuild").batch_get_builds(ids=[owned.identity])["builds"]
            return any(build["buildStatus"] == "IN_PROGRESS" for build in builds)
        return self._tags_now(owned) is not None

    def _stop_build(self, identity: str) -> None:
        self._aws.client("codebuild").stop_build(id=identity)

    def _delete_image(self, identity: str) -> None:
        name, _, digest = identity.partition("@")
        asked = {"repositoryName": name, "imageIds": [{"imageDigest": digest}]}
        # ECR answers well and lists what it did not delete, for example an image that a manifest list names.
        failed = self._aws.client("ecr").batch_delete_image(**asked).get("failures") or []
        kept = [item for item in failed if item.get("failureCode") != "ImageNotFound"]
        if kept:
            why = str(kept[0].get("failureReason") or kept[0].get("failureCode")).rstrip(".")
            raise CloudError(f"ECR did not delete image {identity}: {why}. It is tried again in the next round.")

    def _delete_bucket(self, name: str) -> None:
        s3 = self._aws.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", []):
                s3.delete_object(Bucket=name, Key=item["Key"])
        s3.delete_bucket(Bucket=name)


def _unless_gone(ask: Callable[[str], _T], name: str) -> _T | None:
    """Return the answer about a thing, None for one that has gone since it was listed."""
    try:
        return ask(name)
    except AWS_ERRORS as error:
        if not absent(error):
            raise
        return None


def _ec2(kind: str, item: Mapping[str, Any], identity: str, created: str) -> Owned:
    return Owned(kind, str(item[identity]), from_pairs(item.get("Tags")), item.get(created), _priced(kind, item))


def _priced(kind: str, item: Mapping[str, Any]) -> tuple[str, str, float] | None:
    """Return how the price book calls a thing, and how much there is of it. A snapshot counts as large as it is in full
    (`FullSnapshotSizeInBytes`, EC2 DescribeSnapshots), else as its volume: what it shares with others is not listed.
    """
    gib = 2.0**30
    match kind:
        case "instance":
            return "node", str(item.get("InstanceType")), 1.0
        case "volume" if item.get("Size"):
            return "disk", str(item.get("VolumeType")), float(item["Size"])
        case "snapshot" if size := item.get("FullSnapshotSizeInBytes"):
            return "snapshot", "standard", size / gib
        case "snapshot" if item.get("VolumeSize"):
            return "snapshot", "standard", float(item["VolumeSize"])
        case "image" if item.get("imageSizeInBytes"):
            return "image", "private", item["imageSizeInBytes"] / gib
    return None
