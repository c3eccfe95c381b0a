"""The containers of one pod, each from its image to its end, and again from there: creation, start, restarts.

Order and texts are those of the recordings of kubelet 1.34 (`llm-oom`, `llm-head-crash2`): the first end is followed by
a restart at once; from the second on the container waits as CrashLoopBackOff for 10 s, doubled up to 5 minutes. A run
of ten minutes makes the back-off begin anew (kubelet, MaxContainerBackOff and its reset after twice that).
"""

import asyncio
from typing import Any, Final

from llm_provisioning_simulator.infra.configs import missing_config
from llm_provisioning_simulator.infra.durations import go_duration
from llm_provisioning_simulator.infra.machines import ClusterContext, LocalImage, Machine
from llm_provisioning_simulator.infra.pace import Pace
from llm_provisioning_simulator.infra.podreport import PodReport, full_name
from llm_provisioning_simulator.infra.podstatus import ContainerState, PodState
from llm_provisioning_simulator.infra.pulls import ImagePuller, PullError
from llm_provisioning_simulator.infra.starts import start_error
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.kube.stamps import parse_stamp
from llm_provisioning_simulator.runtime import ContainerContext, Exit, PodRuntime
from llm_provisioning_simulator.world import digest_of

KILLED: Final = Exit(137)
"""SIGKILL: the shell that is PID 1 of Ray's containers ignores SIGTERM (recordings: exit code 137 after the grace)."""
_START_ERROR: Final = 128
_BEGINNING_OF_TIME: Final = "1970-01-01T00:00:00Z"


