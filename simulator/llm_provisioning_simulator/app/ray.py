"""Ray's processes inside the pods of one RayCluster: head, workers, runtime environments.

Nodes join, read their image's content the first time, and make runtime environments; what Serve does with them is in
`serve`, what the autoscaler asks for in `autoscaler`. It must not know Kubernetes objects beyond the pod it runs in.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from llm_provisioning_simulator.app.costs import Costs, FirstTouch
from llm_provisioning_simulator.app.logs import PodLogs
from llm_provisioning_simulator.app.packages import Installation, RuntimeEnv, installation
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.runtime import ContainerContext, Exit

JOB_ID: Final = "01000000"


class RuntimeEnvError(RuntimeError):
    """A runtime environment could not be made; the text is Ray's."""


@dataclass(slots=True, eq=False)
class RayNode:
    """The Ray processes of one pod. `joined_at` is None until the raylet runs; `ready` is the agent's health."""

    ctx: ContainerContext
    address: Callable[[], str] = field(repr=False)
    node_id: str
    head: bool
    group: str
    logs: PodLogs
    joined_at: datetime | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    pids: int = 100
    proxy: dict[str, Any] | None = None
    """The Serve proxy on this node as the REST API shows it."""
    environments: dict[RuntimeEnv, "asyncio.Future[Installation]"] = field(default_factory=dict)
    env_records: list[dict[str, Any]] = field(default_factory=list)
    actors: list[dict[str, Any]] = field(default_factory=list)
    ended: Exit | None = None
    """How its container ended by itself, or was ended by the kernel or its kubelet; None while it runs, and for a pod
    that was deleted.
    """
    killed: "asyncio.Future[Exit]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Resolved by what ends the container's first process."""
    agent_silent: bool = False
    _capacity: dict[str, float] | None = None

    @property
    def ip(self) -> str:
        """The pod's address."""
        return self.address()

    @property
    def pod_name(self) -> str:
        """The pod's name; Ray calls it instance id."""
        return str(self.ctx.pod["metadata"]["name"])

    @property
    def running(self) -> bool:
        """Whether the raylet runs."""
        return self.joined_at is not None and not self.stopped.is_set()

    @property
    def alive(self) -> bool:
        """Whether its agent answers: the shell that is PID 1 ignores SIGTERM, so that it does until it is killed
        (recordings).
        """
        return self.joined_at is not None and self.ended is None

    def end(self, exit_: Exit) -> None:
        """End the container's first process, and every process of Ray with it."""
        self.ended = exit_
        self.stopped.set()
        if not self.killed.done():
            self.killed.set_result(exit_)

    @property
    def env(self) -> dict[str, str]:
        """The container's variables: the image's, overridden by the pod's."""
        written = {item["name"]: item["value"] for item in self.ctx.container.get("env") or () if "value" in item}
        return {**self.ctx.image.env, **written}

    @property
    def capacity(self) -> dict[str, float]:
        """What Ray schedules on the node: the flags of its start command. CPUs without a flag are not limited here."""
        if self._capacity is None:
            flags = _flags(self.ctx.container)
            self._capacity = {"CPU": float(flags.get("num-cpus", "inf")), "GPU": float(flags.get("num-gpus", 0))}
        return self._capacity

    def next_pid(self) -> int:
        """Return the id of a process that starts now."""
        self.pids += 31
        return self.pids


