"""One pod on one machine: sandbox, volumes, init containers, containers, probes, and the end.

The order of events and status writes is that of the recordings: nothing is reported between the acceptance of a pod and
the start of its first container, however long a pull takes; the pull of an image is charged to the first container that
uses it, which for a Ray worker is the init container `wait-gcs-ready`.
"""

import asyncio
from typing import Any, Final

from llm_provisioning_simulator.infra.containers import KILLED, Containers, end, is_ready_at_once
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine
from llm_provisioning_simulator.infra.mounts import mount_volumes
from llm_provisioning_simulator.infra.podreport import PodReport
from llm_provisioning_simulator.infra.podstatus import PodState
from llm_provisioning_simulator.infra.probes import Prober
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.runtime import Exit, PodRuntime

# What a pod that only pulls an image runs.
_ENDS_AT_ONCE: Final = (("true",), ("/bin/true",))
_DONE: Final = Exit(0, "Completed")


class PodLife:
    """A pod's life. `ending`: its deletion has been seen. `task`: what runs `run`."""

    def __init__(
        self, ctx: ClusterContext, machine: Machine, runtime: PodRuntime, pod: dict[str, Any], ip: str
    ) -> None:
        self._ctx = ctx
        self._runtime = runtime
        self._tasks = TaskGroup()
        self._report = PodReport(ctx, machine, pod)
        self._containers = Containers(ctx, machine, runtime, self._report, ip, self._tasks)
        self._prober = Prober(ctx, runtime, self._report, self._containers.kill)
        self.task: asyncio.Task[None] | None = None
        self.ending = False
        self.name: str = pod["metadata"]["name"]
        self.namespace: str = pod["metadata"]["namespace"]

    async def run(self) -> None:
        """Start everything in the pod, in order; returns when all containers run."""
        containers, report = self._containers, self._report
        await containers.pause("pod_seen_s")
        state = report.accept()
        if await mount_volumes(self._ctx, report):
            containers.pace.restart()
        await containers.pause("sandbox_s")
        await containers.pull_volumes()
        for container in state.init:
            await containers.run_init(state, container)
        for container in state.main:
            await containers.start_main(state, container)
        await containers.pause("status_report_s")
        for container in state.main:
            container.ready = is_ready_at_once(container)
        report.write()
        if report.pod["spec"].get("restartPolicy") == "Never":
            await self._complete(state)
        for container in state.main:
            if not container.completed and self._prober.has_work(container):
                self._tasks.start(self._prober.run(container))

    async def _complete(self, state: PodState) -> None:
        """End the containers whose whole command ends at once; a pod of which all have ended has succeeded."""
        for container in state.main:
            if tuple(container.container.get("command") or ()) in _ENDS_AT_ONCE:
                end(container, _DONE, self._report.now())
                container.ready = False
        if any(container.completed for container in state.main):
            await self._containers.pause("status_report_s")
            self._report.write()

    async def end(self) -> None:
        """Stop the pod as a kubelet does after a delete: SIGTERM, the grace period, SIGKILL, a last status."""
        ctx, report = self._ctx, self._report
        if self.task is not None:
            self.task.cancel()
        # A container that crashes now is not restarted; probes go on while the grace lasts (recordings).
        report.write()
        pod = report.pod
        running = [item for item in report.containers() if item.running]
        for container in running:
            report.event("Killing", f"Stopping container {container.name}", container)
        self._runtime.pod_stopped(pod)
        if running:
            await ctx.clock.sleep(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))
        await self._tasks.stop()
        for container in running:
            if container.running:
                end(container, KILLED, report.now())
            container.ready = False
        if report.state is not None and running:
            report.state.failed = True
            report.write()
        await ctx.pause("pod_removal_s")

    def stop(self) -> None:
        """End everything at once: the pod is gone."""
        if self.task is not None:
            self.task.cancel()
        self._tasks.cancel()