class Containers:
    """Runs the containers of one pod."""

    def __init__(
        self, ctx: ClusterContext, machine: Machine, runtime: PodRuntime, report: PodReport, ip: str, tasks: TaskGroup
    ) -> None:
        self._ctx = ctx
        self._machine = machine
        self._runtime = runtime
        self._report = report
        self._ip = ip
        self._tasks = tasks
        self._puller = ImagePuller(ctx, machine)
        self._kills: dict[str, asyncio.Future[None]] = {}
        self.pace = Pace(ctx.clock)

    async def pull_volumes(self) -> None:
        """Pull the images of the pod's volumes, one after the other, before any container (kubelet 1.33 to 1.35)."""
        pod = self._report.pod
        for volume in pod["spec"].get("volumes") or ():
            told = volume.get("image")
            attempt = 0
            while told:
                wanted = {"image": told["reference"], "imagePullPolicy": told.get("pullPolicy", "IfNotPresent")}
                try:
                    await self._puller.ensure(pod, wanted, "")
                except PullError as error:
                    attempt += 1
                    self._report.warn("Failed", f'Failed to pull image "{wanted["image"]}": {error}')
                    await self._ctx.clock.sleep(self._image_back_off_s(attempt))
                else:
                    self.pace.restart()
                    break

    async def run_init(self, state: PodState, container: ContainerState) -> None:
        """Run one init container until it ends well."""
        failures = 0
        while True:
            local = await self._image(container)
            if await self._create(container, local):
                state.ip = self._ip
                self._tasks.start(self._report_start(container))
                ended = await self._runtime.run_init_container(self._context(container, local))
                if not isinstance(ended, Exit):
                    ended = Exit(ended, "Completed" if ended == 0 else "Error")
                self.pace.restart()
                end(container, ended, self._report.now())
                container.ready = ended.code == 0
                await self.pause("init_exit_seen_s")
                if ended.code == 0:
                    state.initialized = all(item.completed for item in state.init)
                    return
            state.ip = self._ip
            failures += 1
            self._report.write()
            await self._back_off(container, failures)
            _restarted(container)

    async def start_main(self, state: PodState, container: ContainerState) -> None:
        """Start a main container for the first time, and keep it running from then on."""
        local = await self._image(container)
        started = await self._create(container, local, report_between=bool(state.init))
        state.ip = self._ip
        ending = self._runtime.container_started(self._context(container, local)) if started else None
        if ending is not None or not started or _may_be_killed(container):
            self._tasks.start(self._keep(state, container, ending, started=started))

    def kill(self, container: ContainerState, probe: str) -> None:
        """Kill a container whose probe failed too often; it is restarted after its grace."""
        waiting = self._kills.get(container.name)
        if waiting is None or waiting.done():
            return
        text = f"Container {container.name} failed {probe} probe, will be restarted"
        self._report.event("Killing", text, container)
        waiting.set_result(None)

    async def pause(self, name: str) -> None:
        """Let a step of the pod's start pass."""
        await self.pace.wait(self._ctx.draw_s(name))

    async def _keep(
        self, state: PodState, container: ContainerState, ending: asyncio.Future[Exit] | None, *, started: bool
    ) -> None:
        """See every end of a main container and start it again, as the pod's restart policy says."""
        ctx, failures = self._ctx, 0
        while True:
            if started:
                exit_ = await self._end_of(container, ending)
                await ctx.clock.sleep(ctx.profile.value("container_exit_seen_s"))
                failures = 0 if self._ran_s(container) >= ctx.profile.value("crash_reset_s") else failures
                end(container, exit_, self._report.now())
                container.ready = False
                if not _restarts(self._report.pod, exit_):
                    state.failed = state.failed or _all_ended_one_badly(state)
                    self._report.write()
                    return
            failures += 1
            self._report.write()
            await self._back_off(container, failures)
            if self._report.pod["metadata"].get("deletionTimestamp"):
                return
            local = await self._image(container)
            _restarted(container)
            started = await self._create(container, local)
            ending = self._runtime.container_started(self._context(container, local)) if started else None
            if started:
                await ctx.clock.sleep(ctx.profile.value("status_report_s"))
                container.ready = is_ready_at_once(container)
                self._report.write()

    async def _end_of(self, container: ContainerState, ending: asyncio.Future[Exit] | None) -> Exit:
        """Wait until a container has ended by itself, or was killed and its grace is over."""
        killed = self._kills[container.name]
        waiting: set[asyncio.Future[Any]] = {killed} if ending is None else {killed, ending}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if ending is not None and ending.done():
            return ending.result()
        grace_s = float(self._report.pod["spec"].get("terminationGracePeriodSeconds") or 0)
        await self._ctx.clock.sleep(grace_s)
        self._runtime.container_ended(self._report.pod, container.name)
        return KILLED

    async def _create(self, container: ContainerState, local: LocalImage, *, report_between: bool = False) -> bool:
        """Create and start a container; tell whether it runs. The end of the init containers is first reported in
        between.
        """
        ctx, report = self._ctx, self._report
        await self.pause("container_create_s")
        namespace = report.pod["metadata"]["namespace"]
        while (lacking := missing_config(ctx.store, namespace, container.container)) is not None:
            # CreateContainerConfigError (kubelet, kuberuntime): tried again at every sync of the pod.
            report.warn("Failed", f"Error: {lacking}", container)
            report.wait(container, "CreateContainerConfigError", lacking)
            await ctx.clock.sleep(ctx.profile.value("status_sync_s"))
            self.pace.restart()
        report.event("Created", f"Created container: {container.name}", container)
        if report_between:
            report.write()
        await self.pause("container_start_s")
        container.image = local.image
        container.identity = (
            "containerd://" + digest_of(report.pod["metadata"]["uid"], container.name, report.now())[7:]
        )
        refused = start_error(ctx.faults, container.container, local.image)
        if refused is not None:
            self._refused(container, refused)
            return False
        container.awaited = "startupProbe" in container.container
        self._kills[container.name] = asyncio.get_running_loop().create_future()
        container.state = {"running": {"startedAt": report.now()}}
        report.event("Started", f"Started container {container.name}", container)
        return True

    def _refused(self, container: ContainerState, message: str) -> None:
        """Say that the runtime could not start a container: its last run is one that never began."""
        report = self._report
        report.warn("Failed", f"Error: {message}", container)
        container.last_state = {
            "terminated": {
                "exitCode": _START_ERROR,
                "reason": "StartError",
                "message": message,
                "startedAt": _BEGINNING_OF_TIME,
                "finishedAt": report.now(),
                "containerID": container.identity,
            }
        }
        container.state = {"waiting": {"reason": "RunContainerError", "message": message}}

    async def _report_start(self, container: ContainerState) -> None:
        """Report an init container's start, unless it has ended before the report."""
        await self._ctx.pause("status_report_s")
        if container.running:
            self._report.write()

    async def _back_off(self, container: ContainerState, failures: int) -> None:
        """Wait before a restart: not at all after the first failure."""
        ctx, report = self._ctx, self._report
        if failures > 1:
            wait_s = self._crash_back_off_s(failures)
            name = full_name(report.pod)
            warning = f"Back-off restarting failed container {container.name} in pod {name}"
            report.warn("BackOff", warning, container)
            await ctx.clock.sleep(ctx.profile.value("crash_seen_s"))
            if "terminated" in container.state:
                container.last_state = container.state
            message = f"back-off {go_duration(wait_s)} restarting failed container={container.name} pod={name}"
            report.wait(container, "CrashLoopBackOff", message)
            report.warn("BackOff", warning, container)
            sync_s = ctx.profile.value("crash_sync_s")
            while wait_s > sync_s:
                await ctx.clock.sleep(sync_s)
                wait_s -= sync_s
                report.warn("BackOff", warning, container)
            await ctx.clock.sleep(wait_s)
        self.pace.restart()

    async def _image(self, container: ContainerState) -> LocalImage:
        """Get a container's image, however often that takes: ErrImagePull and ImagePullBackOff take turns."""
        attempt = 0
        while True:
            try:
                local = await self._puller.ensure(self._report.pod, container.container, self._report.path(container))
            except PullError as error:
                attempt += 1
                await self._image_back_off(container, error, attempt)
            else:
                self.pace.restart()
                return local

    async def _image_back_off(self, container: ContainerState, error: PullError, attempt: int) -> None:
        ctx, report = self._ctx, self._report
        reference, message = container.container["image"], str(error)
        asked = error.reason == "ErrImagePull"
        report.warn(error.event, f'Failed to pull image "{reference}": {message}' if asked else message, container)
        report.warn("Failed", f"Error: {error.reason}", container)
        report.wait(container, error.reason, message)
        if not asked:
            # No registry was asked: tried again at every sync of the pod, without a back-off.
            await ctx.clock.sleep(ctx.profile.value("status_sync_s"))
            return
        wait_s = self._image_back_off_s(attempt)
        await ctx.clock.sleep(min(2.0, wait_s / 2))
        text = f'Back-off pulling image "{reference}"'
        report.event("BackOff", text, container)
        report.warn("Failed", "Error: ImagePullBackOff", container)
        report.wait(container, "ImagePullBackOff", f"{text}: ErrImagePull: {message}")
        await ctx.clock.sleep(wait_s)

    def _image_back_off_s(self, attempt: int) -> float:
        profile = self._ctx.profile
        wanted_s = profile.value("image_back_off_s") * float(2 ** min(attempt - 1, 10))
        return min(wanted_s, profile.value("image_back_off_limit_s"))

    def _crash_back_off_s(self, failures: int) -> float:
        profile = self._ctx.profile
        wanted_s = profile.value("crash_back_off_s") * float(2 ** min(failures - 2, 10))
        return min(wanted_s, profile.value("crash_back_off_limit_s"))

    def _ran_s(self, container: ContainerState) -> float:
        started_at = parse_stamp(container.state.get("running", {}).get("startedAt"))
        return 0.0 if started_at is None else (self._ctx.clock.now() - started_at).total_seconds()

    def _context(self, container: ContainerState, local: LocalImage) -> ContainerContext:
        return ContainerContext(
            self._report.pod,
            container.container,
            self._machine.spec,
            local.image,
            local.delivery,
            self._ctx.profile.value("node_link_bytes_s"),
        )


