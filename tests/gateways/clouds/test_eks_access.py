"""Reaching a cluster through AWS, and what AWS says about a trial's nodes."""

import base64
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from eks_stand import REGION, Stand, stand_in

from airflow_llm_provisioning.exceptions import CloudError
from llm_provisioning_simulator.clouds.eks import clusters
from llm_provisioning_simulator.world import NodeSpec

pytestmark = pytest.mark.eks
SOCI = (
    '[settings.container-runtime]\nsnapshotter = "soci"\n'
    '[settings.container-runtime-plugins.soci-snapshotter]\npull-mode = "parallel-pull-unpack"\n'
    "[settings.container-runtime-plugins.soci-snapshotter.parallel-pull-unpack]\n"
    "max-concurrent-unpacks-per-image = 12\n"
)


@pytest.fixture
def stand() -> Iterator[Stand]:
    with stand_in() as standing:
        yield standing


def node(stand: Stand, name: str = "n1", **fields: object) -> str:
    provider_id = f"aws:///us-west-2a/i-{name:0>17}"
    spec = NodeSpec("eks-1", name, "eks", REGION, "us-west-2a", "g6.2xlarge", {"L4": 1}, provider_id=provider_id)
    for key, value in fields.items():
        object.__setattr__(spec, key, value)
    stand.world.nodes[provider_id] = spec
    return provider_id


def test_the_endpoint_is_the_simulated_clusters(stand: Stand) -> None:
    """DescribeCluster leads to the cluster's own API; plain HTTP needs no certificate."""
    access = stand.cloud().cluster_access("eks-1")
    assert access.server == "http://127.0.0.1:1"
    assert access.ca_pem is None


def test_the_token_is_a_presigned_call_for_this_cluster_that_aws_accepts(stand: Stand) -> None:
    """The token's URL signs the cluster's name, and a client that fetches it with that header learns who we are."""
    access = stand.cloud().cluster_access("eks-1")
    assert access.token is not None
    prefix, _, encoded = access.token.partition("k8s-aws-v1.")
    url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    assert prefix == ""
    assert "x-k8s-aws-id" in query["X-Amz-SignedHeaders"][0]
    assert query["X-Amz-Expires"] == ["60"]
    request = urllib.request.Request(url, headers={"x-k8s-aws-id": "eks-1"})  # noqa: S310 - 127.0.0.1
    with urllib.request.urlopen(request) as reply:  # noqa: S310 - the same
        assert b"<Account>123456789012</Account>" in reply.read()


def test_the_token_is_renewed_before_it_ends_and_never_shown(stand: Stand) -> None:
    """Fourteen minutes of the fifteen, and not in the object's text."""
    access = stand.cloud().cluster_access("eks-1")
    assert access.expires_at is not None
    assert timedelta(minutes=13) < access.expires_at - datetime.now(UTC) <= timedelta(minutes=14)
    assert str(access.token) not in repr(access)


def test_an_unknown_cluster_is_named_with_its_region(stand: Stand) -> None:
    """The sentence says which cluster was looked for, and where."""
    with pytest.raises(CloudError, match=r"'nobody': there is none in us-west-2"):
        stand.cloud().cluster_access("nobody")


def test_a_restored_data_volume_is_evidence(stand: Stand) -> None:
    """The node's volume names our snapshot: the claim holds, and says by which call."""
    facts = {"provider_ids": [node(stand, snapshot_id="snap-1", data_volume_gib=80)], "snapshot_id": "snap-1"}
    (found,) = stand.cloud().verify(["snapshot_mounted"], facts)
    assert found.holds is True
    assert "DescribeVolumes" in found.source


