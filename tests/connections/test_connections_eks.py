"""An `aws` connection opens EKS: fields by name, credentials by the official hook, faults in words."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kube_fake_api import Fault, fake_api

from airflow_llm_provisioning import connections
from airflow_llm_provisioning.exceptions import ConnectionConfigError, MissingExtraError

pytestmark = pytest.mark.eks
sys.path.insert(0, str(Path(__file__).parents[1] / "gateways" / "clouds"))

from eks_stand import BUILD, NAMES, Stand, stand_in  # noqa: E402 - the builders live beside the gateway's tests


@pytest.fixture
def stand() -> Iterator[Stand]:
    with stand_in() as standing:
        yield standing


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch, stand: Stand) -> Any:
    """Define `aws_test`, leading to the stand-in, with or without some extras."""

    def define(conn_type: str = "aws", **changes: Any) -> str:
        extra = {
            "region_name": "us-west-2",
            "endpoint_url": stand.url,
            "codebuild_role_arn": NAMES.codebuild_role_arn,
            "builder_instance_profile": NAMES.builder_instance_profile,
            **changes,
        }
        value = {"conn_type": conn_type, "login": "test", "password": "test", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_TEST", json.dumps(value))
        return "aws_test"

    return define


def test_the_connection_opens_the_whole_path(stand: Stand, connection: Any) -> None:
    """Endpoint, region, credentials and roles come from the connection: a build runs to its end with nothing else."""
    reference = {"cloud": "eks", "conn_id": connection(), "region": "us-west-2"}
    cloud = connections.open_cloud(reference, ledger=stand.ledger, clock=stand.clock.now)
    ended = stand.drive(cloud.start("build_image", BUILD), cloud=cloud)
    assert ended.state == "succeeded", ended.error
    assert cloud.cluster_access("eks-1").server == "http://127.0.0.1:1"


def test_open_cloud_gives_the_eks_gateway(connection: Any) -> None:
    """By the name of the cloud, as operators and triggers open it."""
    assert connections.open_cloud({"cloud": "eks", "conn_id": connection()}).name == "eks"


def test_extras_are_read_by_name(connection: Any) -> None:
    """Everything docs/eks.md names arrives; what the reference says goes first."""
    conn_id = connection(
        subnet_id="subnet-1", security_group_ids=["sg-1"], source_bucket="mine", builder_instance_type="m6i.large"
    )
    cloud: Any = connections.open_cloud({"cloud": "eks", "conn_id": conn_id, "subnet_id": "subnet-2"})
    names = cloud._driver.verbs["build_image"]._names
    assert (names.subnet_id, names.security_group_ids, names.source_bucket) == ("subnet-2", ("sg-1",), "mine")
    assert (names.builder_instance_type, names.build_compute_type) == ("m6i.large", "BUILD_GENERAL1_LARGE")


@pytest.mark.parametrize(
    ("extra", "reference", "read"), [(None, None, None), (False, None, False), (True, False, False)]
)
def test_false_is_a_value_of_builder_public_ip(connection: Any, extra: Any, reference: Any, read: Any) -> None:
    """Left out it is automatic; false is no missing value, and the reference goes first."""
    conn_id = connection(**({} if extra is None else {"builder_public_ip": extra}))
    asked = {"cloud": "eks", "conn_id": conn_id, **({} if reference is None else {"builder_public_ip": reference})}
    cloud: Any = connections.open_cloud(asked)
    assert cloud._driver.verbs["snapshot_image"]._names.builder_public_ip is read


def test_a_builder_public_ip_that_is_no_switch_is_refused(connection: Any) -> None:
    """A text is true in Python, also `false`."""
    with pytest.raises(ConnectionConfigError, match=r"builder_public_ip .* is 'false'"):
        connections.open_cloud({"cloud": "eks", "conn_id": connection(builder_public_ip="false")})


def test_a_missing_connection_is_named(stand: Stand) -> None:
    """Credentials that happen to be on the worker are never used silently."""
    with pytest.raises(ConnectionConfigError, match="'nowhere' is not defined"):
        connections.open_cloud({"cloud": "eks", "conn_id": "nowhere"})


def test_another_type_is_refused(connection: Any) -> None:
    """A connection of another cloud is a mistake, said at once."""
    with pytest.raises(ConnectionConfigError, match="has the type 'azure', not aws"):
        connections.open_cloud({"cloud": "eks", "conn_id": connection("azure")})


def test_a_missing_region_is_named(connection: Any) -> None:
    """Neither reference nor connection says where."""
    with pytest.raises(ConnectionConfigError, match="lacks the extra region_name"):
        connections.open_cloud({"cloud": "eks", "conn_id": connection(region_name="")})


def test_without_the_provider_the_error_names_the_extra(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 alone is not enough: the credentials come from the official hook."""
    conn_id = connection()
    monkeypatch.setitem(sys.modules, "airflow.providers.amazon.aws.hooks.base_aws", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'airflow-llm-provisioning\[amazon\]'"):
        connections.open_cloud({"cloud": "eks", "conn_id": conn_id})


async def test_a_cluster_behind_the_connection_gets_fresh_tokens_for_as_long_as_it_is_open(
    stand: Stand, connection: Any
) -> None:
    """The token is presigned here from the connection, and again when the API server refuses the old one; the cluster
    is described anew by a session of its own each time, so that an expired one does not matter either.
    """
    async with fake_api() as api:
        stand.world.clusters["eks-1"].server = api.url
        reference = {"conn_id": connection(), "cluster_name": "eks-1", "region": "us-west-2", "namespace": "default"}
        async with connections.open_cluster(reference) as cluster:
            api.faults.append(Fault("pods", status=401))
            assert (await cluster.list("pods", "default"))[0] == []
    assert all(str(token).startswith("Bearer k8s-aws-v1.") for token in api.tokens)
    assert stand.count("eks.GET /clusters/eks-1") == 2


def test_without_the_extra_the_error_names_it() -> None:
    """Importing the gateway where boto3 is absent says what to install; the descriptor and the nodes need no SDK."""
    script = (
        "import sys; sys.modules['boto3'] = None\n"
        "import airflow_llm_provisioning.gateways.autoscalers\n"
        "import airflow_llm_provisioning.gateways.clouds.eks\n"
        "try:\n    import airflow_llm_provisioning.gateways.clouds.eks.cloud\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.startswith("MissingExtraError")
    assert "airflow-llm-provisioning[amazon]" in done.stdout
