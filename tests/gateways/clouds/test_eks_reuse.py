"""What an earlier preparation left is used again and kept longer; two at once share what they need."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from eks_stand import BUILD, RECIPE, REGION, Stand, stand_in

from airflow_llm_provisioning.core.names import LABEL_EXPIRES, LABEL_MANAGED_BY, expiry
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.treatments import plan_deployment, resolved
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.store.ledger import Entry

pytestmark = pytest.mark.eks
PARAMETER = "/llm-provisioning/snapshots/eks-improved"


@pytest.fixture
def stand() -> Iterator[Stand]:
    with stand_in() as standing:
        yield standing


def owned(stand: Stand, kind: str) -> Owned:
    (found,) = [item for item in stand.cloud().list_owned() if item.kind == kind]
    return found


def noted(stand: Stand, kind: str) -> Entry:
    (found,) = [entry for entry in stand.ledger.open_entries() if entry.kind == kind]
    return found


def in_days(stand: Stand, days: int) -> str:
    return expiry(stand.clock.at + timedelta(days=days))


@pytest.mark.parametrize(("keep_days", "kept_days"), [(30, 30), (1, 7 - 5)])
def test_a_reused_snapshot_lives_as_long_as_the_longest_wish(stand: Stand, keep_days: int, kept_days: int) -> None:
    """Five days later it is used for another thirty: its expiry moves. A shorter wish does not shorten it."""
    request = stand.snapshot_request()
    first = stand.cloud().start("snapshot_image", request)
    begun_at = stand.clock.at
    stand.drive(first)
    stand.clock.at = begun_at + timedelta(days=5)
    again = stand.cloud().start("snapshot_image", {**request, "keep_days": keep_days})
    assert again.state == "succeeded"
    assert owned(stand, "snapshot").tags[LABEL_EXPIRES] == in_days(stand, kept_days)
    assert owned(stand, "snapshot").tags[LABEL_MANAGED_BY]
    assert expiry(noted(stand, "snapshot").expires_at) == in_days(stand, kept_days)


def test_a_reused_image_keeps_its_repository_longer(stand: Stand) -> None:
    """Images have no tags of their own: the repository must not be cleared away under one that is in use."""
    begun_at = stand.clock.at
    stand.build()
    stand.clock.at = begun_at + timedelta(days=5)
    assert stand.cloud().start("build_image", {**BUILD, "keep_days": 30}).state == "succeeded"
    assert owned(stand, "repository").tags[LABEL_EXPIRES] == in_days(stand, 30)
    assert owned(stand, "image").tags[LABEL_EXPIRES] == in_days(stand, 30)
    assert {expiry(noted(stand, kind).expires_at) for kind in ("repository", "image")} == {in_days(stand, 30)}


def test_a_second_recipe_keeps_repository_and_bucket_longer(stand: Stand) -> None:
    """What two builds share outlives both; the first build's wish is not shortened by the second's."""
    begun_at = stand.clock.at
    stand.build()
    for keep_days, kept_days in ((30, 30), (1, 30 - 5)):
        stand.clock.at += timedelta(days=5)
        recipe = {"base": "rayproject/ray:2.46.0", "pip": [f"requests==2.31.{keep_days}"]}
        started_at = stand.clock.at
        ended = stand.drive(stand.cloud().start("build_image", {**BUILD, "recipe": recipe, "keep_days": keep_days}))
        assert ended.state in ("succeeded", "failed")
        stand.clock.at = started_at
        for kind in ("repository", "bucket"):
            assert owned(stand, kind).tags[LABEL_EXPIRES] == in_days(stand, kept_days)
        begun_at = started_at
    assert begun_at == stand.clock.at


def test_a_repository_that_is_somebody_elses_is_used_and_left_alone(stand: Stand) -> None:
    """It was there before and carries no tag of ours: images go in, no tag is written, nothing of it is listed."""
    stand.client("ecr").create_repository(repositoryName="ray-serving")
    stand.build()
    assert {item.kind for item in stand.cloud().list_owned()} == {"bucket"}
    assert "repository" not in stand.ledger.open_kinds()
    with pytest.raises(CloudError, match="belongs to another owner"):
        stand.cloud().delete_owned(Owned("repository", "ray-serving", {}))


def test_the_current_recipe_is_built_too(stand: Stand) -> None:
    """Today's image with today's downloader, beside the origin's."""
    recipe = plan_deployment(
        builtin_workload("phi3-current", "phi3-current"), resolved(BUILTIN_VARIANTS["improved"], "eks")
    ).recipe
    ended = stand.drive(stand.cloud().start("build_image", {**BUILD, "recipe": recipe.as_dict()}))
    assert ended.result is not None, ended.error
    image = stand.world.find_image(ended.result["image"])
    assert image is not None
    assert image.packages["vllm"] == "0.22.0"
    assert image.env["HF_XET_HIGH_PERFORMANCE"] == "1"
    assert recipe.tag() != RECIPE.tag()