@pytest.mark.parametrize(
    ("rate", "holds", "words"), [(300, True, ", initialized at 300 MiB/s."), (None, False, "default")]
)
def test_a_volume_without_the_rate_that_was_asked_for_is_evidence_against(
    stand: Stand, rate: int | None, holds: bool, words: str
) -> None:
    """The nodes came from our snapshot, but not as the target has them."""
    ids = [node(stand, snapshot_id="snap-1", volume_initialization_rate_mib_s=rate)]
    facts = {"provider_ids": ids, "snapshot_id": "snap-1", "volume_initialization_rate_mib_s": 300}
    (found,) = stand.cloud().verify(["snapshot_mounted"], facts)
    assert found.holds is holds
    assert words in found.detail


def test_ami_and_maker_of_the_nodes_stand_in_the_evidence(stand: Stand) -> None:
    """The AMI's name holds variant and version; the nodes' labels say which autoscaler made them."""
    labels = {"karpenter.sh/nodepool": "eks-gpu", "kubernetes.io/arch": "amd64"}
    facts = {
        "provider_ids": [node(stand, snapshot_id="snap-1")],
        "snapshot_id": "snap-1",
        "nodes": [{"name": "n1", "labels": labels}],
    }
    (found,) = stand.cloud().verify(["snapshot_mounted"], facts)
    assert "The nodes (karpenter.sh/nodepool=eks-gpu) booted bottlerocket-aws-k8s-1.31-nvidia-" in found.detail


