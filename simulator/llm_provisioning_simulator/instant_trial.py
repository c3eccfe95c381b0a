"""One simulated trial without waiting: the real controllers in virtual time, in process instead of over HTTP; without
noise unless a seed is given.

It says how long the trial took and which numbers of the profile it read. It compares nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.core.manifests import Placement, place
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import Treatment, deployed_manifest, plan_deployment
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.images import seed_public_images
from llm_provisioning_simulator.infra.autoscalers import luna
from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.prepared import prepare
from llm_provisioning_simulator.profiles import NOISE, Profile, Quantity, load_profile
from llm_provisioning_simulator.virtual_time import VirtualClock, run_at_once
from llm_provisioning_simulator.world import CloudCluster, World

RAYSERVICE: Final = "llm-model-serve"
LIMIT_S: Final = 7200.0
# Longer than Luna needs to start again at the upper end of its range, so that every trial begins at the same instant.
_SETTLED_S: Final = 120.0
_CLOUDS: Final = ("eks", "gke", "aks")

Key = tuple[str, str, str, tuple[tuple[str, float], ...]]
"""Target, set-up, variant, changed numbers."""


@dataclass(frozen=True, slots=True)
class InstantTrial:
    """One trial. `treatments`: of its variant on the target's cloud; `values`: numbers of the simulated profile set
    otherwise; `seed`: decides the noise of its cluster, None for none.
    """

    target: Target
    setup: ScalingSetup
    variant: str
    workload: Workload
    treatments: tuple[Treatment, ...] = ()
    values: tuple[tuple[str, float], ...] = ()
    seed: int | None = None

    @property
    def key(self) -> Key:
        """What tells it from the other trials of its experiment."""
        return self.target.name, str(self.setup), self.variant, self.values


@dataclass(frozen=True, slots=True)
class Outcome:
    """`total_s`: submission to the ready endpoint, None where that did not come within LIMIT_S. `read`: the numbers of
    the profile that decided it; all others could not.
    """

    total_s: float | None
    read: frozenset[str]


def run_trial(trial: InstantTrial) -> Outcome:
    """Run one trial to its ready endpoint. The same trial gives the same seconds."""
    return run_at_once(_run(trial))


def profile_of(target: Target) -> Profile:
    """Return the profile a target is simulated with; a ConfigurationError for one that cannot be run this way."""
    if target.cloud not in _CLOUDS or target.nodes.autoscaler != "luna":
        raise ConfigurationError(
            f"Target {target.name!r} cannot be swept: only Luna's clusters on EKS, GKE and AKS can be prepared without "
            f"their clouds' APIs, and this one is {target.nodes.autoscaler} on {target.cloud}."
        )
    return load_profile(target.cloud, target.nodes.autoscaler)


class _Noted(dict[str, Quantity]):
    """Quantities that note which of them are looked up by name."""

    def __init__(self, quantities: Mapping[str, Quantity]) -> None:
        super().__init__(quantities)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Quantity:
        self.read.add(name)
        return super().__getitem__(name)


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulated cluster in virtual time, with its clouds' memory; nothing prepared and nothing deployed."""

    cluster: SimulatedCluster
    world: World
    clock: VirtualClock
    description: CloudCluster


@asynccontextmanager
async def stage(
    target: Target, profile: Profile, *, seed: int = 1, gates: frozenset[str] = frozenset()
) -> AsyncIterator[Stage]:
    """Run the cluster of a target inside a loop of virtual time. `seed` decides all its noise; `gates`: feature gates
    that are on beside the defaults.
    """
    clock, world = VirtualClock.of_this_loop(), World()
    seed_public_images(world)
    described = replace(described_cluster(target.cloud, target), feature_gates=gates)
    world.clusters[target.cluster] = described
    cluster = SimulatedCluster(described, world, clock, profile=profile, seed=seed)
    await cluster.start_controllers()
    try:
        yield Stage(cluster, world, clock, described)
    finally:
        await cluster.stop()


async def _run(trial: InstantTrial) -> Outcome:
    target = trial.target
    quiet = {NOISE: 0.0} if trial.seed is None else {}
    profile = profile_of(target).with_values(**quiet, **dict(trial.values))
    noted = _Noted(profile.quantities)
    async with stage(target, replace(profile, quantities=noted), seed=trial.seed or 1) as on:
        plan = plan_deployment(trial.workload, trial.treatments, trial.setup, target)
        prepared = prepare(on.world, on.description, target, plan, on.clock.now())
        on.world.keep_copies(target, (trial.workload,), on.clock.now())
        _configure_luna(on.cluster.store, prepared.luna)
        await on.clock.sleep(_SETTLED_S)
        manifest = place(
            deployed_manifest(plan, trial.workload, prepared.image),
            head=_placement(target, "head"),
            workers=_placement(target, "worker"),
        )
        return Outcome(await _deploy(on.cluster.store, manifest), frozenset(noted.read))


def described_cluster(cloud: str, target: Target) -> CloudCluster:
    """Return the cluster of a target as its cloud describes it."""
    if cloud not in _CLOUDS:
        raise ConfigurationError(f"Target {target.name!r} is on {cloud!r}, which cannot be simulated.")
    version = f"{target.nodes.kubernetes_minor}.0"
    return CloudCluster(target.cluster, cloud, target.region or "", version, target.nodes.autoscaler)


def _configure_luna(store: ObjectStore, data: Mapping[str, str]) -> None:
    """Write Luna's ConfigMap and restart it, as the set-up of a target's nodes does through the Kubernetes API."""

    def write(item: dict[str, Any]) -> None:
        item["data"] = dict(data)

    def restart(item: dict[str, Any]) -> None:
        metadata = item["spec"]["template"].setdefault("metadata", {})
        metadata.setdefault("annotations", {})["kubectl.kubernetes.io/restartedAt"] = "2025-02-01T00:00:00Z"

    store.mutate("configmaps", luna.CONFIG_MAP, luna.NAMESPACE, write, manager="sweep")
    store.mutate("deployments", luna.DEPLOYMENT, luna.NAMESPACE, restart, manager="sweep")


def _placement(target: Target, group: str) -> Placement:
    """Return Luna's marks: the label by which it takes a pod, and the SKUs its worker may run on."""
    annotations = {"node.elotl.co/instance-gpu-skus": ",".join(target.nodes.gpu_skus)} if group == "worker" else {}
    return Placement(labels={"elotl-luna": "true"}, annotations=annotations)


async def _deploy(store: ObjectStore, manifest: Mapping[str, Any]) -> float | None:
    """Submit a RayService and return the seconds until its serve Service has a ready endpoint."""
    loop = asyncio.get_running_loop()
    submitted_s = loop.time()
    store.create("rayservices", manifest, namespace="default", manager="sweep")
    try:
        async with asyncio.timeout(LIMIT_S):
            await _endpoint(store, serve_service(RAYSERVICE))
    except TimeoutError:
        return None
    return loop.time() - submitted_s


async def _endpoint(store: ObjectStore, service: str) -> None:
    async for _type, _resource, item in store.subscribe("endpointslices"):
        named = (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service
        if named and any((endpoint.get("conditions") or {}).get("ready") for endpoint in item.get("endpoints") or ()):
            return
