"""Builders of the EKS tests: the stand-in in a thread, the gateway in front of it, a ledger that remembers the order.

Time is a hand: the clock stands still until a test moves it.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.loaders
import botocore.session

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.recipe import ImageRecipe
from airflow_llm_provisioning.gateways.clouds.eks.cloud import EksCloud
from airflow_llm_provisioning.gateways.clouds.eks.names import EksNames
from airflow_llm_provisioning.gateways.store.ledger import Entry
from llm_provisioning_simulator.clouds.eks import ACCOUNT, BUILDER_PROFILE, CODEBUILD_ROLE_ARN, EksStandIn
from llm_provisioning_simulator.images import built_image, seed_public_images
from llm_provisioning_simulator.world import CloudCluster, World

REGION = "us-west-2"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
RECIPE = ImageRecipe(
    base=PHI3_2025.image.base,
    pip=(*PHI3_2025.runtime_pip, *PHI3_2025.fast_download_pip),
    env=dict(PHI3_2025.fast_download_env),
)
BUILD = {"recipe": RECIPE.as_dict(), "repository": "ray-serving", "target": "eks-improved", "keep_days": 7}
IMAGE = f"{REGISTRY}/ray-serving:{RECIPE.tag()}"
# Service models are megabytes of JSON: read once, not once per client.
_LOADER = botocore.loaders.create_loader(None)
NAMES = EksNames(codebuild_role_arn=CODEBUILD_ROLE_ARN, builder_instance_profile=BUILDER_PROFILE)


@dataclass
class HandClock:
    """A clock moved by hand; both the stand-in and the gateway read it."""

    at: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class RecordingLedger:
    """A ledger in memory. `calls_before`: how many AWS calls had been made when an intent was written."""

    calls: list[str]
    entries: dict[tuple[str, str, str], Entry] = field(default_factory=dict)
    calls_before: dict[str, int] = field(default_factory=dict)

    def intend(self, kind: str, name: str, place: str, tags: Mapping[str, str], expires_at: datetime) -> str:
        key = (place, kind, name)
        known = self.entries.get(key)
        if known is None or known.state == "gone":
            entry_id = f"{kind}-{len(self.entries)}"
            self.entries[key] = Entry(
                entry_id, kind, name, place, dict(tags), "intended", datetime.now(UTC), expires_at
            )
            self.calls_before.setdefault(kind, len(self.calls))
        elif known.expires_at < expires_at:
            self.entries[key] = replace(known, expires_at=expires_at)
        return self.entries[key].entry_id

    def created(self, entry_id: str, identity: str) -> None:
        self._change(entry_id, state="created", identity=identity)

    def gone(self, entry_id: str) -> None:
        self._change(entry_id, state="gone")

    def open_entries(self, place: str | None = None) -> Sequence[Entry]:
        return [item for item in self.entries.values() if item.state != "gone" and place in (None, item.place)]

    def _change(self, entry_id: str, **fields: Any) -> None:
        for key, entry in self.entries.items():
            if entry.entry_id == entry_id:
                self.entries[key] = replace(entry, **fields)

    def open_kinds(self) -> set[str]:
        return {entry.kind for entry in self.open_entries()}


@dataclass
class Stand:
    """One test's world: what to ask, what to look into."""

    world: World
    clock: HandClock
    aws: EksStandIn
    url: str
    ledger: RecordingLedger

    def session(self) -> boto3.Session:
        core = botocore.session.Session()
        core.register_component("data_loader", _LOADER)
        core.set_credentials("test", "test")
        return boto3.Session(botocore_session=core, region_name=REGION)

    def client(self, service: str) -> Any:
        return self.session().client(service, endpoint_url=self.url)

    def cloud(self, names: EksNames = NAMES) -> EksCloud:
        """A new gateway, as a new process would open it."""
        return EksCloud(
            self.session,
            region=REGION,
            endpoint_url=self.url,
            ledger=self.ledger,
            clock=self.clock.now,
            names=names,
        )

    def drive(self, operation: Operation, *, step_s: float = 100.0, cloud: EksCloud | None = None) -> Operation:
        """Poll until the operation ends, moving the clock between the looks."""
        cloud = cloud or self.cloud()
        for _ in range(1500):
            operation = Operation.from_dict(cloud.poll(operation).as_dict())
            if operation.state != "running":
                return operation
            self.clock.move(step_s)
        raise AssertionError(f"never ended: {operation}")

    def build(self) -> Mapping[str, Any]:
        """An image in ECR, through the gateway."""
        ended = self.drive(self.cloud().start("build_image", BUILD))
        assert ended.result is not None, ended.error
        return ended.result

    def snapshot_request(self, **changes: Any) -> dict[str, Any]:
        """A request for a snapshot of an image that is in the registry, as a build would have left it."""
        image = self.world.push(
            built_image(self.world, RECIPE.dockerfile(), IMAGE, region=REGION, now=self.clock.now())
        )
        return {
            "image": image.reference,
            "digest": image.digest,
            "size_bytes": image.compressed_bytes,
            "kubernetes_minor": "1.31",
            "target": "eks-improved",
            "keep_days": 7,
            **changes,
        }

    def living_instances(self) -> list[str]:
        self.aws.compute.move()
        groups = self.client("ec2").describe_instances()["Reservations"]
        instances = [item for group in groups for item in group["Instances"]]
        return [item["InstanceId"] for item in instances if item["State"]["Name"] != "terminated"]

    def count(self, call: str) -> int:
        return self.aws.calls.count(call)


@contextmanager
def stand_in(**options: Any) -> Iterator[Stand]:
    """Run the stand-in in a thread of its own, with one cluster; stop it at the end."""
    world, clock = World(), HandClock()
    seed_public_images(world, without=options.pop("without", ()))
    world.clusters["eks-1"] = CloudCluster("eks-1", "eks", REGION, "v1.31.4", "luna", server="http://127.0.0.1:1")
    aws = EksStandIn(world, clock, **options)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        url = asyncio.run_coroutine_threadsafe(aws.start(), loop).result(60)["aws"]
        yield Stand(world, clock, aws, url, RecordingLedger(aws.calls))
    finally:
        asyncio.run_coroutine_threadsafe(aws.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
