"""Does the snapshot's builder need a public address? Without a way out it never reaches SSM, and is billed meanwhile.

The procedure that this follows gives its instance one by default (aws-samples/bottlerocket-images-cache,
ebs-snapshot-instance.yaml at 3370ea0: AssociatePublicIpAddress). Here it gets one where its subnet has no other route:
the subnet gives none by itself, and its default route leads to an internet gateway. Nothing here is created.
"""

from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, absent, error_code
from airflow_llm_provisioning.gateways.clouds.eks.names import DOCS

_DEFAULT_ROUTE = "0.0.0.0/0"


class BuilderNetwork:
    """What a subnet offers to an instance in it, as EC2 describes it."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def public_address(self, subnet_id: str | None, wanted: bool | None) -> tuple[bool | None, list[str]]:
        """Return whether to ask for a public address (None: say nothing, the subnet decides), and problems.

        `wanted`: what the user said, None for automatic. Without a subnet the builder is in the default VPC, whose
        subnets give addresses. What the connection may not read is not judged.
        """
        if wanted is not None or subnet_id is None:
            return wanted, []
        try:
            return self._automatic(subnet_id)
        except AWS_ERRORS as error:
            if absent(error):
                return None, [f"there is no subnet {subnet_id!r} in {self._aws.region}."]
            if "Unauthorized" in error_code(error) or "Denied" in error_code(error):
                return None, []
            raise

    def _automatic(self, subnet_id: str) -> tuple[bool | None, list[str]]:
        ec2 = self._aws.client("ec2")
        subnet = ec2.describe_subnets(SubnetIds=[subnet_id])["Subnets"][0]
        if subnet.get("MapPublicIpOnLaunch"):
            return None, []
        vpc_id = str(subnet["VpcId"])
        route = self._default_route(subnet_id, vpc_id)
        if route is not None:
            return (True if str(route.get("GatewayId", "")).startswith("igw-") else None), []
        if self._has_ssm_endpoint(vpc_id):
            return None, []
        needed = "give it a NAT gateway or endpoints for ssm, ssmmessages, ec2messages, ecr.api, ecr.dkr and s3"
        found = f"subnet {subnet_id!r} has no default route and its VPC {vpc_id} no endpoint for SSM"
        return None, [f"{found}, so the builder could never be reached: {needed}, or name another subnet_id ({DOCS})."]

    def _default_route(self, subnet_id: str, vpc_id: str) -> Mapping[str, Any] | None:
        """Return the route that the subnet's table has for every other address, or None."""
        ec2 = self._aws.client("ec2")
        own = [{"Name": "association.subnet-id", "Values": [subnet_id]}]
        main = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "association.main", "Values": ["true"]}]
        tables = ec2.describe_route_tables(Filters=own)["RouteTables"]
        tables = tables or ec2.describe_route_tables(Filters=main)["RouteTables"]
        routes = [route for table in tables for route in table.get("Routes", ())]
        open_routes = [route for route in routes if route.get("State") != "blackhole"]
        return next((route for route in open_routes if route.get("DestinationCidrBlock") == _DEFAULT_ROUTE), None)

    def _has_ssm_endpoint(self, vpc_id: str) -> bool:
        chosen = [{"Name": "vpc-id", "Values": [vpc_id]}]
        pages = self._aws.client("ec2").get_paginator("describe_vpc_endpoints").paginate(Filters=chosen)
        found = [endpoint for page in pages for endpoint in page["VpcEndpoints"]]
        return any(str(endpoint.get("ServiceName", "")).endswith(".ssm") for endpoint in found)
