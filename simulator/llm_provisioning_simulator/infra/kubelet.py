"""The kubelets of one cluster: one task for every pod that is bound to a machine, from its binding to its end.

Knows pods, images and probes; what runs inside a container is the PodRuntime's business.
"""

from typing import Any

from llm_provisioning_simulator.infra.deviceplugin import is_plugin, owned_by_daemonset
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine
from llm_provisioning_simulator.infra.podlife import PodLife
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.runtime import PodRuntime


class Kubelets:
    """Every kubelet of a cluster. `machines`: name -> machine, kept by the fleet."""

    def __init__(self, ctx: ClusterContext, machines: dict[str, Machine], runtime: PodRuntime) -> None:
        self._ctx = ctx
        self._machines = machines
        self._runtime = runtime
        self._tasks = TaskGroup()
        self._lives: dict[str, PodLife] = {}
        self._last_ip = 3

    async def run(self) -> None:
        """Follow the pods until cancelled; everything of them ends with it."""
        try:
            async for type_, resource, item in self._ctx.store.subscribe("pods", "nodes"):
                if resource == "nodes":
                    self._on_node(type_, item)
                elif type_ == "DELETED":
                    self._gone(item)
                else:
                    self._on_pod(item)
        finally:
            await self._tasks.stop()

    def _on_pod(self, pod: dict[str, Any]) -> None:
        node = pod["spec"].get("nodeName")
        if not node or is_plugin(pod):
            return
        life = self._lives.get(pod["metadata"]["uid"])
        if life is None:
            machine = self._machines.get(node)
            if machine is not None and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded"):
                self._begin(pod, machine)
        elif pod["metadata"].get("deletionTimestamp") and not life.ending:
            life.ending = True
            self._tasks.start(self._end(life))

    def _begin(self, pod: dict[str, Any], machine: Machine) -> None:
        self._last_ip += 1
        ip = f"10.244.{self._last_ip // 250}.{self._last_ip % 250 + 1}"
        life = PodLife(self._ctx, machine, self._runtime, pod, ip)
        self._lives[pod["metadata"]["uid"]] = life
        life.task = self._tasks.start(life.run())

    async def _end(self, life: PodLife) -> None:
        """Let a deleted pod end within its grace, then take it out."""
        await life.end()
        self._ctx.store.remove("pods", life.name, life.namespace)

    def _on_node(self, type_: str, node: dict[str, Any]) -> None:
        """Pods of a node that is gone are garbage; the real collector takes them some seconds later."""
        if type_ != "DELETED":
            return
        name = node["metadata"]["name"]
        for pod in self._ctx.store.peek_all("pods"):
            if pod["spec"].get("nodeName") == name and not owned_by_daemonset(pod):
                self._ctx.store.remove("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])

    def _gone(self, pod: dict[str, Any]) -> None:
        life = self._lives.pop(pod["metadata"]["uid"], None)
        if life is not None:
            life.stop()
        self._runtime.pod_stopped(pod)
