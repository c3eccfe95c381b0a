"""One whole simulated cluster: the API over HTTP, its controllers, its nodes, and what runs in its pods.

Only puts together; what each part does is its own file's business.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from llm_provisioning_simulator.app.controllers import ApplicationLayer
from llm_provisioning_simulator.app.outside import Outside
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.hub_models import HubModel
from llm_provisioning_simulator.infra.autoscalers.base import NodeAutoscaler
from llm_provisioning_simulator.infra.autoscalers.karpenter import Karpenter
from llm_provisioning_simulator.infra.autoscalers.luna import Luna
from llm_provisioning_simulator.infra.autoscalers.native import NativeAutoscaler
from llm_provisioning_simulator.infra.claims import install_classes
from llm_provisioning_simulator.infra.endpoints import EndpointController
from llm_provisioning_simulator.infra.jobs import JobController
from llm_provisioning_simulator.infra.kubelet import Kubelets
from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.infra.nodes import NodeFleet
from llm_provisioning_simulator.infra.scheduler import Scheduler
from llm_provisioning_simulator.infra.system import install
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.infra.workloads import WorkloadControllers
from llm_provisioning_simulator.kube.resources import AUTOSCALING, KARPENTER, KARPENTER_AWS, KARPENTER_AZURE
from llm_provisioning_simulator.kube.server import KubeServer
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.profiles import Profile
from llm_provisioning_simulator.world import CloudCluster, World

_AUTOSCALERS: Final[Mapping[str, Callable[[ClusterContext, NodeFleet], NodeAutoscaler]]] = {
    "luna": Luna,
    "karpenter": Karpenter,
    "native": NativeAutoscaler,
}
_KARPENTER_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "eks": frozenset({KARPENTER, KARPENTER_AWS}),
    "aks": frozenset({KARPENTER, KARPENTER_AZURE}),
}


class SimulatedCluster:
    """A cluster that can be talked to at a URL. `seed` decides all its noise."""

    def __init__(
        self,
        cloud_cluster: CloudCluster,
        world: World,
        clock: SimClock,
        *,
        profile: Profile,
        seed: int,
        faults: Faults | None = None,
    ) -> None:
        self.description = cloud_cluster
        self.profile = profile
        self.faults = faults or Faults()
        self.store = ObjectStore(clock, without_groups=_absent_groups(cloud_cluster), seed=seed)
        self.store.image_volumes = cloud_cluster.has_gate("ImageVolume", default_since=35)
        rng = random.Random(f"{seed}/{cloud_cluster.name}")
        self._ctx = ctx = ClusterContext(cloud_cluster, world, self.store, clock, profile, rng, self.faults)
        self.fleet = NodeFleet(ctx)
        self.application = ApplicationLayer(
            self.store,
            clock,
            profile,
            seed=seed,
            faults=self.faults,
            outside=Outside(world.models, world.buckets, partial(_model_in, world), ctx.peers),
        )
        self._autoscaler: NodeAutoscaler = _AUTOSCALERS[cloud_cluster.autoscaler](ctx, self.fleet)
        self._kubelets = Kubelets(ctx, self.fleet.machines, self.application.runtime)
        self._tasks = TaskGroup()
        self.server = KubeServer(
            self.store,
            name=cloud_cluster.name,
            clock=clock,
            proxy=self.application.runtime,
            faults=self.faults,
            version=f"v{cloud_cluster.kubernetes_version.removeprefix('v')}+simulated",
            cloud=cloud_cluster.cloud,
            calibrated=profile.calibrated,
        )

    async def start(self, port: int = 0) -> str:
        """Start everything and return the API's URL, which the cloud cluster then names too."""
        await self.start_controllers()
        url = await self.server.start(port)
        self.description.server = url
        # Every controller has begun to watch before the first client comes.
        await asyncio.sleep(0)
        return url

    async def start_controllers(self) -> None:
        """Start everything but the API over HTTP, for callers that use `store`."""
        install(self._ctx, self.fleet)
        install_classes(self.store, self.description.cloud)
        controllers = (
            Scheduler(self._ctx).run(),
            EndpointController(self._ctx).run(),
            WorkloadControllers(self._ctx).run(),
            JobController(self._ctx).run(),
            self._kubelets.run(),
            self._autoscaler.run(),
        )
        for controller in controllers:
            self._tasks.start(controller)
        await self.application.start()

    async def stop(self) -> None:
        """Stop serving and end every task; harmless when it has stopped. Raises what a controller failed with."""
        self.description.server = None
        await self.server.stop()
        await self.application.stop()
        await self._tasks.stop()
        await self.fleet.stop()


def _absent_groups(cluster: CloudCluster) -> frozenset[str]:
    """Return the API groups this cluster does not serve: Karpenter's where it is not installed, and CapacityBuffers
    where no autoscaler keeps them.
    """
    every = frozenset({KARPENTER, KARPENTER_AWS, KARPENTER_AZURE, AUTOSCALING})
    present = _KARPENTER_GROUPS.get(cluster.cloud, frozenset()) if cluster.autoscaler == "karpenter" else frozenset()
    return every - present - ({AUTOSCALING} if cluster.keeps_buffers else frozenset())


def _model_in(world: World, reference: str) -> HubModel | None:
    """Return the model that an OCI artifact holds, or None."""
    image = world.find_image(reference)
    return world.weight_images.get(image.digest) if image else None
