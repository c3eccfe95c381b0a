"""The whole simulator in one process: the clusters an experiment names, their clouds' APIs, and the model hub.

It is reached by configuration alone: what it prints are Airflow connections. It listens on 127.0.0.1 and ends by
itself.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from airflow_llm_provisioning.core.experiment import Experiment, Target
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.calibration.profile_file import CalibratedProfile, read_calibrated_profile
from llm_provisioning_simulator.catalogue import Catalogue, models_of_experiment, read_catalogue
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.experiment import simulated_experiment
from llm_provisioning_simulator.hub import HubServer
from llm_provisioning_simulator.images import seed_public_images
from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import CloudCluster, World

# A forgotten simulator ends by itself.
MAX_HOURS: Final = 12.0
AZURE_SUBSCRIPTION: Final = "00000000-0000-0000-0000-000000000000"
AZURE_GROUP: Final = "simulated"
GOOGLE_PROJECT: Final = "simulated-project"
# Ports a simulated cloud may need side by side, when ports are fixed.
PORTS_PER_CLOUD: Final = 10

# Airflow masks a connection's password in every log line: no word that a log may hold, such as "simulated".
MADE_UP_SECRET: Final = "made-up-9f2c7d"  # noqa: S105 - opens nothing

Connections = dict[str, dict[str, Any]]


class CloudStandIn(Protocol):
    """A cloud's API on 127.0.0.1."""

    async def start(self, port: int = 0) -> dict[str, str]:
        """Listen and return service -> URL."""
        ...

    async def stop(self) -> None:
        """Stop listening."""
        ...


class Simulator:
    """Clusters, clouds and hub of one experiment, on one clock."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        speed: float,
        seed: int,
        catalogues: Iterable[Catalogue] = (),
        calibrated: CalibratedProfile | None = None,
    ) -> None:
        """`catalogues`: images and models besides the public ones. `calibrated`: laid over every shipped profile."""
        self._calibrated = calibrated
        self.experiment = experiment
        self.clock = SimClock.start(speed)
        self.world = World()
        seed_public_images(self.world)
        for catalogue in catalogues:
            catalogue.seed(self.world)
        for target in experiment.targets:
            self.world.keep_copies(target, experiment.workloads_on(target), self.clock.now())
        self.clusters: dict[str, SimulatedCluster] = {}
        for target in experiment.targets:
            if target.cluster not in self.clusters:
                self.clusters[target.cluster] = self._cluster(target, seed)
        self.hub = HubServer(self.world.models)
        self._clouds: dict[str, CloudStandIn] = {
            cloud: _stand_in(cloud, self.world, self.clock, self._region(cloud))
            for cloud in sorted({target.cloud for target in experiment.targets})
        }
        self._urls: dict[str, dict[str, str]] = {}
        self._hub_url = ""

    async def start(self, base_port: int = 0) -> None:
        """Start everything; with a base port every address is the same at every start."""
        ports = _Ports(base_port)
        self._hub_url = await self.hub.start(ports.take(1))
        for cluster in self.clusters.values():
            await cluster.start(ports.take(1))
        for name, cloud in self._clouds.items():
            self._urls[name] = await cloud.start(ports.take(PORTS_PER_CLOUD))

    async def stop(self) -> None:
        """Stop everything."""
        for cloud in self._clouds.values():
            await cloud.stop()
        for cluster in self.clusters.values():
            await cluster.stop()
        await self.hub.stop()

    def cloud(self, name: str) -> CloudStandIn:
        """Return a cloud's stand-in: its faults, and what it holds."""
        return self._clouds[name]

    def connections(self) -> Connections:
        """Return the Airflow connections by which it is reached: id -> {conn_type, ..., extra}."""
        found: Connections = {}
        for target in self.experiment.targets:
            server = self.world.clusters[target.cluster].server or ""
            found[target.conn_id] = _kubernetes_connection(target.cluster, server)
            if target.cloud_conn_id:
                urls = self._urls[target.cloud]
                found[target.cloud_conn_id] = _CLOUD_CONNECTIONS[target.cloud](urls, target.region or "")
        return found

    def environment(self) -> dict[str, str]:
        """Return the environment by which Airflow reaches it: its connections, and the hub's endpoint."""
        connections = {f"AIRFLOW_CONN_{key.upper()}": json.dumps(value) for key, value in self.connections().items()}
        return {**connections, "HF_ENDPOINT": self._hub_url}

    def _cluster(self, target: Target, seed: int) -> SimulatedCluster:
        cloud = target.cloud
        if cloud not in _CLOUD_CONNECTIONS:
            raise ConfigurationError(
                f"Target {target.name!r} is on {cloud!r}, which the simulator does not have: it has "
                f"{', '.join(_CLOUD_CONNECTIONS)}. Leave it out by --clouds."
            )
        cluster = CloudCluster(
            name=target.cluster,
            cloud=cloud,
            region=target.region or "",
            kubernetes_version=f"{target.nodes.kubernetes_minor}.0",
            autoscaler=target.nodes.autoscaler,
            auto_provisioning=bool(target.nodes.options.get("auto_provisioning")),
        )
        self.world.clusters[target.cluster] = cluster
        account = target.nodes.options.get("node_service_account")
        if cloud == "gke" and account:
            # What the user grants before the first preparation (docs/gke.md, "The project").
            self.world.grant(str(account), "roles/artifactregistry.reader", "roles/serviceusage.serviceUsageConsumer")
        profile = load_profile(cloud, target.nodes.autoscaler)
        if self._calibrated is not None:
            profile = self._calibrated.over(profile)
        return SimulatedCluster(cluster, self.world, self.clock, profile=profile, seed=seed)

    def _region(self, cloud: str) -> str:
        return next(target.region or "" for target in self.experiment.targets if target.cloud == cloud)


