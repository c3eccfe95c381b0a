"""The IAM policies of the documentation are as small as they can be and as large as they must be."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.eks
sys.path.insert(0, str(Path(__file__).parent / "gateways" / "clouds"))

from eks_stand import BUILD, stand_in  # noqa: E402 - the builders live beside the gateway's tests

IAM = Path(__file__).resolve().parents[1] / "docs" / "iam"


def statements(name: str) -> list[dict[str, Any]]:
    document = json.loads((IAM / name).read_text())
    assert document["Version"] == "2012-10-17"
    return list(document["Statement"])


def allowed(name: str) -> set[str]:
    return {action for statement in statements(name) for action in statement["Action"]}


def test_the_connections_policy_allows_every_call_that_is_made() -> None:
    """Build, snapshot, a failed build, listing, deleting, access: each call of the wire is in the policy."""
    with stand_in() as stand:
        request = {**stand.snapshot_request(), "cluster": "eks-1"}
        cloud = stand.cloud()
        cloud.cluster_access("eks-1")
        stand.drive(cloud.start("build_image", BUILD))
        stand.drive(cloud.start("snapshot_image", request))
        for owned in cloud.list_owned():
            cloud.delete_owned(owned)
        made = {call for call in stand.aws.calls if not call.startswith(("s3.", "eks.", "sts."))}
    missing = {call.replace(".", ":") for call in made} - allowed("eks-airflow.json")
    assert missing == set()


def test_nothing_is_allowed_that_is_not_used() -> None:
    """Each action of the connection's policy is a call in the gateway's source, or comes with one."""
    source = "\n".join(
        path.read_text() for path in (IAM.parents[1] / "airflow_llm_provisioning/gateways/clouds/eks").glob("*.py")
    )
    implied = {"iam:PassRole", "ec2:CreateTags", "ecr:TagResource", "s3:ListAllMyBuckets", "s3:ListBucket"}
    unused = {
        action
        for action in allowed("eks-airflow.json") - implied
        if re.sub(r"(?<!^)(?=[A-Z])", "_", action.partition(":")[2]).lower() not in source
    }
    assert unused == set()


def test_only_what_is_ours_can_be_ended() -> None:
    """Stopping, deleting and commanding are bound to our tag or to our names; no action is a wildcard."""
    for statement in statements("eks-airflow.json"):
        ends = [
            action for action in statement["Action"] if re.search(r":(Stop|Terminate|Delete|Batch.?Delete)", action)
        ]
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        bound = "Condition" in statement or all(re.search(r"llm-provisioning|ray-serving", item) for item in resources)
        assert not ends or bound, statement["Sid"]
        assert not any("*" in action for action in statement["Action"])


@pytest.mark.parametrize("name", sorted(path.name for path in IAM.glob("eks-*.json")))
def test_every_policy_is_a_document(name: str) -> None:
    """Valid JSON of the current version, every statement an Allow of named actions."""
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        assert statement["Action"]
