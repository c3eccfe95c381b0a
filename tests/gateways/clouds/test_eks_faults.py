"""What goes wrong on AWS while something is prepared: waited out where that helps, else one clear sentence, and nothing
is left but what is meant to stay.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from eks_stand import BUILD, NAMES, RECIPE, REGION, Stand, stand_in

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks import builder
from airflow_llm_provisioning.gateways.clouds.eks.names import EksDeadlines

pytestmark = pytest.mark.eks


@pytest.fixture
def stand() -> Iterator[Stand]:
    with stand_in() as standing:
        yield standing


def assert_one_sentence(ended: Operation, words: str) -> None:
    """The operation failed, and says why in one line."""
    assert ended.state == "failed"
    assert ended.error is not None
    assert words in ended.error
    assert "\n" not in ended.error
    assert ended.error.startswith(f"{ended.verb.replace('_', ' ').capitalize()} failed: ")


def assert_nothing_left(stand: Stand) -> None:
    """No instance, volume or snapshot of a failed snapshot, and none that the ledger still looks for."""
    ec2 = stand.client("ec2")
    assert stand.living_instances() == []
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert ec2.describe_volumes()["Volumes"] == []
    assert stand.world.snapshots == {}
    assert not {"instance", "snapshot"} & stand.ledger.open_kinds()


# --- lost replies and bad weather


@pytest.mark.parametrize(
    "call", ["ec2.RunInstances", "ec2.CreateSnapshot", "ssm.SendCommand", "ec2.StopInstances", "ec2.TerminateInstances"]
)
def test_a_lost_reply_doubles_nothing(stand: Stand, call: str) -> None:
    """AWS did it and the answer was lost: the retry finds it; one instance, one snapshot in the end."""
    request = stand.snapshot_request()
    stand.aws.faults["lost_reply"] = {call: 1}
    ended = stand.drive(stand.cloud().start("snapshot_image", request))
    assert ended.state == "succeeded", ended.error
    assert stand.aws.faults["lost_reply"] == {call: 0}
    assert len(stand.aws.compute.machines) == 1
    assert len(stand.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1
    assert list(stand.world.snapshots) == [ended.result["snapshot_id"] if ended.result else None]


@pytest.mark.parametrize("call", ["ecr.CreateRepository", "codebuild.CreateProject", "codebuild.StartBuild"])
def test_a_lost_reply_of_the_build_builds_once(stand: Stand, call: str) -> None:
    """Repository, project and build are found by name, project and token."""
    stand.aws.faults["lost_reply"] = {call: 1}
    ended = stand.drive(stand.cloud().start("build_image", BUILD))
    assert ended.state == "succeeded", ended.error
    assert len(stand.aws.codebuild.builds) == 1


def test_throttling_is_waited_out(stand: Stand) -> None:
    """Refusals for haste are no failure: the step looks again, within its deadline."""
    request = stand.snapshot_request()
    first = stand.cloud().start("snapshot_image", request)
    stand.aws.faults["throttle"] = {"ec2.RunInstances": 3, "ssm.GetCommandInvocation": 3, "ec2.CreateSnapshot": 2}
    ended = stand.drive(first)
    assert ended.state == "succeeded", ended.error
    assert set(stand.aws.faults["throttle"].values()) == {0}


def test_a_throttled_start_leaves_its_checks_to_the_first_poll(stand: Stand) -> None:
    """`start` neither blocks nor fails because AWS is busy, and no intent is written unchecked."""
    stand.aws.faults["throttle"] = {"ecr.DescribeImages": 2}
    first = stand.cloud().start("build_image", BUILD)
    assert (first.state, stand.ledger.open_entries()) == ("running", [])
    assert stand.drive(first).state == "succeeded"


def test_throttling_without_end_ends_the_step(stand: Stand) -> None:
    """What never gets through ends by the deadline, in a sentence that names the trouble."""
    request = stand.snapshot_request()
    first = stand.cloud().start("snapshot_image", request)
    stand.aws.faults["throttle"] = {"ssm.DescribeInstanceInformation": 10_000}
    cloud = stand.cloud(replace(NAMES, deadlines=EksDeadlines(ssm_s=120)))
    ended = stand.drive(first, cloud=cloud)
    assert ended.error is not None
    assert "waiting for SSM: did not end within 120 s; last trouble: DescribeInstanceInformation" in ended.error
    assert stand.living_instances() == []


def test_an_expired_token_is_renewed(stand: Stand) -> None:
    """The gateway asks for fresh credentials and goes on where it was."""
    first = stand.cloud().start("snapshot_image", stand.snapshot_request())
    sessions: list[str] = []
    cloud = stand.cloud()
    make = cloud._aws._make
    cloud._aws._make = lambda: sessions.append("made") or make()  # type: ignore[func-returns-value]
    operation = cloud.poll(first)
    stand.aws.faults["expired_token"] = {"ssm.DescribeInstanceInformation": 1}
    operation = cloud.poll(operation)
    assert operation.state == "running"
    assert "ExpiredToken" in operation.progress["trouble"]
    assert stand.drive(operation, cloud=cloud).state == "succeeded"
    assert sessions == ["made", "made"]


def test_an_expired_token_at_any_call_is_renewed(stand: Stand) -> None:
    """Whichever call it hits, once each: fresh credentials, and on from there; both preparations end well, once."""
    starts = [("build_image", {**BUILD, "recipe": {"base": "rayproject/ray:2.46.0"}})]
    starts.append(("snapshot_image", stand.snapshot_request()))
    operations = [stand.cloud().start(*start) for start in starts]
    stand.aws.faults["expired_token"] = dict.fromkeys(CALLS_OF_PREPARATIONS, 1)
    ended = [stand.drive(operation, step_s=40) for operation in operations]
    assert [item.error for item in ended] == [None, None]
    assert set(stand.aws.faults["expired_token"].values()) == {0}
    assert (len(stand.aws.compute.machines), len(stand.aws.codebuild.builds)) == (1, 1)


# What the steps of build and snapshot ask of AWS, reads and writes.
CALLS_OF_PREPARATIONS = (
    *("ecr.CreateRepository", "ecr.DescribeImages", "codebuild.CreateProject", "codebuild.ListBuildsForProject"),
    *("codebuild.StartBuild", "codebuild.BatchGetBuilds", "codebuild.DeleteProject"),
    *("ec2.DescribeSnapshots", "ec2.DescribeInstances", "ec2.RunInstances", "ec2.StopInstances", "ec2.CreateSnapshot"),
    *("ec2.TerminateInstances", "ssm.DescribeInstanceInformation", "ssm.ListCommands", "ssm.SendCommand"),
    "ssm.GetCommandInvocation",
)


def test_credentials_that_stay_expired_are_named_with_what_is_left(stand: Stand) -> None:
    """Without valid credentials nothing can be deleted: the sentence says what stands, the ledger keeps it open."""
    first = stand.cloud().start("snapshot_image", stand.snapshot_request())
    operation = stand.cloud().poll(first)
    stand.aws.faults["expired_token"] = {"*": 1_000_000}
    ended = stand.drive(operation, step_s=500)
    assert ended.error is not None
    assert "ExpiredToken" in ended.error
    assert "ours by tag" in ended.error
    assert "instance" in stand.ledger.open_kinds()
    stand.aws.faults["expired_token"] = {}
    for owned in stand.cloud().list_owned():
        stand.cloud().delete_owned(owned)
    stand.clock.move(60)
    assert stand.living_instances() == []


# --- failures: one sentence, nothing left


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"ssm_never_online": True}, "waiting for SSM: did not end within 900 s"),
        ({"pull_fails": True}, "pulling: the command on i-"),
        ({"pull_times_out": True}, "ended as ExecutionTimedOut"),
        ({"instance_terminated": True}, "something outside ended it"),
        ({"snapshot_error": True}, "ended as 'error'"),
    ],
)
def test_a_failed_snapshot_says_why_and_leaves_nothing(stand: Stand, faults: dict[str, Any], words: str) -> None:
    """Every failure: one sentence with the reason; no instance, no volume, no snapshot, no open entry of either."""
    first = stand.cloud().start("snapshot_image", stand.snapshot_request())
    stand.aws.faults.update(faults)
    assert_one_sentence(stand.drive(first), words)
    assert_nothing_left(stand)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        # Systems Manager User Guide, "Understanding command statuses": status, and its detail.
        ("Cancelled", "ended as Cancelled"),
        ("Failed", "ended as Failed"),
        ("TimedOut/DeliveryTimedOut", "ended as DeliveryTimedOut"),
        ("TimedOut/ExecutionTimedOut", "ended as ExecutionTimedOut"),
        ("Failed/Undeliverable", "ended as Undeliverable"),
        ("Failed/Terminated", "ended as Terminated"),
        ("Failed/InvalidPlatform", "ended as InvalidPlatform"),
        ("Failed/AccessDenied", "ended as AccessDenied"),
        # One that AWS may invent is an end too, not a wait without end.
        ("Forgotten", "ended as Forgotten"),
        # These are no end: the step's own deadline is.
        ("Pending", "stopping kubelet: did not end within 600 s"),
        ("Delayed", "stopping kubelet: did not end within 600 s"),
        ("Cancelling", "stopping kubelet: did not end within 600 s"),
    ],
)
def test_every_end_of_a_command_is_an_end(stand: Stand, status: str, words: str) -> None:
    """Each status of SSM by name; none makes the wait spin without end, and after none is a machine left."""
    first = stand.cloud().start("snapshot_image", stand.snapshot_request())
    stand.aws.faults["command_status"] = status
    assert_one_sentence(stand.drive(first, step_s=300), words)
    assert_nothing_left(stand)


def test_every_status_that_boto3_knows_is_tested() -> None:
    """What is waited for is a part of what SSM can say, and success is the only good end."""
    shape = boto3.client("ssm", region_name=REGION).meta.service_model.shape_for("CommandInvocationStatus")
    assert set(shape.enum) == {*builder._COMMAND_RUNS, "InProgress", "Success", "Cancelled", "TimedOut", "Failed"}


@pytest.mark.parametrize(
    "step", ["waiting for SSM", "stopping kubelet", "clearing images", "pulling", "stopping the builder"]
)
def test_a_builder_ended_underneath_is_said_at_any_step(stand: Stand, step: str) -> None:
    """A user terminates the machine while it is needed: the step is named, and nothing is left."""
    operation = driven_to(stand, step)
    stand.client("ec2").terminate_instances(InstanceIds=[operation.progress["instance_id"]])
    ended = stand.drive(operation)
    assert_one_sentence(ended, f"{step}: the builder {operation.progress['instance_id']} is ")
    assert "something outside ended it" in str(ended.error)
    assert_nothing_left(stand)


def test_a_builder_ended_underneath_a_snapshot_hurts_nobody(stand: Stand) -> None:
    """A snapshot that has begun needs its volume no more."""
    operation = driven_to(stand, "taking the snapshot")
    stand.client("ec2").terminate_instances(InstanceIds=[operation.progress["instance_id"]])
    ended = stand.drive(operation)
    assert ended.result is not None, ended.error
    assert stand.world.snapshots[ended.result["snapshot_id"]].images
    assert stand.living_instances() == []


def driven_to(stand: Stand, step: str) -> Operation:
    """Return a snapshot's operation as it stands at a step."""
    cloud = stand.cloud()
    operation = cloud.start("snapshot_image", stand.snapshot_request())
    for _ in range(200):
        operation = cloud.poll(operation)
        if operation.step == step:
            return operation
        stand.clock.move(30)
    raise AssertionError(f"never at {step!r}: {operation}")