class RayCluster:
    """All Ray nodes of one cluster, as their head knows them."""

    def __init__(self, name: str, clock: SimClock, costs: Costs, touch: FirstTouch) -> None:
        self.name = name
        self.clock = clock
        self.costs = costs
        self.touch = touch
        self.nodes: dict[str, RayNode] = {}
        """pod uid -> node, also of those that stopped."""
        self.session = ""
        self.on_join: list[Callable[[RayNode], None]] = []

    @property
    def head(self) -> RayNode | None:
        """The running head, or None."""
        return next((node for node in self.nodes.values() if node.head and node.running), None)

    def workers(self) -> list[RayNode]:
        """Return the running workers."""
        return [node for node in self.nodes.values() if not node.head and node.running]

    def hex(self, length: int) -> str:
        """Return a made-up id, seeded."""
        return f"{self.costs.rng.getrandbits(4 * length):0{length}x}"

    def actor_id(self) -> str:
        """Return a made-up actor id of the cluster's one job."""
        return self.hex(24) + JOB_ID

    async def start_node(self, node: RayNode) -> None:
        """Run `ray start` in a pod: read Ray from the image, start, join."""
        logs = node.logs
        logs.output("/bin/bash: line 1: ulimit: open files: cannot modify limit: Operation not permitted")
        await self.touch.read(node.ctx, "ray", self.costs.value("ray_content_bytes"))
        if node.head:
            self.session = f"session_{self.clock.now():%Y-%m-%d_%H-%M-%S_%f}_1"
        else:
            await self._wait_for_head()
        logs.cli(f"Local node IP: {node.ip}", source="scripts.py:1043" if node.head else "scripts.py:1234")
        await self.clock.sleep(self.costs.draw("head_start_s" if node.head else "worker_start_s"))
        node.joined_at = self.clock.now()
        logs.cli("Ray runtime started.", "SUCC", "scripts.py:1085" if node.head else "scripts.py:1251")
        logs.write("raylet.out", f"[{node.joined_at:%Y-%m-%d %H:%M:%S},000 I 1 1] (raylet) Raylet started")
        for notify in tuple(self.on_join):
            notify(node)

    async def _wait_for_head(self) -> None:
        while self.head is None:
            await self.clock.sleep(1.0)

    async def environment(self, node: RayNode, wanted: RuntimeEnv) -> Installation:
        """Return what a process with this runtime_env can import on a node, making it on first use.

        Raises RuntimeEnvError where a requirement cannot be read.
        """
        if (made := node.environments.get(wanted)) is not None:
            return await asyncio.shield(made)
        future: asyncio.Future[Installation] = asyncio.get_running_loop().create_future()
        node.environments[wanted] = future
        try:
            result = await self._make_environment(node, wanted)
        except BaseException as error:
            node.environments.pop(wanted, None)
            # All waiters share one result. Without waiters the exception is dropped.
            future.set_exception(error if isinstance(error, RuntimeEnvError) else RuntimeEnvError("interrupted"))
            future.exception()
            raise
        future.set_result(result)
        return result

    async def _make_environment(self, node: RayNode, wanted: RuntimeEnv) -> Installation:
        began = self.clock.now()
        log = f"runtime_env_setup-{JOB_ID}.log"
        if wanted.working_dir:
            node.logs.write(log, f"Fetching URI {wanted.working_dir}")
            await self.clock.sleep(self.costs.draw("working_dir_s"))
        try:
            made = installation(node.ctx.image.packages, wanted.pip)
        except ValueError as error:
            self._record(node, wanted, began, success=False)
            raise RuntimeEnvError(f"Failed to set up runtime environment.\n{error}") from error
        if wanted.pip:
            node.logs.write(log, f"Installing python requirements to virtualenv: {' '.join(wanted.pip)}")
            await self.clock.sleep(self.costs.draw("runtime_env_base_s") + self._pip_s(node, made))
            node.logs.write(log, f"Successfully installed {' '.join(made.added) or 'nothing new'}")
        if wanted.as_dict():
            self._record(node, wanted, began, success=True)
        return made

    def _pip_s(self, node: RayNode, made: Installation) -> float:
        rate = min(self.costs.draw("pypi_bytes_s"), node.ctx.network_bytes_s or float("inf"))
        return made.seconds(
            rate_bytes_s=rate,
            disk_bytes_s=self.costs.value("disk_write_bytes_s") * node.ctx.node.disk_speed,
            dirty_bytes=self.costs.value("dirty_page_bytes"),
        )

    def _record(self, node: RayNode, wanted: RuntimeEnv, began: datetime, *, success: bool) -> None:
        node.env_records.append(
            {
                "runtime_env": wanted.as_dict(),
                "success": success,
                "creation_time_ms": round((self.clock.now() - began).total_seconds() * 1000),
                "node_id": node.node_id,
                "ref_cnt": 1,
                "error": None if success else "Failed to set up runtime environment.",
            }
        )


def resources_total(node: RayNode) -> dict[str, float]:
    """Return a node's resources as the state API shows them, from the flags KubeRay wrote into its start command."""
    flags = _flags(node.ctx.container)
    total = {f"node:{node.ip}": 1.0}
    if node.head:
        total["node:__internal_head__"] = 1.0
    for flag, key in (("num-cpus", "CPU"), ("num-gpus", "GPU"), ("memory", "memory")):
        if float(flags.get(flag, 0)):
            total[key] = float(flags[flag])
    total["object_store_memory"] = float(flags.get("object-store-memory", 0)) or 0.3 * total.get("memory", 1e9)
    return total


def _flags(container: Mapping[str, Any]) -> dict[str, str]:
    words = " ".join(container.get("args") or ()).split()
    pairs = (word[2:].partition("=") for word in words if word.startswith("--") and "=" in word)
    return {key: value for key, _, value in pairs}