@pytest.mark.parametrize("behind", [1, 3, 8, 19, 30])
def test_two_preparations_of_one_image_share_builder_and_snapshot(stand: Stand, behind: int) -> None:
    """Two targets are prepared side by side, one some looks behind the other: one machine, one snapshot for both, with
    the image on it. Neither clears or stops what the other needs.
    """
    request = stand.snapshot_request()
    pair = [stand.cloud(), stand.cloud()]
    ended: list[Operation] = [pair[0].start("snapshot_image", request)]
    for look in range(400):
        if look == behind:
            stand.clock.move(1)
            ended.append(pair[1].start("snapshot_image", {**request, "target": "another"}))
        ended = [cloud.poll(operation) for cloud, operation in zip(pair, ended, strict=False)]
        if len(ended) == 2 and "running" not in {operation.state for operation in ended}:
            break
        stand.clock.move(40)
    results = [operation.result or {} for operation in ended]
    assert [operation.error for operation in ended] == [None, None]
    assert len({result["snapshot_id"] for result in results}) == 1
    assert (len(stand.aws.compute.machines), len(stand.aws.compute.commands)) == (1, 3)
    assert list(stand.world.snapshots) == [results[0]["snapshot_id"]]
    assert stand.world.snapshots[results[0]["snapshot_id"]].images == {request["image"]: request["digest"]}
    assert stand.living_instances() == []


def test_of_two_snapshots_taken_at_one_instant_one_is_kept(stand: Stand) -> None:
    """CreateSnapshot knows no token: two may be made. Everybody keeps the same one."""
    cloud = stand.cloud()
    operation = cloud.start("snapshot_image", stand.snapshot_request())
    while operation.step != "taking the snapshot":
        operation = cloud.poll(operation)
        stand.clock.move(60)
    ec2 = stand.client("ec2")
    (first,) = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    tags = [tag for tag in first["Tags"] if not tag["Key"].startswith("aws:")]
    stand.clock.move(1)
    twin = ec2.create_snapshot(
        VolumeId=first["VolumeId"], TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}]
    )
    ended = stand.drive(operation)
    assert ended.result is not None, ended.error
    left = [item["SnapshotId"] for item in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]]
    assert left == [ended.result["snapshot_id"]]
    assert left[0] in (first["SnapshotId"], twin["SnapshotId"])


# --- the parameter, for nodes that others describe


def value_of(stand: Stand, name: str = PARAMETER) -> str:
    return str(stand.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])


def test_the_snapshots_id_is_written_where_it_was_asked_for(stand: Stand) -> None:
    """By the first preparation, over an older one of ours, and when a snapshot is only reused."""
    request = {**stand.snapshot_request(), "parameter": PARAMETER}
    first = stand.drive(stand.cloud().start("snapshot_image", request)).result or {}
    assert value_of(stand) == first["snapshot_id"]
    second = stand.drive(stand.cloud().start("snapshot_image", {**request, "kubernetes_minor": "1.32"})).result or {}
    assert value_of(stand) == second["snapshot_id"] != first["snapshot_id"]
    assert stand.cloud().start("snapshot_image", request).state == "succeeded"
    assert value_of(stand) == first["snapshot_id"]
    assert owned(stand, "parameter").identity == PARAMETER


def test_no_parameter_is_made_that_nobody_asked_for(stand: Stand) -> None:
    """Nor is one left by a preparation that failed."""
    request = stand.snapshot_request()
    stand.drive(stand.cloud().start("snapshot_image", request))
    stand.aws.faults["pull_fails"] = True
    failing: dict[str, Any] = {**request, "kubernetes_minor": "1.32", "parameter": PARAMETER}
    assert stand.drive(stand.cloud().start("snapshot_image", failing)).state == "failed"
    assert stand.client("ssm").describe_parameters()["Parameters"] == []
    assert "parameter" not in stand.ledger.open_kinds()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/theirs/snapshot", "does not begin with /llm-provisioning/"),
        ("/llm-provisioning/theirs", "belongs to another owner"),
    ],
)
def test_a_parameter_that_is_not_ours_is_refused(stand: Stand, name: str, words: str) -> None:
    """Before an instance runs."""
    stand.client("ssm").put_parameter(Name="/llm-provisioning/theirs", Value="x", Type="String")
    with pytest.raises(ConfigurationError, match=words):
        stand.cloud().start("snapshot_image", {**stand.snapshot_request(), "parameter": name})
    assert value_of(stand, "/llm-provisioning/theirs") == "x"
    assert stand.client("ec2").describe_instances()["Reservations"] == []
    assert stand.session().region_name == REGION