def end(container: ContainerState, exit_: Exit, at: str) -> None:
    """Note the end of a container's run."""
    container.state = {
        "terminated": {
            "exitCode": exit_.code,
            "reason": exit_.reason,
            **({"message": exit_.message} if exit_.message else {}),
            "startedAt": container.state.get("running", {}).get("startedAt"),
            "finishedAt": at,
            "containerID": container.identity,
        }
    }


def is_ready_at_once(container: ContainerState) -> bool:
    """Tell whether a container counts as ready as soon as it runs: no probe says when it is."""
    return container.running and not container.awaited and "readinessProbe" not in container.container


def _restarted(container: ContainerState) -> None:
    """Begin another run: what has just ended becomes the last state."""
    if "terminated" in container.state:
        container.last_state = container.state
    container.restarts += 1


def _restarts(pod: dict[str, Any], exit_: Exit) -> bool:
    policy = pod["spec"].get("restartPolicy", "Always")
    return policy == "Always" or (policy == "OnFailure" and exit_.code != 0)


def _all_ended_one_badly(state: PodState) -> bool:
    ends = [item.state.get("terminated") for item in state.main]
    return all(ends) and any(item["exitCode"] for item in ends if item)


def _may_be_killed(container: ContainerState) -> bool:
    return bool(container.container.keys() & {"livenessProbe", "startupProbe"})
