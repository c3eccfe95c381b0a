"""Listing and deleting by tags alone, from a process that knows nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
from eks_stand import BUILD, Stand, stand_in

from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.clouds.eks.owned import KINDS

pytestmark = pytest.mark.eks

PARAMETER = "/llm-provisioning/snapshots/eks-1"
FOREIGN_TAGS = [{"Key": "team", "Value": "somebody-else"}]


@pytest.fixture
def stand() -> Iterator[Stand]:
    with stand_in() as standing:
        yield standing


def make_one_of_each(stand: Stand) -> None:
    """Ours: an image, its repository and bucket, a finished snapshot and the parameter with its id, a build and a
    builder that run, and a volume that was left over.
    """
    stand.build()
    request = stand.snapshot_request()
    stand.drive(stand.cloud().start("snapshot_image", {**request, "parameter": PARAMETER}))
    cloud = stand.cloud()
    cloud.poll(cloud.start("build_image", {**BUILD, "recipe": {"base": "rayproject/ray:2.46.0"}}))
    cloud.poll(cloud.start("snapshot_image", {**request, "kubernetes_minor": "1.32"}))
    stand.client("ec2").create_volume(
        AvailabilityZone="us-west-2a",
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": LABEL_MANAGED_BY, "Value": OWNER}]}],
    )


def make_foreign(stand: Stand) -> None:
    """Another owner's, one beside each kind."""
    ec2 = stand.client("ec2")
    tagged = [{"ResourceType": "instance", "Tags": FOREIGN_TAGS}]
    instance = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, TagSpecifications=tagged)
    volume = ec2.create_volume(AvailabilityZone="us-west-2a", Size=1)
    ec2.create_snapshot(VolumeId=volume["VolumeId"])
    stand.client("ecr").create_repository(repositoryName="theirs")
    stand.client("ecr").put_image(
        repositoryName="theirs",
        imageTag="r-000000000000",
        imageManifest='{"schemaVersion": 2, "mediaType": "x", "config": {"size": 1}, "layers": []}',
    )
    stand.client("s3").create_bucket(
        Bucket="theirs-bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    stand.client("ssm").put_parameter(Name="/llm-provisioning/theirs", Value="x", Type="String", Tags=FOREIGN_TAGS)
    stand.client("codebuild").create_project(
        name="llm-provisioning-theirs",
        source={"type": "S3", "location": "theirs-bucket/x.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/x",
    )
    assert instance["Instances"]


def foreign_things(stand: Stand) -> set[str]:
    ec2 = stand.client("ec2")
    groups = ec2.describe_instances()["Reservations"]
    return {
        *(
            item["InstanceId"]
            for group in groups
            for item in group["Instances"]
            if item.get("Tags") == FOREIGN_TAGS and item["State"]["Name"] == "running"
        ),
        *(item["VolumeId"] for item in ec2.describe_volumes()["Volumes"]),
        *(item["SnapshotId"] for item in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]),
        *(item["repositoryName"] for item in stand.client("ecr").describe_repositories()["repositories"]),
        *(item["imageTag"] for item in stand.client("ecr").list_images(repositoryName="theirs")["imageIds"]),
        *(item["Name"] for item in stand.client("s3").list_buckets()["Buckets"]),
        *(item["Name"] for item in stand.client("ssm").describe_parameters()["Parameters"]),
        *stand.client("codebuild").list_projects()["projects"],
    }


def test_everything_of_ours_is_found_and_deleted_and_nothing_else(stand: Stand) -> None:
    """One of each kind; a new process lists and deletes all of it by tags; a foreign object beside each survives."""
    make_foreign(stand)
    stand.clock.move(60)
    stand.aws.compute.move()
    before = foreign_things(stand)
    make_one_of_each(stand)
    owned = stand.cloud().list_owned()
    assert {item.kind for item in owned} == set(KINDS)
    assert all(item.tags[LABEL_MANAGED_BY] == OWNER for item in owned)
    priced = {item.kind: item.priced[0] for item in owned if item.priced and item.priced[2] > 0}
    assert priced == {"instance": "node", "volume": "disk", "snapshot": "snapshot", "image": "image"}
    for item in owned:
        stand.cloud().delete_owned(item)
    stand.clock.move(120)
    assert stand.cloud().list_owned() == []
    assert foreign_things(stand) == before
    assert not [snapshot for snapshot in stand.world.snapshots.values() if snapshot.images]
    assert not [reference for reference in stand.world.images if "ray-serving" in reference]


@pytest.mark.parametrize(
    ("once", "gone"),
    [
        ("ecr.DescribeRepositories", {"image", "repository"}),
        ("ecr.ListTagsForResource", {"image", "repository"}),
        ("ssm.DescribeParameters", {"parameter"}),
    ],
)
def test_what_goes_while_it_is_listed_breaks_no_list(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, once: str, gone: set[str]
) -> None:
    """It is deleted right after the call that names it: the rest is listed, and nothing of what is gone twice."""
    make_one_of_each(stand)
    session = stand.session()
    deleting = {"ecr": stand.client("ecr").delete_repository, "ssm": stand.client("ssm").delete_parameter}
    named = {
        "ecr": [
            {"repositoryName": repository["repositoryName"], "force": True}
            for repository in stand.client("ecr").describe_repositories()["repositories"]
        ],
        "ssm": [{"Name": PARAMETER}],
    }

    def delete(**_: Any) -> None:
        service = once.partition(".")[0]
        while named[service]:
            deleting[service](**named[service].pop())

    session.events.register(f"after-call.{once}", delete)
    monkeypatch.setattr(stand, "session", lambda: session)

    kinds = {item.kind for item in stand.cloud().list_owned()}

    assert not any(named[once.partition(".")[0]])
    assert kinds >= set(KINDS) - gone
    assert "image" not in kinds or "image" not in gone


def test_the_ledger_is_closed_by_deletes(stand: Stand) -> None:
    """What was deleted by its identity is gone from the ledger too."""
    stand.build()
    for item in stand.cloud().list_owned():
        stand.cloud().delete_owned(item)
    assert stand.ledger.open_entries() == []


def test_an_instance_is_in_the_ledger_and_in_the_list_until_it_is_terminated(stand: Stand) -> None:
    """EC2 accepts the termination at once, and the instance shuts down for a while: it is not gone yet."""
    cloud = stand.cloud()
    cloud.poll(cloud.start("snapshot_image", stand.snapshot_request()))
    (instance,) = [item for item in cloud.list_owned() if item.kind == "instance"]
    cloud.delete_owned(instance)
    assert "instance" in stand.ledger.open_kinds()
    assert "instance" in {item.kind for item in cloud.list_owned()}
    stand.clock.move(120)
    stand.aws.compute.move()
    assert "instance" not in {item.kind for item in cloud.list_owned()}
    cloud.delete_owned(instance)
    assert "instance" not in stand.ledger.open_kinds()


def test_an_image_that_ecr_did_not_delete_stays_in_the_ledger(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECR answers well and names the image among the failures (BatchDeleteImage, `failures`)."""
    stand.build()
    session = stand.session()

    def kept(parsed: dict[str, Any], **_: Any) -> None:
        reason = "Requested image referenced by manifest list: [sha256:x]"
        parsed["failures"] = [{"failureCode": "ImageReferencedByManifestList", "failureReason": reason}]

    session.events.register("after-call.ecr.BatchDeleteImage", kept)
    monkeypatch.setattr(stand, "session", lambda: session)
    cloud = stand.cloud()
    (image,) = [item for item in cloud.list_owned() if item.kind == "image"]
    with pytest.raises(CloudError, match="referenced by manifest list"):
        cloud.delete_owned(image)
    assert "image" in stand.ledger.open_kinds()


@pytest.mark.parametrize("kind", ["instance", "snapshot", "image"])
def test_what_lost_its_tags_is_found_by_the_name_that_the_ledger_has(stand: Stand, kind: str) -> None:
    """AWS's reply with the id was lost, so the entry has our name only. With its tags it is in the list instead."""
    make_one_of_each(stand)
    cloud, ec2, ecr = stand.cloud(), stand.client("ec2"), stand.client("ecr")
    listed = {one.identity for one in cloud.list_owned()}
    (entry,) = [item for item in stand.ledger.entries.values() if item.kind == kind and item.identity in listed]
    assert not cloud.exists(kind, entry.name)
    for one in cloud.list_owned():
        if one.kind in ("instance", "snapshot"):
            ec2.delete_tags(Resources=[one.identity], Tags=[{"Key": key} for key in one.tags])
        elif one.kind == "repository":
            arn = ecr.describe_repositories(repositoryNames=[one.identity])["repositories"][0]["repositoryArn"]
            ecr.untag_resource(resourceArn=arn, tagKeys=list(one.tags))
    assert cloud.exists(kind, entry.name)
    assert not cloud.exists(kind, f"{entry.name}0")


def test_deleting_again_is_success(stand: Stand) -> None:
    """Gone already is what was wanted."""
    make_one_of_each(stand)
    owned = stand.cloud().list_owned()
    for _ in range(2):
        for item in owned:
            stand.cloud().delete_owned(item)
    stand.clock.move(120)
    assert stand.cloud().list_owned() == []


@pytest.mark.parametrize("kind", ["instance", "volume", "snapshot", "parameter", "repository", "bucket", "project"])
def test_a_thing_without_our_tag_is_refused(stand: Stand, kind: str) -> None:
    """Even if a caller says it was ours: the tags are read again before a delete."""
    make_foreign(stand)
    ec2 = stand.client("ec2")
    identity = {
        "instance": lambda: ec2.describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"],
        "volume": lambda: ec2.describe_volumes()["Volumes"][0]["VolumeId"],
        "snapshot": lambda: ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"][0]["SnapshotId"],
        "parameter": lambda: "/llm-provisioning/theirs",
        "repository": lambda: "theirs",
        "bucket": lambda: "theirs-bucket",
        "project": lambda: "llm-provisioning-theirs",
    }[kind]()
    before = foreign_things(stand)
    with pytest.raises(CloudError, match="belongs to another owner"):
        stand.cloud().delete_owned(Owned(kind, identity, {LABEL_MANAGED_BY: OWNER}))
    assert foreign_things(stand) == before


def test_an_unknown_kind_is_refused(stand: Stand) -> None:
    """The error names the kinds there are."""
    with pytest.raises(CloudError, match="no such kind"):
        stand.cloud().delete_owned(Owned("role", "x", {LABEL_MANAGED_BY: OWNER}))


def test_listing_raises_rather_than_return_part(stand: Stand) -> None:
    """A kind that cannot be listed makes the whole listing an error: 'clean' is never said by mistake."""
    stand.aws.faults["throttle"] = {"s3.GET /": 5}
    with pytest.raises(CloudError, match="Cannot list what is ours in us-west-2"):
        stand.cloud().list_owned()
