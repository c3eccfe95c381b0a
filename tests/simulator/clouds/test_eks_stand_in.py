"""The AWS stand-in does what the calls say and nothing else: what a caller leaves out is not there afterwards."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.eks
sys.path.insert(0, str(Path(__file__).parents[2] / "gateways" / "clouds"))

from eks_stand import IMAGE, REGION, Stand, stand_in  # noqa: E402 - the builders live beside the gateway's tests

from airflow_llm_provisioning.gateways.clouds.eks.builder import (  # noqa: E402 - the same
    CLEAR_IMAGES,
    STOP_KUBELET,
    USER_DATA,
    pull_commands,
)
from airflow_llm_provisioning.gateways.clouds.eks.source import BUILDSPEC, build_source  # noqa: E402 - the same
from llm_provisioning_simulator.clouds.eks.builds import plan_build  # noqa: E402 - the same

AMI = "/aws/service/bottlerocket/aws-k8s-1.31/x86_64/latest/image_id"


@pytest.fixture
def stand() -> Iterator[Stand]:
    with stand_in() as standing:
        standing.snapshot_request()
        yield standing


def builder(stand: Stand, *, user_data: str = USER_DATA, parameter: str = AMI) -> str:
    """Start a builder by hand and let it come online."""
    ami = stand.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
    reply = stand.client("ec2").run_instances(
        ImageId=ami,
        MinCount=1,
        MaxCount=1,
        UserData=user_data,
        BlockDeviceMappings=[{"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 40, "DeleteOnTermination": True}}],
    )
    stand.clock.move(300)
    return str(reply["Instances"][0]["InstanceId"])


def run(stand: Stand, instance_id: str, *commands: str) -> dict[str, Any]:
    """Run a command to its end."""
    ssm = stand.client("ssm")
    command_id = ssm.send_command(
        InstanceIds=[instance_id], DocumentName="AWS-RunShellScript", Parameters={"commands": list(commands)}
    )["Command"]["CommandId"]
    stand.clock.move(1000)
    return dict(ssm.get_command_invocation(CommandId=command_id, InstanceId=instance_id))


def snapshot(stand: Stand, instance_id: str) -> str:
    """Snapshot the data volume and wait until it is complete."""
    groups = stand.client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"]
    devices = groups[0]["Instances"][0]["BlockDeviceMappings"]
    volume = next(item["Ebs"]["VolumeId"] for item in devices if item["DeviceName"] == "/dev/xvdb")
    snapshot_id = stand.client("ec2").create_snapshot(VolumeId=volume)["SnapshotId"]
    stand.clock.move(2000)
    stand.client("ec2").describe_snapshots(SnapshotIds=[snapshot_id])
    return str(snapshot_id)


def test_the_whole_procedure_by_hand_leaves_the_image(stand: Stand) -> None:
    """Kubelet stopped, images cleared, pulled under the label: the snapshot holds it."""
    instance_id = builder(stand)
    for commands in (STOP_KUBELET, CLEAR_IMAGES, pull_commands(IMAGE)):
        assert run(stand, instance_id, *commands)["Status"] == "Success"
    assert set(stand.world.snapshots[snapshot(stand, instance_id)].images) == {IMAGE}


def test_without_the_pull_the_snapshot_is_empty(stand: Stand) -> None:
    """No pull, no gain."""
    instance_id = builder(stand)
    run(stand, instance_id, *STOP_KUBELET, *CLEAR_IMAGES)
    assert stand.world.snapshots[snapshot(stand, instance_id)].images == {}


def test_without_the_label_kubelet_would_not_see_the_image(stand: Stand) -> None:
    """An image in containerd that the CRI plugin does not manage is not on the node."""
    instance_id = builder(stand)
    pull = [line.replace("--label=io.cri-containerd.image=managed", "") for line in pull_commands(IMAGE)[:1]]
    assert run(stand, instance_id, *pull)["Status"] == "Success"
    assert stand.world.snapshots[snapshot(stand, instance_id)].images == {}


def test_images_cleared_after_the_pull_are_gone(stand: Stand) -> None:
    """Commands act in the order in which they ran."""
    instance_id = builder(stand)
    run(stand, instance_id, *pull_commands(IMAGE))
    run(stand, instance_id, *CLEAR_IMAGES)
    assert stand.world.snapshots[snapshot(stand, instance_id)].images == {}


def test_a_snapshot_taken_before_the_pull_ends_does_not_hold_the_image(stand: Stand) -> None:
    """A pull has an effect when it ends, not when it is asked for."""
    instance_id = builder(stand)
    stand.client("ssm").send_command(
        InstanceIds=[instance_id],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": list(pull_commands(IMAGE))},
    )
    stand.clock.move(10)
    assert stand.world.snapshots[snapshot(stand, instance_id)].images == {}


def test_listing_an_image_that_was_not_pulled_prints_nothing(stand: Stand) -> None:
    """The check after the pull is a real one."""
    assert run(stand, builder(stand), pull_commands(IMAGE)[2])["StandardOutputContent"] == ""


def test_without_the_admin_container_there_is_no_way_in(stand: Stand) -> None:
    """User data that does not switch it on makes every command fail."""
    reply = run(stand, builder(stand, user_data=""), *STOP_KUBELET)
    assert reply["Status"] == "Failed"
    assert "admin" in reply["StandardErrorContent"]


def test_the_nvidia_image_never_comes_online_on_a_cpu_machine(stand: Stand) -> None:
    """bottlerocket#4435: SSM never hears of it."""
    instance_id = builder(stand, parameter=AMI.replace("1.31/", "1.31-nvidia/"))
    listed = stand.client("ssm").describe_instance_information()["InstanceInformationList"]
    assert instance_id not in {item["InstanceId"] for item in listed}


