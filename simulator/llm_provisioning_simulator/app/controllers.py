"""What runs on top of a simulated Kubernetes cluster: the KubeRay operator and the processes in Ray's pods."""

import random
from collections.abc import Coroutine
from typing import Any

from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.kuberay import RayServiceController
from llm_provisioning_simulator.app.limits import unsimulated
from llm_provisioning_simulator.app.outside import Outside
from llm_provisioning_simulator.app.raycluster import RayClusterController
from llm_provisioning_simulator.app.runtime import RayRuntime
from llm_provisioning_simulator.app.webhooks import pod_gate
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.profiles import Profile


class ApplicationLayer:
    """The operator's two controllers and the runtime of the pods.

    `runtime` is what the kubelets (PodRuntime) and the API server's proxy (ProxyBackend) are given.
    """

    def __init__(
        self,
        store: ObjectStore,
        clock: SimClock,
        profile: Profile,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        outside: Outside | None = None,
    ) -> None:
        faults = faults or Faults()
        store.limits["rayservices"] = unsimulated
        store.gates["pods"] = pod_gate(faults)
        self.runtime = RayRuntime(store, clock, profile, seed=seed, faults=faults, outside=outside)
        costs = Costs(profile, random.Random(f"{seed}/operator"))
        self._controllers = (
            RayServiceController(store, clock, costs, faults, self.runtime),
            RayClusterController(store, clock, costs, faults),
        )
        self._tasks = TaskGroup()

    def controllers(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return the controllers' loops, to be run as tasks; each ends when it is cancelled."""
        return tuple(controller.run() for controller in self._controllers)

    async def start(self) -> None:
        """Run the controllers until `stop`."""
        for loop in self.controllers():
            self._tasks.start(loop)

    async def stop(self) -> None:
        """Stop the controllers and every process in the pods. Raises what one of them failed with."""
        try:
            await self._tasks.stop()
        finally:
            await self.runtime.stop()
