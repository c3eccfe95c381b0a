"""The IAM policies of the documentation are as small as they can be and as large as they must be."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.eks
sys.path.insert(0, str(Path(__file__).parent / "gateways" / "clouds"))

from eks_stand import BUILD, stand_in  # noqa: E402 - the builders live beside the gateway's tests

from airflow_llm_provisioning.core.rights import APPLY_ALONE, looked_at_rules, trial_rules  # noqa: E402 - the same
from airflow_llm_provisioning.gateways.kubernetes.resources import RESOURCES  # noqa: E402 - the same

ROOT = Path(__file__).resolve().parents[1]
IAM = ROOT / "docs" / "iam"
# Amazon IAM quotas: characters of a managed policy, and of a role's own, without white space.
MANAGED_CHARACTERS, INLINE_CHARACTERS = 6144, 10_240


def statements(name: str) -> list[dict[str, Any]]:
    document = json.loads((IAM / name).read_text())
    assert document["Version"] == "2012-10-17"
    return list(document["Statement"])


def allowed(name: str) -> set[str]:
    return {action for statement in statements(name) for action in statement["Action"]}


def test_the_connections_policy_allows_every_call_that_is_made() -> None:
    """Build, snapshot, a failed build, listing, deleting, access: each call of the wire is in the policy."""
    with stand_in() as stand:
        request = {**stand.snapshot_request(), "cluster": "eks-1", "parameter": "/llm-provisioning/snapshots/x"}
        cloud = stand.cloud()
        cloud.cluster_access("eks-1")
        for keep_days in (1, 30):
            stand.drive(cloud.start("build_image", {**BUILD, "keep_days": keep_days}))
            stand.drive(cloud.start("snapshot_image", {**request, "keep_days": keep_days}))
        for owned in cloud.list_owned():
            cloud.delete_owned(owned)
        made = {call for call in stand.aws.calls if not call.startswith(("s3.", "eks.", "sts."))}
        rest = {call for call in stand.aws.calls if call.startswith(("s3.", "eks."))}
    assert made >= {"ec2.CreateTags", "ecr.TagResource", "ssm.PutParameter", "ssm.DeleteParameter"}
    assert {name for call in rest for name in rest_actions(call)} <= allowed("eks-airflow.json")
    missing = {call.replace(".", ":") for call in made} - allowed("eks-airflow.json")
    assert missing == set()


def rest_actions(call: str) -> set[str]:
    """Return what a call by method and path needs: S3's and EKS's names are not in their requests."""
    service, method, path = re.fullmatch(r"(\w+)\.(\w+) /(.*)", call).groups()  # type: ignore[union-attr]
    if service == "eks":
        return {"eks:DescribeCluster"}
    if not path:
        return {"s3:ListAllMyBuckets"}
    of_bucket = {
        "PUT": {"s3:CreateBucket", "s3:PutBucketTagging"},
        "GET": {"s3:GetBucketTagging", "s3:ListBucket"},
        "HEAD": {"s3:ListBucket"},
        "POST": {"s3:DeleteObject"},
        "DELETE": {"s3:DeleteBucket"},
    }
    return {f"s3:{method.title()}Object"} if "/" in path else of_bucket[method]


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


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("eks-airflow.json", MANAGED_CHARACTERS),
        ("eks-builder-role.json", INLINE_CHARACTERS),
        ("eks-codebuild-role.json", INLINE_CHARACTERS),
    ],
)
def test_a_policy_fits_where_the_page_puts_it(name: str, limit: int) -> None:
    """With the longest region's name in the place of the placeholder."""
    text = (IAM / name).read_text().replace("ACCOUNT", "123456789012").replace("REGION", "ap-southeast-2")
    assert len(re.sub(r"\s", "", text)) < limit


def test_the_page_applies_every_file_of_the_account() -> None:
    """No policy that is never attached: each file of docs/iam for EKS is used by a command of the chapter."""
    chapter = (ROOT / "docs" / "eks.md").read_text().partition("## Step by step\n")[2].partition("\n## ")[0]
    used = set(re.findall(r"file://iam/(\S+\.json)|docs/iam/(eks-[\w-]+\.yaml)", chapter))
    named = {one or other for one, other in used}
    for role in ("codebuild", "builder"):
        named |= {name.replace("$role", role) for name in named if "$role" in name}
    assert {name for name in named if "$" not in name} == {path.name for path in IAM.glob("eks-*")}


def test_the_cluster_role_allows_what_trials_and_preparation_ask_of_the_cluster() -> None:
    """Every right that preflight asks for, in the group of the page's access entry, and the nodes' objects."""
    roles = {
        item["kind"]: item for item in yaml.safe_load_all((IAM / "eks-kubernetes.yaml").read_text()) if "rules" in item
    }
    rules = (*trial_rules("karpenter"), *looked_at_rules("karpenter"), *APPLY_ALONE)
    wanted = {(verb, rule.resource, rule.scope == "cluster") for rule in rules for verb in rule.verbs}
    # Server-side apply is a PATCH that may create.
    wanted |= {(verb, name, True) for name in ("nodepools", "ec2nodeclasses") for verb in ("get", "create", "patch")}
    missing = [
        right for right in sorted(wanted) if not grants(roles["ClusterRole" if right[2] else "Role"], *right[:2])
    ]
    assert missing == []
    granted = {
        (verb, resource, kind == "ClusterRole")
        for kind, role in roles.items()
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == wanted
    bound = [item for item in yaml.safe_load_all((IAM / "eks-kubernetes.yaml").read_text()) if "subjects" in item]
    assert {item["roleRef"]["name"] for item in bound} == {role["metadata"]["name"] for role in roles.values()}
    assert {subject["name"] for item in bound for subject in item["subjects"]} == {"llm-provisioning"}
    assert "kubernetesGroups: [llm-provisioning]" in (ROOT / "docs" / "eks.md").read_text()


def test_no_rule_of_the_cluster_role_is_a_wildcard() -> None:
    """Groups, resources and verbs by name, and no secrets; the groups are those that the gateway asks."""
    rules = [
        rule for item in yaml.safe_load_all((IAM / "eks-kubernetes.yaml").read_text()) for rule in item.get("rules", ())
    ]
    for rule in rules:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert "secrets" not in rule["resources"]
    groups = {resource.api.rpartition("/")[0] for resource in RESOURCES.values()}
    assert {group for rule in rules for group in rule["apiGroups"]} <= {*groups, "apiextensions.k8s.io"}


def grants(role: dict[str, Any], verb: str, resource: str) -> bool:
    return any(verb in rule["verbs"] and resource in rule["resources"] for rule in role["rules"])