def test_a_snapshot_is_pending_first_and_of_no_use_to_nodes(stand: Stand) -> None:
    """Nodes find it only once it is complete."""
    instance_id = builder(stand)
    run(stand, instance_id, *pull_commands(IMAGE))
    groups = stand.client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"]
    volume = groups[0]["Instances"][0]["BlockDeviceMappings"][-1]["Ebs"]["VolumeId"]
    snapshot_id = stand.client("ec2").create_snapshot(VolumeId=volume)["SnapshotId"]
    (listed,) = stand.client("ec2").describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert listed["State"] == "pending"
    assert stand.world.snapshots == {}


def test_the_same_client_token_is_the_same_instance(stand: Stand) -> None:
    """RunInstances is idempotent by token, as EC2's is."""
    ec2 = stand.client("ec2")
    request = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "ClientToken": "t"}
    first, second = ec2.run_instances(**request), ec2.run_instances(**request)
    assert first["Instances"][0]["InstanceId"] == second["Instances"][0]["InstanceId"]
    assert len(stand.living_instances()) == 1


@pytest.mark.parametrize("left_out", ["docker build", "docker push", "docker login"])
def test_a_buildspec_that_leaves_something_out_pushes_nothing(
    stand: Stand, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the buildspec does not say is not done: no image in ECR, none that a node could pull."""
    from airflow_llm_provisioning.gateways.clouds.eks import build as eks_build

    del stand.world.images[IMAGE]
    lines = [line for line in eks_build.BUILDSPEC.splitlines() if left_out not in line]
    monkeypatch.setattr(eks_build, "BUILDSPEC", "\n".join(lines).replace("commands:\n  ", "commands: []\n  "))
    ended = stand.drive(stand.cloud().start("build_image", _build_request()))
    assert ended.state == "failed"
    assert stand.world.find_image(IMAGE) is None


@pytest.mark.parametrize(("privileged", "status"), [(True, "SUCCEEDED"), (False, "FAILED")])
def test_only_a_privileged_project_can_build(stand: Stand, privileged: bool, status: str) -> None:
    """Docker in CodeBuild needs privileged mode."""
    variables = {"IMAGE": IMAGE, "REGISTRY": IMAGE.partition("/")[0]}
    environment = {
        "privilegedMode": privileged,
        "environmentVariables": [{"name": name, "value": value} for name, value in variables.items()],
    }
    source, durations = build_source("FROM rayproject/ray:2.46.0\n", BUILDSPEC), stand.aws.durations
    now = stand.clock.now()
    _, final, pushed = plan_build(
        stand.world, {"environment": environment}, source, lambda _: True, REGION, now, durations, None
    )
    assert final == status
    assert (pushed is not None) is privileged


def _build_request() -> dict[str, Any]:
    from eks_stand import BUILD

    return {**BUILD, "region": REGION}


def test_two_accounts_in_one_process_know_nothing_of_each_other(stand: Stand) -> None:
    """Asked in turn, each shows what was made in it and nothing else, and its machines go on."""
    first = builder(stand)
    stand.client("s3").create_bucket(Bucket="mine", CreateBucketConfiguration={"LocationConstraint": REGION})
    with stand_in() as other:
        assert other.client("ec2").describe_instances()["Reservations"] == []
        second = builder(other)
        other.client("s3").create_bucket(Bucket="mine", CreateBucketConfiguration={"LocationConstraint": REGION})
        assert run(stand, first, *STOP_KUBELET)["Status"] == "Success"
        assert run(other, second, *STOP_KUBELET)["Status"] == "Success"
        assert stand.living_instances() == [first]
        assert other.living_instances() == [second]
    assert stand.living_instances() == [first]
    assert [bucket["Name"] for bucket in stand.client("s3").list_buckets()["Buckets"]] == ["mine"]
