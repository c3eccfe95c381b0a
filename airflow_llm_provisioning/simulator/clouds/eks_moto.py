"""moto's server on 127.0.0.1, and the handles into it by which the stand-in moves its objects through time.

moto keeps its state once per process: one stand-in at a time, each begins with an empty account.
"""

import asyncio
import logging
import os
from collections.abc import Iterable
from typing import Any

from airflow_llm_provisioning.simulator.world import Image


class Moto:
    """One moto server; `account` is the account of every caller."""

    def __init__(self, account: str) -> None:
        self.account = account
        self._server: Any = None

    async def start(self) -> str:
        """Start it with nothing in it; return its URL."""
        return await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Stop it."""
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)
            self._server = None

    def _start(self) -> str:
        # Loading 1,300 AMIs costs seconds and none of them is Bottlerocket; read when the EC2 backend is first made.
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
        from moto.server import ThreadedMotoServer

        # One line a request would drown whatever the simulator has to say.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        for service in ("ec2", "ecr", "s3", "ssm", "iam", "codebuild", "eks", "sts", "logs"):
            self._backends(service).reset()
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    def _backends(self, service: str) -> Any:
        from moto.backends import get_backend

        return get_backend(service)

    def backend(self, service: str, region: str) -> Any:
        """Return the in-process state of a service in a region."""
        return self._backends(service)[self.account][region]

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
        """Terminate an instance as somebody outside would."""
        self.backend("ec2", region).terminate_instances([instance_id])

    def volumes(self, region: str, instance_id: str) -> dict[str, str]:
        """Return device -> volume id of an instance."""
        instance = self.backend("ec2", region).get_instance(instance_id)
        return {device: block.volume_id for device, block in instance.block_device_mapping.items()}

    def set_snapshot_state(self, region: str, snapshot_id: str, state: str) -> None:
        """Show a snapshot as pending, completed or error."""
        snapshot = self.backend("ec2", region).snapshots.get(snapshot_id)
        if snapshot is not None:
            snapshot.status = state

    def snapshot(self, region: str, snapshot_id: str) -> tuple[str, int] | None:
        """Return (volume id, GiB) of a snapshot, None when it is gone."""
        snapshot = self.backend("ec2", region).snapshots.get(snapshot_id)
        return (snapshot.volume.id, int(snapshot.volume.size)) if snapshot else None