def test_a_failed_snapshot_can_be_started_again(stand: Stand) -> None:
    """After a failure a new start begins with a new client token, and succeeds."""
    request = stand.snapshot_request()
    stand.aws.faults["pull_fails"] = True
    assert stand.drive(stand.cloud().start("snapshot_image", request)).state == "failed"
    stand.aws.faults["pull_fails"] = False
    stand.clock.move(60)
    assert stand.drive(stand.cloud().start("snapshot_image", request)).state == "succeeded"


def test_what_a_dead_preparation_failed_at_is_tried_again_on_its_machine(stand: Stand) -> None:
    """A process died after its pull failed and before it could clean up: the next one sends its own commands."""
    stand.aws.faults["pull_fails"] = True
    dead = driven_to(stand, "pulling")
    stand.clock.move(60)
    stand.aws.compute.move()
    stand.aws.faults["pull_fails"] = False
    ended = stand.drive(stand.cloud().start("snapshot_image", stand.snapshot_request()))
    assert ended.result is not None, ended.error
    assert list(stand.aws.compute.machines) == [dead.progress["instance_id"]]
    assert stand.world.snapshots[ended.result["snapshot_id"]].images


@pytest.mark.parametrize("status", ["FAILED", "FAULT", "TIMED_OUT", "STOPPED"])
def test_a_failed_build_says_why_and_leaves_nothing(stand: Stand, status: str) -> None:
    """The sentence holds CodeBuild's status, the phase and the log; project and source are gone, no image is there."""
    stand.aws.faults["build"] = None if status == "STOPPED" else status
    cloud = stand.cloud(replace(NAMES, deadlines=EksDeadlines(build_s=7200)))
    operation = cloud.poll(cloud.start("build_image", BUILD))
    if status == "STOPPED":
        stand.client("codebuild").stop_build(id=operation.progress["build_id"])
    ended = stand.drive(operation, cloud=cloud)
    assert_one_sentence(ended, f"ended as {status}")
    assert "log: https://" in str(ended.error)
    assert_only_what_stays(stand)


