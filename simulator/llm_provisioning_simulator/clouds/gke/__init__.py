"""Google Cloud for the simulator: container, Compute Engine, Cloud Build, Artifact Registry, Service Usage, roles.

The real Google clients talk to it over HTTP (REST transport); what their calls leave is in the World. Operations take
virtual time and can be told to go wrong.
"""

from functools import partial
from types import MappingProxyType
from typing import Final

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke.buckets import CloudStorage
from llm_provisioning_simulator.clouds.gke.builds import CloudBuild
from llm_provisioning_simulator.clouds.gke.clusters import Clusters
from llm_provisioning_simulator.clouds.gke.compute import ComputeEngine
from llm_provisioning_simulator.clouds.gke.http import GoogleService
from llm_provisioning_simulator.clouds.gke.registry import ArtifactRegistry, RegistryProtocol
from llm_provisioning_simulator.clouds.gke.services import ProjectServices
from llm_provisioning_simulator.clouds.operations import CallFaults
from llm_provisioning_simulator.world import World

# Virtual seconds (or bytes per second) of everything that takes time. Assumed where no source is named, with the range
# that would also be believable.
DURATIONS_S: Final = MappingProxyType(
    {
        "enable_api": 20.0,  # assumed, 5 to 60
        "update_cluster": 90.0,  # assumed, 30 to 300
        "update_node_pool": 90.0,  # assumed, 30 to 300, for a pool without nodes
        "create_node_pool": 90.0,  # assumed, 60 to 180, for a pool without nodes
        "delete_node_pool": 120.0,  # assumed, 60 to 300
        "create_repository": 10.0,  # assumed, 3 to 30
        "delete_repository": 10.0,  # assumed, 3 to 60
        "delete_version": 3.0,  # assumed, 1 to 20
        "prewarm": 120.0,  # assumed, 30 to 600
        # e2-highcpu-8 has no quick start (cloud.google.com/build/pricing): the machine is provisioned first. Assumed,
        # 20 to 120.
        "build_queue": 45.0,
        "build_setup": 5.0,  # assumed, 1 to 20
        "build_pull_bytes_s": 100e6,  # assumed, 50 to 200 MB/s, pull and unpack of the base
        # 3.3 GB of wheels took 404 s on two processors (8 MB/s, own measurement); eight processors, fast network:
        # assumed, 8 to 40 MB/s.
        "build_install_bytes_s": 20e6,
        "build_push_bytes_s": 80e6,  # assumed, 40 to 150 MB/s, compression included
        "create_disk": 5.0,  # assumed, 2 to 20, an empty disk
        "delete_disk": 5.0,  # assumed, 2 to 30
        "create_instance": 20.0,  # assumed, 10 to 60, until it runs
        "delete_instance": 60.0,  # assumed, 20 to 120
        "create_disk_image": 180.0,  # assumed, 60 to 600: gke-disk-image-builder waits 20 min for each of its steps
        "delete_disk_image": 5.0,  # assumed, 2 to 30
        "set_labels": 2.0,  # assumed, 1 to 10
        "builder_boot": 25.0,  # assumed, 15 to 60: Debian until its start script runs
        "builder_install": 40.0,  # assumed, 20 to 120: containerd from Debian's mirror
        "builder_copy_bytes_s": 140e6,  # assumed, 60 to 240 MB/s: a balanced disk's floor is 140 MiB/s
    }
)


class GkeStandIn:
    """One simulated Google project in one region."""

    def __init__(
        self, world: World, clock: SimClock, *, durations_s: dict[str, float] | None = None, region: str = "us-central1"
    ) -> None:
        """`durations_s` replaces single entries of DURATIONS_S."""
        durations = {**DURATIONS_S, **(durations_s or {})}
        self.faults = CallFaults()
        self.services = ProjectServices(world, clock, durations)
        self.registry = ArtifactRegistry(world, clock, durations)
        self.builds = CloudBuild(world, clock, self.registry, durations)
        self.clusters = Clusters(world, clock, durations)
        self.compute = ComputeEngine(world, clock, durations)
        self._protocol = RegistryProtocol(world, self.faults, f"{region}-docker.pkg.dev")
        faults, require = self.faults, self.services.require
        # API -> its discovery document, its answers, and whether it can be disabled.
        answers = {
            "container": ("container.v1", self.clusters.handlers(), True),
            "cloudbuild": ("cloudbuild.v1", self.builds.handlers(), True),
            "artifactregistry": ("artifactregistry.v1", self.registry.handlers(), True),
            "serviceusage": ("serviceusage.v1", self.services.service_usage(), False),
            "cloudresourcemanager": ("cloudresourcemanager.v3", self.services.resource_manager(), True),
            "compute": ("compute.v1", self.compute.handlers(), True),
            "storage": ("storage.v1", CloudStorage(world).handlers(), False),
        }
        self.apis = {
            name: GoogleService(
                document, handlers, faults, gate=partial(require, f"{name}.googleapis.com") if gated else None
            )
            for name, (document, handlers, gated) in answers.items()
        }

    async def start(self, port: int = 0) -> dict[str, str]:
        """Listen on one port per service, from `port` upwards (0: any), and return service -> URL."""
        urls = {}
        for offset, (name, api) in enumerate(self.apis.items()):
            urls[name] = await api.start(port + offset if port else 0)
        urls["registry"] = await self._protocol.start(port + len(self.apis) if port else 0)
        return urls

    async def stop(self) -> None:
        """Stop listening and everything that runs."""
        for api in self.apis.values():
            await api.stop()
        await self._protocol.stop()
        await self.builds.stop()
        for service in (self.services, self.registry, self.clusters, self.compute):
            await service.operations.stop()
