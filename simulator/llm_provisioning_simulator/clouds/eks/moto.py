"""moto in this process: its server application, and the handles by which the stand-in moves its objects through time.

The application is the one that moto's own server runs; the stand-in's front is the server, so no second port is opened.
moto keeps its state once per process. Each stand-in has its own all the same and installs it before every call.
"""

import asyncio
import io
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from llm_provisioning_simulator.world import Image

_SERVICES: Final = ("ec2", "ecr", "s3", "ssm", "iam", "codebuild", "eks", "sts", "logs")


class Moto:
    """moto's server application; `account` is the account of every caller. Begins with nothing in it."""

    _inside: ClassVar["Moto | None"] = None
    """Whose state moto holds now."""
    _change: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, account: str) -> None:
        self.account = account
        self.kept: dict[str, dict[Any, Any]] = {}
        """Its state while another's is inside."""
        self._application: Any = None
        # moto is not made for two calls at once, and a call of it may take some milliseconds: one thread of its own.
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Load it, with nothing in it."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        # Loading 1,300 AMIs costs seconds and none of them is Bottlerocket; read when the EC2 backend is first made.
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        # One line a request would drown the simulator's own lines.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._application = DomainDispatcherApplication(create_backend_app)

    async def call(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Carry out one request; return status, headers and body."""
        async with self._turn:
            return await asyncio.to_thread(self._call, method, url, headers, body)

    def _call(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        from werkzeug.test import EnvironBuilder, run_wsgi_app

        path, _, query = url.partition("?")
        builder = EnvironBuilder(
            path=path,
            query_string=query,
            method=method,
            headers=list(headers.items()),
            input_stream=io.BytesIO(body),
            content_length=len(body),
        )
        with Moto._change:
            self._put_in()
            content, status, answered = run_wsgi_app(self._application, builder.get_environ())
        return int(status.split()[0]), list(answered.items()), b"".join(content)

    def backend(self, service: str, region: str) -> Any:
        """Return the in-process state of a service in a region."""
        if Moto._inside is not self:
            self._put_in()
        return _backends(service)[self.account][region]

    def _put_in(self) -> None:
        """Exchange what moto holds for this one's state."""
        with Moto._change:
            if Moto._inside is self:
                return
            for service, held in _held().items():
                if Moto._inside is not None:
                    Moto._inside.kept[service] = dict(held)
                held.clear()
                held.update(self.kept.get(service, {}))
            Moto._inside = self

    # --- seeding

    def add_roles(self, roles: Iterable[str], profiles: Iterable[str]) -> None:
        """Give the account IAM roles, and instance profiles with a role each."""
        iam = self.backend("iam", "global")
        for name in (*roles, *profiles):
            iam.create_role(name, "{}", "/", None, None, [], "3600")
        for name in profiles:
            iam.create_instance_profile(name, "/", [])
            iam.add_role_to_instance_profile(name, name)

    # --- what calls left

    def has_repository(self, region: str, name: str) -> bool:
        """Return whether ECR has a repository."""
        return name in self.backend("ecr", region).repositories

    def put_image(self, region: str, image: Image, manifest: str) -> None:
        """Put an image into ECR, as a push would."""
        repository = image.repository.partition("/")[2]
        tag = image.reference.rpartition(":")[2]
        self.backend("ecr", region).put_image(repository, manifest, tag, None, image.digest)

    def image_digests(self, region: str) -> set[str]:
        """Return the digests of every image in ECR."""
        repositories = self.backend("ecr", region).repositories.values()
        return {image.get_image_digest() for repository in repositories for image in repository.images}

    def project(self, region: str, name: str) -> dict[str, Any] | None:
        """Return a CodeBuild project as CreateProject left it."""
        found = self.backend("codebuild", region).codebuild_projects.get(name)
        return dict(found.project_metadata) if found else None

    def read_object(self, location: str) -> bytes | None:
        """Return the S3 object at `bucket/key`."""
        bucket, _, key = location.partition("/")
        s3 = self.backend("s3", "aws")
        if bucket not in s3.buckets:
            return None
        found = s3.get_object(bucket, key)
        return bytes(found.value) if found else None

    def set_instance_state(self, region: str, instance_id: str, name: str, code: int) -> None:
        """Show an instance in a state, until its next change."""
        instance = self.backend("ec2", region).get_instance(instance_id)
        instance._state.name, instance._state.code = name, code  # noqa: SLF001 - moto offers no other way

    def terminate(self, region: str, instance_id: str) -> None:
        """Terminate an instance from outside."""
        self.backend("ec2", region).terminate_instances([instance_id])

    def volumes(self, region: str, instance_id: str) -> dict[str, str]:
        """Return device -> volume id of an instance."""
        instance = self.backend("ec2", region).get_instance(instance_id)
        return {device: block.volume_id for device, block in instance.block_device_mapping.items()}

    def reaches_aws(self, region: str, instance_id: str, public: str | None) -> bool:
        """Return whether an instance can reach AWS's own services.

        `public`: `true` or `false` as RunInstances asked for an address, None where the subnet decides. Its way out is
        a default route to an internet gateway with a public address, any other default route, or an endpoint for SSM.
        """
        ec2 = self.backend("ec2", region)
        subnet = ec2.get_subnet(ec2.get_instance(instance_id).subnet_id)
        gives = _true(subnet.map_public_ip_on_launch)
        addressed = gives if public is None else public == "true"
        if _true(subnet.default_for_az):
            # moto's default VPC lacks the internet gateway that every real one has.
            return addressed
        tables = list(ec2.route_tables.values())
        own = [table for table in tables if any(item.get("SubnetId") == subnet.id for item in table.associations)]
        main = [table for table in tables if table.main_association_id and table.vpc_id == subnet.vpc_id]
        ways = [route for table in own or main for route in table.routes]
        default = next((route for route in ways if route.destination_cidr_block == "0.0.0.0/0"), None)
        if default is not None:
            return addressed or default.gateway is None
        endpoints = [found for found in ec2.vpc_end_points.values() if found.vpc_id == subnet.vpc_id]
        return any(str(found.service_name).endswith(".ssm") for found in endpoints)

    def set_snapshot_state(self, region: str, snapshot_id: str, state: str) -> None:
        """Show a snapshot as pending, completed or error."""
        snapshot = self.backend("ec2", region).snapshots.get(snapshot_id)
        if snapshot is not None:
            snapshot.status = state

    def snapshot(self, region: str, snapshot_id: str) -> tuple[str, int] | None:
        """Return (volume id, GiB) of a snapshot, None when it is gone."""
        snapshot = self.backend("ec2", region).snapshots.get(snapshot_id)
        return (snapshot.volume.id, int(snapshot.volume.size)) if snapshot else None


def _true(value: Any) -> bool:
    return str(value).lower() == "true"


def _backends(service: str) -> Any:
    from moto.backends import get_backend

    return get_backend(service)


def _held() -> dict[str, dict[Any, Any]]:
    """Return the dicts in which moto keeps everything: one a service, and the owners of S3's bucket names."""
    held = {service: _backends(service) for service in _SERVICES}
    return {**held, "buckets": held["s3"].bucket_accounts}
