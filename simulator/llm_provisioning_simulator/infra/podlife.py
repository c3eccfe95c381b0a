"""One pod on one machine: sandbox, images, init containers, containers, probes, and the end.

The order of events and status writes is that of the recordings: nothing is reported between the acceptance of a pod and
the start of its first container, however long a pull takes; the pull of an image is charged to the first container that
uses it, which for a Ray worker is the init container `wait-gcs-ready`.
"""

import asyncio
from typing import Any, Final

from llm_provisioning_simulator.infra.configs import missing_config
from llm_provisioning_simulator.infra.machines import ClusterContext, LocalImage, Machine
from llm_provisioning_simulator.infra.pace import Pace
from llm_provisioning_simulator.infra.podstatus import ContainerState, PodState
from llm_provisioning_simulator.infra.probes import probe_forever
from llm_provisioning_simulator.infra.pulls import ImagePuller, PullError
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.runtime import ContainerContext, PodRuntime
from llm_provisioning_simulator.world import digest_of

# SIGKILL: the shell that is PID 1 of Ray's containers ignores SIGTERM (recordings: exit code 137 after the grace).
_KILLED: Final = 137
# What a pod that only pulls an image runs.
_ENDS_AT_ONCE: Final = (("true",), ("/bin/true",))


class PodLife:
    """A pod's life. `ending`: its deletion has been seen. `task`: what runs `run`."""

    def __init__(
        self, ctx: ClusterContext, machine: Machine, runtime: PodRuntime, pod: dict[str, Any], ip: str
    ) -> None:
        self._ctx = ctx
        self._machine = machine
        self._runtime = runtime
        self._pod = pod
        self._ip = ip
        self._puller = ImagePuller(ctx, machine)
        self._pace = Pace(ctx.clock)
        self._tasks = TaskGroup()
        self._state: PodState | None = None
        self.task: asyncio.Task[None] | None = None
        self.ending = False
        self.name: str = pod["metadata"]["name"]
        self.namespace: str = pod["metadata"]["namespace"]

    async def run(self) -> None:
        """Start everything in the pod, in order; returns when all containers run."""
        ctx = self._ctx
        await self._pause("pod_seen_s")
        self._state = state = PodState.accepted(self._pod, self._machine.address, self._now())
        self._write()
        await self._pause("sandbox_s")
        for container in state.init:
            await self._run_init(state, container)
        for container in state.main:
            await self._start_main(state, container)
        await self._pause("status_report_s")
        for container in state.main:
            container.ready = "readinessProbe" not in container.container
        self._write()
        if self._pod["spec"].get("restartPolicy") == "Never":
            await self._complete(state)
        for container in state.main:
            if container.running and "readinessProbe" in container.container:
                self._tasks.start(probe_forever(ctx, self._runtime, self._stored, container, self._set_ready))

    async def _complete(self, state: PodState) -> None:
        """End the containers whose whole command ends at once; a pod of which all have ended has succeeded."""
        for container in state.main:
            if tuple(container.container.get("command") or ()) in _ENDS_AT_ONCE:
                self._terminate(container, 0, "Completed")
                container.ready = False
        if any(container.completed for container in state.main):
            await self._pause("status_report_s")
            self._write()

    async def end(self) -> None:
        """Stop the pod as a kubelet does after a delete: SIGTERM, the grace period, SIGKILL, a last status."""
        ctx = self._ctx
        if self.task is not None:
            self.task.cancel()
        self._write()
        pod = self._stored() or self._pod
        running = [item for item in self._all() if item.running]
        for container in running:
            self._event("Killing", f"Stopping container {container.name}", self._path(container))
        self._runtime.pod_stopped(pod)
        if running:
            await ctx.clock.sleep(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))
        await self._tasks.stop()
        for container in running:
            self._terminate(container, _KILLED, "Error")
            container.ready = False
        if self._state is not None and running:
            self._state.failed = True
            self._write()
        await ctx.pause("pod_removal_s")

    def stop(self) -> None:
        """End everything at once: the pod is gone."""
        if self.task is not None:
            self.task.cancel()
        self._tasks.cancel()

    async def _run_init(self, state: PodState, container: ContainerState) -> None:
        """Run one init container until it ends well."""
        ctx = self._ctx
        while True:
            local = await self._image(container)
            await self._create(container, local)
            state.ip = self._ip
            self._tasks.start(self._report_start(container))
            code = await self._runtime.run_init_container(self._context(container, local))
            self._pace.restart()
            self._terminate(container, code, "Completed" if code == 0 else "Error")
            container.ready = code == 0
            await self._pause("init_exit_seen_s")
            if code == 0:
                state.initialized = all(item.completed for item in state.init)
                return
            container.restarts += 1
            self._write()
            await ctx.clock.sleep(self._back_off_s(container.restarts))

    async def _start_main(self, state: PodState, container: ContainerState) -> None:
        local = await self._image(container)
        await self._create(container, local, report_between=bool(state.init))
        state.ip = self._ip
        self._runtime.container_started(self._context(container, local))

    async def _create(self, container: ContainerState, local: LocalImage, *, report_between: bool = False) -> None:
        """Create and start a container. The end of the init containers is first reported in between."""
        path = self._path(container)
        await self._pause("container_create_s")
        while (lacking := missing_config(self._ctx.store, self.namespace, container.container)) is not None:
            # CreateContainerConfigError (kubelet, kuberuntime): tried again at every sync of the pod.
            self._warn("Failed", f"Error: {lacking}", path)
            self._wait(container, "CreateContainerConfigError", lacking)
            await self._ctx.clock.sleep(self._ctx.profile.value("status_sync_s"))
            self._pace.restart()
        self._event("Created", f"Created container: {container.name}", path)
        if report_between:
            self._write()
        await self._pause("container_start_s")
        container.image = local.image
        container.identity = "containerd://" + digest_of(self._pod["metadata"]["uid"], container.name, self._now())[7:]
        container.state = {"running": {"startedAt": self._now()}}
        self._event("Started", f"Started container {container.name}", path)

    async def _report_start(self, container: ContainerState) -> None:
        """Report an init container's start, unless it has ended before the report."""
        await self._ctx.pause("status_report_s")
        if container.running:
            self._write()

    async def _image(self, container: ContainerState) -> LocalImage:
        """Get a container's image, however often that takes: ErrImagePull and ImagePullBackOff take turns."""
        attempt = 0
        while True:
            pod = self._stored() or self._pod
            try:
                local = await self._puller.ensure(pod, container.container, self._path(container))
            except PullError as error:
                attempt += 1
                await self._back_off(container, str(error), attempt)
            else:
                self._pace.restart()
                return local

    async def _back_off(self, container: ContainerState, message: str, attempt: int) -> None:
        reference, path = container.container["image"], self._path(container)
        self._warn("Failed", f'Failed to pull image "{reference}": {message}', path)
        self._warn("Failed", "Error: ErrImagePull", path)
        self._wait(container, "ErrImagePull", message)
        wait_s = self._back_off_s(attempt)
        await self._ctx.clock.sleep(min(2.0, wait_s / 2))
        text = f'Back-off pulling image "{reference}"'
        self._event("BackOff", text, path)
        self._warn("Failed", "Error: ImagePullBackOff", path)
        self._wait(container, "ImagePullBackOff", f"{text}: ErrImagePull: {message}")
        await self._ctx.clock.sleep(wait_s)

    def _back_off_s(self, attempt: int) -> float:
        profile = self._ctx.profile
        wanted_s = profile.value("image_back_off_s") * float(2 ** min(attempt - 1, 10))
        return min(wanted_s, profile.value("image_back_off_limit_s"))

    async def _pause(self, name: str) -> None:
        """Let a step of the pod's start pass."""
        await self._pace.wait(self._ctx.draw_s(name))

    def _wait(self, container: ContainerState, reason: str, message: str) -> None:
        container.state = {"waiting": {"reason": reason, "message": message}}
        self._write()

    def _context(self, container: ContainerState, local: LocalImage) -> ContainerContext:
        return ContainerContext(
            self._stored() or self._pod,
            container.container,
            self._machine.spec,
            local.image,
            local.delivery,
            self._ctx.profile.value("node_link_bytes_s"),
        )

    def _terminate(self, container: ContainerState, code: int, reason: str) -> None:
        container.state = {
            "terminated": {
                "exitCode": code,
                "reason": reason,
                "startedAt": container.state.get("running", {}).get("startedAt"),
                "finishedAt": self._now(),
                "containerID": container.identity,
            }
        }

    def _set_ready(self, container: ContainerState, ready: bool) -> None:
        container.ready = ready
        self._write()

    def _all(self) -> list[ContainerState]:
        return [*self._state.init, *self._state.main] if self._state else []

    def _path(self, container: ContainerState) -> str:
        init = self._state is not None and any(container is item for item in self._state.init)
        return f"spec.{'initContainers' if init else 'containers'}{{{container.name}}}"

    def _stored(self) -> dict[str, Any] | None:
        """Return the pod as it is stored now, to be read only: another one of the same name is not ours."""
        pod = self._ctx.store.peek("pods", self.name, self.namespace)
        return pod if pod and pod["metadata"]["uid"] == self._pod["metadata"]["uid"] else None

    def _write(self) -> None:
        state, pod = self._state, self._stored()
        if state is None or pod is None:
            return
        status = state.status(pod, self._now())

        def change(item: dict[str, Any]) -> None:
            item["status"] = status

        self._ctx.store.mutate("pods", self.name, self.namespace, change, subresource="status", manager="kubelet")

    def _warn(self, reason: str, message: str, path: str) -> None:
        self._event(reason, message, path, "Warning")

    def _event(self, reason: str, message: str, path: str, type_: str = "Normal") -> None:
        self._ctx.store.record_event(
            self._stored() or self._pod,
            reason,
            message,
            component="kubelet",
            style="kubelet",
            type_=type_,
            field_path=path,
            host=self._machine.name,
        )

    def _now(self) -> str:
        return stamp(self._ctx.clock.now())