def test_a_build_that_never_ends_is_stopped(stand: Stand) -> None:
    """Past our own deadline the build is stopped and its project deleted."""
    cloud = stand.cloud(replace(NAMES, deadlines=EksDeadlines(build_s=100)))
    assert_one_sentence(
        stand.drive(cloud.start("build_image", BUILD), cloud=cloud), "building: did not end within 100 s"
    )
    assert stand.count("codebuild.StopBuild") == 1
    assert_only_what_stays(stand)


def assert_only_what_stays(stand: Stand) -> None:
    """Repository and bucket, which the next build needs; neither image, project nor source."""
    assert {owned.kind for owned in stand.cloud().list_owned()} == {"repository", "bucket"}
    assert stand.ledger.open_kinds() == {"repository", "bucket"}
    (bucket,) = stand.client("s3").list_buckets()["Buckets"]
    assert stand.client("s3").list_objects_v2(Bucket=bucket["Name"])["KeyCount"] == 0


def test_a_base_image_that_is_gone_fails_the_build_with_its_name() -> None:
    """The origin's base may be deleted any day: the error carries the build's own message."""
    with stand_in(without=[RECIPE.base]) as stand:
        ended = stand.drive(stand.cloud().start("build_image", BUILD))
        assert_one_sentence(ended, "rayproject/ray-ml:2.33.0.914af0-py311: not found")