def serve(
    experiment_file: Path,
    *,
    clouds: Iterable[str],
    speed: float,
    seed: int,
    base_port: int = 0,
    connections_file: Path | None = None,
    catalogue_file: Path | None = None,
    calibrated_file: Path | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM, or until it has run for half a day; print where everything is."""
    experiment = simulated_experiment(experiment_file).on_clouds(clouds)
    catalogues = [models_of_experiment(experiment)]
    if catalogue_file is not None:
        catalogues.append(read_catalogue(catalogue_file))
    calibrated = read_calibrated_profile(calibrated_file) if calibrated_file is not None else None
    clouds_there = {target.cloud for target in experiment.targets}
    if calibrated is not None and not calibrated.clouds & clouds_there:
        raise ConfigurationError(
            f"The calibrated profile {calibrated_file} is for {', '.join(sorted(calibrated.clouds))}, and the clusters "
            f"are of {', '.join(sorted(clouds_there))}: none would use it."
        )
    simulator = Simulator(experiment, speed=speed, seed=seed, catalogues=catalogues, calibrated=calibrated)
    return asyncio.run(_serve(simulator, base_port, connections_file))


async def _serve(simulator: Simulator, base_port: int, connections_file: Path | None) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await simulator.start(base_port)
    environment = simulator.environment()
    if connections_file is not None:
        _write(connections_file, json.dumps(environment, indent=1))
    for name, value in environment.items():
        sys.stdout.write(f"export {name}='{value}'\n")
    sys.stdout.flush()
    with suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), MAX_HOURS * 3600)
    await simulator.stop()
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file that a waiting reader never sees half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


class _Ports:
    """Hands out ranges of fixed ports, or 0 for any."""

    def __init__(self, first: int) -> None:
        self._next = first

    def take(self, count: int) -> int:
        taken = self._next
        self._next += count if taken else 0
        return taken


def _stand_in(cloud: str, world: World, clock: SimClock, region: str) -> CloudStandIn:
    if cloud == "eks":
        from llm_provisioning_simulator.clouds.eks import EksStandIn

        return EksStandIn(world, clock, region=region)
    if cloud == "gke":
        from llm_provisioning_simulator.clouds.gke import GkeStandIn

        return GkeStandIn(world, clock, region=region)
    from llm_provisioning_simulator.clouds.aks import AksStandIn
    from llm_provisioning_simulator.clouds.aks.tasks import Registry

    return AksStandIn(
        world,
        clock,
        subscription_id=AZURE_SUBSCRIPTION,
        resource_group=AZURE_GROUP,
        registries=[Registry("simulatedregistry", location=region)],
    )


def _kubernetes_connection(cluster: str, server: str) -> dict[str, Any]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server}}],
        "users": [{"name": "simulated", "user": {"token": MADE_UP_SECRET}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "simulated"}}],
        "current-context": cluster,
    }
    return {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(config)}}


def _aws(urls: Mapping[str, str], region: str) -> dict[str, Any]:
    from llm_provisioning_simulator.clouds.eks import BUILDER_PROFILE, CODEBUILD_ROLE_ARN

    extra = {
        "region_name": region,
        "endpoint_url": urls["aws"],
        "codebuild_role_arn": CODEBUILD_ROLE_ARN,
        "builder_instance_profile": BUILDER_PROFILE,
    }
    return {"conn_type": "aws", "login": "simulated", "password": MADE_UP_SECRET, "extra": extra}


def _google(urls: Mapping[str, str], region: str) -> dict[str, Any]:
    extra = {"project": GOOGLE_PROJECT, "location": region, "is_anonymous": True, "endpoints": dict(urls)}
    return {"conn_type": "google_cloud_platform", "extra": extra}


def _azure(urls: Mapping[str, str], _region: str) -> dict[str, Any]:
    extra = {
        "tenantId": AZURE_SUBSCRIPTION,
        "subscriptionId": AZURE_SUBSCRIPTION,
        "resource_group": AZURE_GROUP,
        "registry": "simulatedregistry",
        "endpoints": dict(urls),
    }
    return {"conn_type": "azure", "login": "simulated", "password": MADE_UP_SECRET, "extra": extra}


_CLOUD_CONNECTIONS: Final = {"eks": _aws, "gke": _google, "aks": _azure}