def test_a_snapshot_on_nodes_of_another_system_is_evidence_against(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Bottlerocket keeps its images on the second disk: elsewhere it is mounted and not used."""
    monkeypatch.setattr(clusters, "_images", lambda amis: al2023(next(iter(amis)).ami_id))
    facts = {"provider_ids": [node(stand, snapshot_id="snap-1")], "snapshot_id": "snap-1"}
    (found,) = stand.cloud().verify(["snapshot_mounted"], facts)
    assert found.holds is False
    assert "booted amazon-eks-node-al2023" in found.detail


def al2023(ami_id: str) -> str:
    image = f"<item><imageId>{ami_id}</imageId><name>amazon-eks-node-al2023-x86_64-nvidia-1.31</name></item>"
    return clusters._wrap("DescribeImages", f"<imagesSet>{image}</imagesSet>")


def test_an_empty_or_foreign_data_volume_is_evidence_against(stand: Stand) -> None:
    """No snapshot, or another, on any of the nodes: the claim does not hold."""
    ids = [node(stand, "n1", snapshot_id="snap-1"), node(stand, "n2", snapshot_id="snap-2"), node(stand, "n3")]
    (found,) = stand.cloud().verify(["snapshot_mounted"], {"provider_ids": ids, "snapshot_id": "snap-1"})
    assert found.holds is False
    assert "snap-2" in found.detail
    assert "none" in found.detail


def test_a_node_that_is_gone_is_unknown(stand: Stand) -> None:
    """What cannot be seen any more is neither yes nor no."""
    ids = [node(stand, "n1", snapshot_id="snap-1"), "aws:///us-west-2a/i-00000000000000009"]
    (found,) = stand.cloud().verify(["snapshot_mounted"], {"provider_ids": ids, "snapshot_id": "snap-1"})
    assert found.holds is None


@pytest.mark.parametrize(
    "facts", [{}, {"provider_ids": []}, {"provider_ids": ["gce://p/z/n"], "snapshot_id": "snap-1"}]
)
def test_without_nodes_or_snapshot_nothing_is_claimed(stand: Stand, facts: dict[str, object]) -> None:
    """Missing facts end as unknown, with the reason."""
    (found,) = stand.cloud().verify(["snapshot_mounted"], facts)
    assert found.holds is None
    assert found.detail


@pytest.mark.parametrize(
    ("region", "source", "holds"),
    [
        (REGION, "s3://weights/phi", True),
        ("eu-west-1", "s3://weights/phi", False),
        (REGION, "s3://another/phi", None),
        (REGION, None, None),
    ],
)
def test_s3_says_where_the_weights_are(stand: Stand, region: str, source: str | None, holds: bool | None) -> None:
    """The nodes' region, another one; a bucket that is not there, and a trial that reads none, are unknown."""
    where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3 = stand.session().client("s3", endpoint_url=stand.url, region_name=region)
    s3.create_bucket(Bucket="weights", **where)
    facts = {"weights_source": source}  # no node: preflight asks before there is one
    (found,) = stand.cloud().verify(["weights_bucket_region"], facts)
    assert found.holds is holds
    assert found.detail


def test_the_initialization_rate_and_the_ami_are_read_from_the_nodes(stand: Stand) -> None:
    """The rate is the volume's own, the AMI's name tells Bottlerocket."""
    ids = [node(stand, snapshot_id="snap-1", volume_initialization_rate_mib_s=300)]
    facts = {"provider_ids": ids, "snapshot_id": "snap-1", "volume_initialization_rate_mib_s": 300}
    rate, ami, other = stand.cloud().verify(
        ["volume_initialization_rate", "bottlerocket_node", "image_streamed"], facts
    )
    assert rate.holds is True
    assert ami.holds is True
    assert "bottlerocket-aws-k8s-1.31-nvidia" in ami.detail
    assert other.holds is None


@pytest.mark.parametrize(
    ("user_data", "alias", "holds", "words"),
    [
        (SOCI, "", True, "its settings ask for it, and it booted bottlerocket-aws-k8s-1.31-nvidia-"),
        (SOCI, "bottlerocket@v1.43.2", False, "Bottlerocket knows the setting since 1.44"),
        (SOCI, "al2023@latest", False, "it booted amazon-eks-node-al2023-"),
        (SOCI.replace('"soci"', '"overlayfs"'), "", False, "does not choose the snapshotter soci"),
        (SOCI.replace('parallel-pull-unpack"', 'lazy"'), "", False, "does not set the pull mode"),
        (SOCI.partition("max-")[0], "", False, "allows 1 unpacked layer at a time"),
        ("[settings", "", False, "its user data is no TOML"),
        ("", "", False, "does not choose the snapshotter soci"),
    ],
)
def test_user_data_and_ami_tell_whether_a_node_pulls_in_parallel(
    stand: Stand, user_data: str, alias: str, holds: bool, words: str
) -> None:
    """DescribeInstanceAttribute gives the user data; what else stands in it is not told."""
    secret = '\n[settings.aws]\nconfig = "not-for-the-store"\n' if user_data.endswith("\n") else ""
    ids = [node(stand, user_data=user_data + secret, ami_alias=alias, data_volume_throughput_mib_s=1000)]
    (found,) = stand.cloud().verify(["parallel_pull_set"], {"provider_ids": ids})
    assert found.holds is holds
    assert words in found.detail
    assert ": 1000" in found.detail
    assert "not-for-the-store" not in found.detail


def test_one_node_without_the_settings_is_evidence_against(stand: Stand) -> None:
    """Head and workers pull in parallel, or the treatment was not applied; a node that is gone leaves it unknown."""
    ids = [node(stand, "n1", user_data=SOCI), node(stand, "n2")]
    gone = "aws:///us-west-2a/i-00000000000000009"
    (mixed,) = stand.cloud().verify(["parallel_pull_set"], {"provider_ids": ids})
    (unseen,) = stand.cloud().verify(["parallel_pull_set"], {"provider_ids": [ids[0], gone]})
    assert (mixed.holds, unseen.holds) == (False, None)


def test_trouble_while_verifying_is_unknown(stand: Stand) -> None:
    """A refused call proves nothing."""
    facts = {"provider_ids": [node(stand, snapshot_id="snap-1")], "snapshot_id": "snap-1"}
    stand.aws.faults["throttle"] = {"ec2.DescribeInstances": 5}
    (found,) = stand.cloud().verify(["snapshot_mounted"], facts)
    assert found.holds is None
    assert "RequestLimitExceeded" in found.detail
