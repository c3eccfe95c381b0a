"""What AWS really answered, given to the gateway by botocore's Stubber, and failures told with everything AWS says."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from eks_stand import NAMES, REGION, RecordingLedger
from replay_server import recorded

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks.aws import Aws, in_words, kind_of
from airflow_llm_provisioning.gateways.clouds.eks.builder import Builder
from airflow_llm_provisioning.gateways.clouds.eks.codebuild import CodeBuild
from airflow_llm_provisioning.gateways.clouds.verbs import StepFailedError
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

pytestmark = pytest.mark.eks

INSTANCE, COMMAND = "i-0ba3874e85bb97244", "139fedb0-4913-47da-bb53-c08364f07c22"


@pytest.fixture
def aws() -> Aws:
    return Aws(boto3.Session("test", "test", region_name=REGION), region=REGION)


def answers(shared: Path, file: str) -> list[dict[str, Any]]:
    """Return the recorded bodies of a file without botocore's own part."""
    bodies = [json.loads(line["response"]["body"]) for line in recorded(shared, file)]
    return [_filled({key: value for key, value in body.items() if key != "ResponseMetadata"}) for body in bodies]


def _filled(value: Any) -> Any:
    """Leave empty texts out: AWS really sends them, and Stubber measures them by the rules for requests."""
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items() if item != ""}
    return [_filled(item) for item in value] if isinstance(value, list) else value


def a_build(*phases: dict[str, Any]) -> dict[str, Any]:
    return {
        "builds": [{"id": "p:1", "buildStatus": "FAILED", "phases": list(phases), "logs": {"deepLink": "https://log"}}]
    }


def failed(phase: str, *contexts: dict[str, str]) -> dict[str, Any]:
    return {"phaseType": phase, "phaseStatus": "FAILED", "contexts": list(contexts)}


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([failed("BUILD", {"statusCode": "COMMAND_EXECUTION_ERROR", "message": "exit status 1"})],
         "ended as FAILED in BUILD (COMMAND_EXECUTION_ERROR: exit status 1); log: https://log"),
        ([failed("PROVISIONING", {"statusCode": "VPC_CLIENT_ERROR"})], "in PROVISIONING (VPC_CLIENT_ERROR); log"),
        ([failed("BUILD"), failed("POST_BUILD", {"message": "no push"})], "in BUILD, then POST_BUILD (no push); log"),
        ([], "ended as FAILED; log"),
    ],
)  # fmt: skip
def test_a_failed_build_is_told_with_codes_and_messages_of_every_phase(
    aws: Aws, phases: list[dict[str, Any]], said: str
) -> None:
    """A code without a message is a reason too, and a later phase may hold the one that counts."""
    with Stubber(aws.client("codebuild")) as codebuild:
        codebuild.add_response("batch_get_builds", a_build(*phases), {"ids": ["p:1"]})
        with pytest.raises(StepFailedError) as raised:
            CodeBuild(aws, NAMES).look("p:1")
    assert said in str(raised.value)


@pytest.mark.parametrize("code", ["ConcurrentSnapshotLimitExceeded", "SnapshotCreationPerVolumeRateExceeded"])
def test_too_many_snapshots_at_once_pass_by_waiting(aws: Aws, code: str) -> None:
    """Two targets prepared side by side may meet these; nothing is wrong with either."""
    ec2 = aws.client("ec2")
    with Stubber(ec2) as stub:
        stub.add_client_error("create_snapshot", code, "later", http_status_code=400)
        with pytest.raises(ec2.exceptions.ClientError) as raised:
            ec2.create_snapshot(VolumeId="vol-1")
    assert kind_of(raised.value) == "transient"
    assert code in in_words(raised.value)


def test_recorded_build_gives_its_phases(aws: Aws, shared_folder: Path) -> None:
    """The documentation's own answer: every phase that ended, in seconds, and success."""
    (line,) = recorded(shared_folder, "eks/codebuild-batch-get-builds.jsonl")
    with Stubber(aws.client("codebuild")) as codebuild:
        codebuild.add_response("batch_get_builds", {"builds": line["builds"]}, {"ids": ANY})
        ended, known = CodeBuild(aws, NAMES).look(line["builds"][0]["id"])
    assert ended
    assert known["build"]["provisioning"] in (33.0, 34.0)
    assert known["log_url"].startswith("https://console.aws.amazon.com/cloudwatch")


def test_recorded_command_is_sent_and_read(aws: Aws, shared_folder: Path) -> None:
    """Online, sent, ended: the recorded answers of SSM, in their order."""
    information, invocation, sent = answers(shared_folder, "eks/ssm-run-command.jsonl")
    builder = Builder(aws, LedgerEntries(RecordingLedger([]), aws.place), NAMES)
    progress = {"instance_id": INSTANCE, "current": "stopping kubelet", "token": "t" * 20}
    operation = Operation("snapshot_image", {}, progress={**progress, "started_at": datetime.now(UTC).isoformat()})
    running = {"Reservations": [{"Instances": [{"InstanceId": INSTANCE, "State": {"Name": "running"}}]}]}
    with Stubber(aws.client("ec2")) as ec2, Stubber(aws.client("ssm")) as ssm:
        for _ in range(2):
            ec2.add_response("describe_instances", running, {"InstanceIds": [INSTANCE]})
        ssm.add_response("describe_instance_information", information, {"Filters": ANY})
        ssm.add_response("list_commands", {"Commands": []}, {"InstanceId": INSTANCE})
        ssm.add_response(
            "send_command",
            sent,
            dict.fromkeys(("InstanceIds", "DocumentName", "Comment", "TimeoutSeconds", "Parameters"), ANY),
        )
        ssm.add_response("get_command_invocation", invocation, {"CommandId": COMMAND, "InstanceId": INSTANCE})
        assert builder.online(operation)
        ended = builder.run(operation, ["true"])
    assert ended is not None
    assert ended["Status"] == "Success"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-west-2", "000000000000.dkr.ecr.us-west-2.amazonaws.com"),
        ("us-gov-west-1", "000000000000.dkr.ecr.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "000000000000.dkr.ecr.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_registrys_host_is_that_of_its_partition(region: str, host: str) -> None:
    """China's partition has a suffix of its own (ECR, "Private registry")."""
    aws = Aws(boto3.Session("test", "test", region_name=region), region=region)
    with Stubber(aws.client("sts")) as sts:
        sts.add_response("get_caller_identity", {"Account": "000000000000"})
        assert aws.registry() == host
