"""The builder's way to SSM: a public address where its subnet has no other route, and a refusal where it has none."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.stub import ANY, Stubber
from eks_stand import NAMES, REGION, Stand, stand_in

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.eks.network import BuilderNetwork
from llm_provisioning_simulator.clouds.eks.calls import Call

pytestmark = pytest.mark.eks


@pytest.fixture
def stand() -> Iterator[Stand]:
    with stand_in() as standing:
        yield standing


def a_subnet(stand: Stand, *, gives_addresses: bool = False) -> tuple[str, str, str]:
    """Make a VPC with one subnet and a route table of its own; return their ids."""
    ec2 = stand.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24")["Subnet"]["SubnetId"]
    if gives_addresses:
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return vpc, subnet, table


def to_the_internet(stand: Stand, vpc: str, table: str) -> None:
    ec2 = stand.client("ec2")
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)


def through_nat(stand: Stand, subnet: str, table: str) -> None:
    ec2 = stand.client("ec2")
    nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=ec2.allocate_address()["AllocationId"])
    ec2.create_route(
        RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat["NatGateway"]["NatGatewayId"]
    )


def launched(stand: Stand) -> dict[str, Any]:
    """Return the one builder as EC2 describes it."""
    groups = stand.client("ec2").describe_instances()["Reservations"]
    (instance,) = [item for group in groups for item in group["Instances"]]
    return dict(instance)


def snapshot(stand: Stand, **request: Any) -> Operation:
    return stand.drive(stand.cloud().start("snapshot_image", stand.snapshot_request(**request)))


def asked(stand: Stand, **request: Any) -> dict[str, str]:
    """Return what RunInstances asked for of the network, and see the snapshot succeed."""
    seen: list[Call] = []
    after = stand.aws.compute.after
    stand.aws.compute.after = lambda call, reply: (seen.append(call), after(call, reply))[1]  # type: ignore[method-assign]
    ended = snapshot(stand, **request)
    assert ended.state == "succeeded", ended.error
    (run,) = [call for call in seen if call.action == "RunInstances"]
    return {key: value for key, value in run.form.items() if "Subnet" in key or "Public" in key or "Group" in key}


def test_a_public_subnet_that_gives_no_address_gets_one_asked_for(stand: Stand) -> None:
    """Its default route leads to an internet gateway, which serves only machines with a public address."""
    vpc, subnet, table = a_subnet(stand)
    to_the_internet(stand, vpc, table)
    assert asked(stand, subnet_id=subnet) == {
        "NetworkInterface.1.AssociatePublicIpAddress": "true",
        "NetworkInterface.1.SubnetId": subnet,
    }


def test_security_groups_go_with_the_network_interface(stand: Stand) -> None:
    """EC2 refuses groups and a subnet beside an interface."""
    vpc, subnet, table = a_subnet(stand)
    to_the_internet(stand, vpc, table)
    group = stand.client("ec2").create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    cloud = stand.cloud(replace(NAMES, subnet_id=subnet, security_group_ids=(group,)))
    ended = stand.drive(cloud.start("snapshot_image", stand.snapshot_request()), cloud=cloud)
    assert ended.state == "succeeded", ended.error


def test_a_subnet_that_gives_addresses_or_has_another_way_out_is_left_alone(stand: Stand) -> None:
    """Nothing is said beside the subnet; in the default VPC not even that."""
    vpc, subnet, table = a_subnet(stand, gives_addresses=True)
    to_the_internet(stand, vpc, table)
    assert asked(stand, subnet_id=subnet) == {"SubnetId": subnet}


def test_a_subnet_behind_nat_is_left_alone(stand: Stand) -> None:
    """A private subnet's builder needs no address."""
    _, subnet, table = a_subnet(stand)
    through_nat(stand, subnet, table)
    assert asked(stand, subnet_id=subnet) == {"SubnetId": subnet}


def test_a_subnet_with_an_endpoint_for_ssm_is_left_alone(stand: Stand) -> None:
    """Private networks work through endpoints."""
    vpc, subnet, _ = a_subnet(stand)
    service = f"com.amazonaws.{REGION}.ssm"
    stand.client("ec2").create_vpc_endpoint(VpcId=vpc, ServiceName=service, VpcEndpointType="Interface")
    assert asked(stand, subnet_id=subnet) == {"SubnetId": subnet}


def test_a_subnet_without_a_way_out_is_refused_before_anything_runs(stand: Stand) -> None:
    """What is missing is named, and no instance is billed until a deadline."""
    vpc, subnet, _ = a_subnet(stand)
    with pytest.raises(ConfigurationError, match=f"{subnet}.*no default route and its VPC {vpc}.*endpoints for ssm"):
        snapshot(stand, subnet_id=subnet)
    assert stand.count("ec2.RunInstances") == 0
    with pytest.raises(ConfigurationError, match="there is no subnet 'subnet-0123'"):
        snapshot(stand, subnet_id="subnet-0123")


@pytest.mark.parametrize("public", [True, False])
def test_what_the_user_says_goes_first(stand: Stand, public: bool) -> None:
    """By connection or option; nothing is then asked of the network."""
    vpc, subnet, table = a_subnet(stand, gives_addresses=public)
    to_the_internet(stand, vpc, table)
    seen: list[Call] = []
    after = stand.aws.compute.after
    stand.aws.compute.after = lambda call, reply: (seen.append(call), after(call, reply))[1]  # type: ignore[method-assign]
    cloud = stand.cloud(replace(NAMES, subnet_id=subnet, builder_public_ip=public))
    ended = stand.drive(cloud.start("snapshot_image", stand.snapshot_request()), cloud=cloud)
    (run,) = [call for call in seen if call.action == "RunInstances"]
    assert run.form["NetworkInterface.1.AssociatePublicIpAddress"] == str(public).lower()
    assert stand.count("ec2.DescribeRouteTables") == 0
    assert ended.state == ("succeeded" if public else "failed"), "without an address SSM never gets there"


def test_what_is_no_switch_is_refused(stand: Stand) -> None:
    """A text would be true by accident."""
    with pytest.raises(ConfigurationError, match="public_ip is 'no'"):
        snapshot(stand, public_ip="no")


def test_a_network_that_may_not_be_read_is_not_judged(stand: Stand) -> None:
    """An older policy lacks the reading rights: the builder starts as it did before."""
    cloud = stand.cloud()
    aws = cloud._driver.verbs["snapshot_image"]._aws
    with Stubber(aws.client("ec2")) as ec2:
        ec2.add_client_error("describe_subnets", "UnauthorizedOperation", "You are not authorized")
        assert BuilderNetwork(aws).public_address("subnet-1", None) == (None, [])
        ec2.add_response("describe_subnets", {"Subnets": [{"VpcId": "vpc-1"}]}, {"SubnetIds": ["subnet-1"]})
        lost = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "blackhole"}
        ec2.add_response("describe_route_tables", {"RouteTables": []}, {"Filters": ANY})
        ec2.add_response("describe_route_tables", {"RouteTables": [{"Routes": [lost]}]}, {"Filters": ANY})
        ec2.add_response("describe_vpc_endpoints", {"VpcEndpoints": []}, {"Filters": ANY})
        _, problems = BuilderNetwork(aws).public_address("subnet-1", None)
        assert "no default route" in problems[0]
