"""Build and snapshot on AWS: real boto3 calls, against moto behind the stand-in, and what they leave behind."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eks_stand import BUILD, NAMES, RECIPE, REGISTRY, Stand, stand_in

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError

pytestmark = pytest.mark.eks


@pytest.fixture
def stand() -> Iterator[Stand]:
    with stand_in() as standing:
        yield standing


def test_a_build_leaves_the_recipes_image_in_the_registry(stand: Stand) -> None:
    """Reference by tag, digest and compressed bytes are those of what was pushed; its packages are the recipe's."""
    result = stand.build()
    image = stand.world.find_image(result["image"])
    assert image is not None
    assert result["image"] == f"{REGISTRY}/ray-serving:{RECIPE.tag()}"
    assert (result["digest"], result["size_bytes"]) == (image.digest, image.compressed_bytes)
    assert image.packages["vllm"] == "0.5.4"
    assert image.env["HF_HUB_ENABLE_HF_TRANSFER"] == "1"
    assert result["reused"] is False
    assert result["seconds"] > 300
    assert result["log_url"]


def test_a_builds_price_and_phases_are_kept(stand: Stand) -> None:
    """Price follows from CodeBuild's own phases without the queue; a region without list price costs an unknown sum."""
    result = stand.build()
    phases = result["phases"]
    charged = sum(value for name, value in phases.items() if name.startswith("build: ")) - phases["build: queued"]
    assert result["price_usd"] == pytest.approx(-(-charged // 60) * 0.02)
    assert "list price" in result["price_basis"]


def test_the_same_recipe_is_not_built_twice(stand: Stand) -> None:
    """A second start ends at once, for nothing; another recipe is built."""
    first = stand.build()
    again = stand.cloud().start("build_image", BUILD)
    assert again.state == "succeeded"
    assert again.result is not None
    assert (again.result["digest"], again.result["reused"], again.result["price_usd"]) == (first["digest"], True, 0.0)
    assert stand.count("codebuild.StartBuild") == 1
    other = {**BUILD, "recipe": {"base": RECIPE.base}}
    assert stand.cloud().start("build_image", other).state == "running"


def test_a_build_leaves_nothing_temporary(stand: Stand) -> None:
    """Project and source are deleted; repository, bucket and image are meant to stay, and are in the ledger."""
    stand.build()
    assert {owned.kind for owned in stand.cloud().list_owned()} == {"image", "repository", "bucket"}
    assert stand.ledger.open_kinds() == {"image", "repository", "bucket"}
    bucket = stand.client("s3").list_buckets()["Buckets"][0]["Name"]
    assert stand.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_snapshot_holds_the_image_under_the_reference_the_pods_use(stand: Stand) -> None:
    """The whole path: what a node would restore is the built image, by its exact name, for the cluster's minor."""
    image = stand.build()
    request = {**stand.snapshot_request(), **{key: image[key] for key in ("image", "digest", "size_bytes")}}
    ended = stand.drive(stand.cloud().start("snapshot_image", request), step_s=20)
    assert ended.result is not None, ended.error
    snapshot = stand.world.snapshots[ended.result["snapshot_id"]]
    assert snapshot.images == {request["image"]: request["digest"]}
    assert snapshot.kubernetes_minor == "1.31"
    assert snapshot.size_gib == ended.result["volume_gib"] >= 3 * request["size_bytes"] / 1024**3
    assert ended.result["seconds"] > 600
    assert ended.result["price_usd"] > 0
    assert ended.result["phases"]["pulling"] > 300


def test_a_snapshot_leaves_no_machine(stand: Stand) -> None:
    """The builder and its volume are gone when the operation ends, and the ledger says so."""
    request = stand.snapshot_request()
    stand.drive(stand.cloud().start("snapshot_image", request))
    assert stand.living_instances() == []
    assert "instance" not in stand.ledger.open_kinds()
    assert stand.client("ec2").describe_volumes()["Volumes"] == []


def test_a_snapshot_is_reused_by_content(stand: Stand) -> None:
    """Same image, digest and minor: the earlier snapshot; another minor: a new one."""
    request = stand.snapshot_request()
    first = stand.drive(stand.cloud().start("snapshot_image", request)).result
    again = stand.cloud().start("snapshot_image", request)
    assert first is not None
    assert again.state == "succeeded"
    assert again.result is not None
    assert again.result["snapshot_id"] == first["snapshot_id"]
    assert (again.result["reused"], again.result["seconds"]) == (True, 0.0)
    assert stand.cloud().start("snapshot_image", {**request, "kubernetes_minor": "1.32"}).state == "running"


def test_the_builder_is_a_cpu_machine_with_the_plain_bottlerocket_of_the_minor(stand: Stand) -> None:
    """Not the -nvidia image, which never reaches SSM without a GPU; admin container on, IMDSv2, data volume at xvdb."""
    operation = stand.cloud().poll(stand.cloud().start("snapshot_image", stand.snapshot_request()))
    assert stand.count("ssm.GetParameter") == 1
    (machine,) = stand.aws.compute.machines.values()
    assert machine.ami is not None
    assert (machine.ami.minor, machine.ami.nvidia) == ("1.31", False)
    assert machine.admin_container()
    (group,) = stand.client("ec2").describe_instances(InstanceIds=[operation.progress["instance_id"]])["Reservations"]
    (instance,) = group["Instances"]
    assert instance["InstanceType"] == "m5.large"
    assert "/dev/xvdb" in {item["DeviceName"] for item in instance["BlockDeviceMappings"]}


def test_no_credential_travels_in_a_commands_parameters(stand: Stand) -> None:
    """The pull signs in with the instance's role: no command holds a password or a token."""
    stand.drive(stand.cloud().start("snapshot_image", stand.snapshot_request()))
    text = "\n".join(line for command in stand.aws.compute.commands.values() for line in command.lines)
    assert "pull-image" in text
    assert not any(word in text for word in ("--user", "AWS:", "password", "login"))


def test_intent_is_written_before_anything_is_created(stand: Stand) -> None:
    """For every kind, the ledger knew before AWS was asked to create it."""
    stand.build()
    stand.drive(stand.cloud().start("snapshot_image", stand.snapshot_request()))
    creates = {
        "repository": "ecr.CreateRepository",
        "project": "codebuild.CreateProject",
        "image": "codebuild.StartBuild",
        "instance": "ec2.RunInstances",
        "snapshot": "ec2.CreateSnapshot",
    }
    for kind, call in creates.items():
        assert stand.ledger.calls_before[kind] <= stand.aws.calls.index(call)


def test_start_creates_nothing(stand: Stand) -> None:
    """Between start and the first poll only questions were asked: a crash there costs nothing."""
    stand.cloud().start("build_image", BUILD)
    stand.cloud().start("snapshot_image", {**_plain_request(), "image": f"{REGISTRY}/x:y"})
    questions = ("Get", "Describe", "List", "Batch")
    assert all(call.partition(".")[2].startswith(questions) for call in stand.aws.calls)


# --- restarts


@pytest.mark.parametrize("polls", [1, 2, 4, 6])
def test_a_build_begun_again_from_its_first_operation_builds_once(stand: Stand, polls: int) -> None:
    """Whenever the process dies, a new one with only the first operation ends with one build and the same image."""
    first = stand.cloud().start("build_image", BUILD)
    operation, cloud = first, stand.cloud()
    for _ in range(polls):
        operation = cloud.poll(operation)
        stand.clock.move(100)
    ended = stand.drive(Operation.from_dict(first.as_dict()))
    assert ended.state == "succeeded", ended.error
    assert stand.count("codebuild.StartBuild") == 1
    assert len(stand.aws.codebuild.builds) == 1


@pytest.mark.parametrize("polls", [1, 3, 4, 6, 9, 11, 13, 15])
def test_a_snapshot_begun_again_from_its_first_operation_doubles_nothing(stand: Stand, polls: int) -> None:
    """Whenever the process dies: one instance, one snapshot, nothing left, the image on it once."""
    request = stand.snapshot_request()
    first = stand.cloud().start("snapshot_image", request)
    operation, cloud = first, stand.cloud()
    for _ in range(polls):
        operation = cloud.poll(operation)
        stand.clock.move(100)
    ended = stand.drive(Operation.from_dict(first.as_dict()))
    assert ended.state == "succeeded", ended.error
    assert len(stand.aws.compute.machines) == 1
    assert list(stand.world.snapshots) == [ended.result["snapshot_id"] if ended.result else None]
    assert stand.world.snapshots[ended.result["snapshot_id"]].images == {request["image"]: request["digest"]}
    assert stand.living_instances() == []


def test_polling_an_ended_operation_changes_nothing(stand: Stand) -> None:
    """What has ended stays ended, and asks AWS nothing."""
    ended = stand.drive(stand.cloud().start("build_image", BUILD))
    calls = len(stand.aws.calls)
    assert stand.cloud().poll(ended) == ended
    assert len(stand.aws.calls) == calls


# --- before money is spent


def _plain_request(**changes: Any) -> dict[str, Any]:
    return {
        "image": "rayproject/ray-ml:2.33.0.914af0-py311",
        "digest": "sha256:" + "a" * 64,
        "size_bytes": None,
        "kubernetes_minor": "1.31",
        "keep_days": 1,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kubernetes_minor": "v1.31.2"}, "no minor version"),
        ({"kubernetes_minor": "1.19"}, "no Bottlerocket image for Kubernetes 1.19"),
        ({"digest": "latest"}, "no sha256 digest"),
        ({"image": ""}, "image is missing"),
        ({"volume_initialization_rate_mib_s": 50}, "100 to 300"),
        ({"size_bytes": 12 * 1024**3, "volume_gib": 20}, "too small"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_runs(stand: Stand, changes: dict[str, Any], words: str) -> None:
    """Everything wrong is named at once; no instance, no entry in the ledger."""
    with pytest.raises(ConfigurationError, match=words):
        stand.cloud().start("snapshot_image", _plain_request(**changes))
    assert stand.ledger.open_entries() == []


def test_auto_mode_is_refused_with_the_reason(stand: Stand) -> None:
    """A cluster whose nodes cannot take a snapshot gets none."""
    stand.aws.auto_mode_clusters.add("eks-1")
    with pytest.raises(ConfigurationError, match="Auto Mode, whose NodeClass cannot start nodes from a snapshot"):
        stand.cloud().start("snapshot_image", _plain_request(cluster="eks-1"))


def test_a_cluster_that_is_not_there_is_named(stand: Stand) -> None:
    """Nodes of a cluster of another name or region would never use the snapshot."""
    with pytest.raises(ConfigurationError, match="there is no cluster 'eks-9' in us-west-2"):
        stand.cloud().start("snapshot_image", _plain_request(cluster="eks-9"))


@pytest.mark.parametrize(
    ("names", "verb", "words"),
    [
        (replace(NAMES, builder_instance_profile=None), "snapshot_image", "builder_instance_profile is not set"),
        (replace(NAMES, builder_instance_profile="nobody"), "snapshot_image", "'nobody' does not exist"),
        (replace(NAMES, codebuild_role_arn=None), "build_image", "codebuild_role_arn is None"),
        (
            replace(NAMES, codebuild_role_arn="arn:aws:iam::123456789012:role/nobody"),
            "build_image",
            "role/nobody does not exist",
        ),
    ],
)
def test_a_missing_role_is_named_with_where_it_is_described(stand: Stand, names: Any, verb: str, words: str) -> None:
    """IAM roles are the account's: without them nothing starts, and the error says what to make."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        stand.cloud(names).start(verb, BUILD if verb == "build_image" else _plain_request())
    assert "docs/eks.md" in str(caught.value)


def test_an_unknown_verb_is_refused(stand: Stand) -> None:
    """What EKS cannot do is named beside what it can."""
    with pytest.raises(ConfigurationError, match="build_image, snapshot_image"):
        stand.cloud().start("enable_streaming", {})


def test_a_refusal_at_start_is_one_sentence(stand: Stand) -> None:
    """AWS's own refusal reaches the user with what was attempted."""
    stand.aws.faults["expired_token"] = {"*": 2}
    with pytest.raises(CloudError, match=r"Cannot start build_image in us-west-2: .*ExpiredToken.*Refresh"):
        stand.cloud().start("build_image", BUILD)
