"""The Python programs that a treatment's Job or init container runs, known by the library calls in them.

A Job may download a model's snapshot to a volume (huggingface_hub), or start Serve's applications and put what vLLM has
compiled into an archive on a volume; an init container may unpack such an archive. A shell may print a line. They know
no treatment.
"""

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llm_provisioning_simulator.app.application import applications
from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.logs import PodLogs
from llm_provisioning_simulator.app.ray import RayNode
from llm_provisioning_simulator.app.replica import Replica, ReplicaError, ReplicaStart
from llm_provisioning_simulator.app.volumes import Archive, VolumeCaches
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.hub import HubModel
from llm_provisioning_simulator.runtime import ContainerContext, Exit
from llm_provisioning_simulator.world import digest_of

_STARTS: Final = 4


@dataclass(frozen=True, slots=True)
class Programs:
    """Runs them. `engine`: returns the node of a Ray cluster of one pod, and what starts replicas there."""

    clock: SimClock
    costs: Costs
    models: Mapping[str, HubModel]
    volumes: VolumeCaches
    engine: Callable[[ContainerContext], tuple[RayNode, ReplicaStart]]

    def of(self, ctx: ContainerContext, logs: PodLogs) -> Coroutine[Any, Any, Exit] | None:
        """Return the run of a container's program to its end; None for a program that is not one of these."""
        code, args = _code(ctx.container)
        if "snapshot_download(" in code and len(args) == 3:
            return self._download(ctx, logs, *args)
        if "/api/serve/applications/" in code and "torch_compile_cache" in code and len(args) == 3:
            return self._compile(ctx, logs, *args)
        told = _echoed(ctx.container)
        return None if told is None else self._echo(ctx, logs, told)

    async def unpack(self, ctx: ContainerContext, logs: PodLogs) -> Exit | None:
        """Run an init container that unpacks an archive of compiled graphs to its end; None for any other."""
        code, args = _code(ctx.container)
        if "extractall(" not in code or len(args) != 2:
            return None
        archive = self.volumes.archive_at(ctx, args[0])
        if archive is None:
            told: dict[str, Any] = {
                "error": f"FileNotFoundError: [Errno 2] No such file or directory: '{args[0]}'",
            }
        else:
            await self.clock.sleep(archive.size_bytes / self._rate(ctx))
            for entry in archive.entries:
                self.volumes.keep(ctx, args[1], entry)
            told = {"digest": archive.digest, "bytes": archive.size_bytes}
        logs.output(json.dumps(told), ctx.container["name"])
        return Exit(0, "Completed", json.dumps(told))

    async def _echo(self, ctx: ContainerContext, logs: PodLogs, told: str) -> Exit:
        logs.output(told, ctx.container["name"])
        return Exit(0, "Completed")

    async def _download(self, ctx: ContainerContext, logs: PodLogs, name: str, revision: str, folder: str) -> Exit:
        """Download, read back and tell. What is written goes over the network to a shared volume."""
        model, costs = self.models.get(name), self.costs
        if model is None:
            logs.output(
                f"huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. Repository not found: {name}"
            )
            return Exit(1)
        rate = min(
            costs.draw("hub_node_bytes_s"), costs.draw("shared_volume_bytes_s"), ctx.network_bytes_s or float("inf")
        )
        await self.clock.sleep(costs.draw("hub_metadata_s") + 2 * model.weight_bytes / rate)
        self.volumes.fill(ctx, folder, model)
        told = {"model": name, "revision": revision, "bytes": model.weight_bytes, "files": len(model.weight_files)}
        logs.output("LLM-PREPARED " + json.dumps({**told, "digest": digest_of(name, sorted(model.files.items()))}))
        return Exit(0, "Completed")

    async def _compile(self, ctx: ContainerContext, logs: PodLogs, config: str, archive: str, root: str) -> Exit:
        """Start the applications until the engine finds its graphs, write the archive, read it back and tell."""
        node, start = self.engine(ctx)
        await start.cluster.start_node(node)
        try:
            starts, engine = await self._started(node, start, json.loads(config))
        except ReplicaError as error:
            logs.output(str(error))
            return Exit(1)
        made = Archive(self.volumes.entries(ctx, root), round(self.costs.draw("compile_cache_bytes")))
        await self.clock.sleep(2 * made.size_bytes / self._rate(ctx))
        self.volumes.pack(ctx, archive, made)
        told = {
            "digest": made.digest,
            "bytes": made.size_bytes,
            "keys": sorted({entry.split("/")[1] for entry in made.entries}),
            "starts": starts,
            "gpu": ", ".join(ctx.node.gpu) or None,
            "vllm": engine,
            "torch": node.ctx.image.packages.get("torch"),
        }
        logs.output("LLM-PREPARED " + json.dumps({archive.split("/")[-2]: told}))
        return Exit(0, "Completed")

    async def _started(self, node: RayNode, start: ReplicaStart, config: Mapping[str, Any]) -> tuple[int, str | None]:
        """Start the applications again and again; return at which start the engine found all of its graphs, and its
        release as it prints it.
        """
        for turn in range(1, _STARTS + 1):
            lines = await self._start(node, start, config)
            text = "\n".join(lines)
            if "Directly load the compiled graph" in text and "Compiling a graph for" not in text:
                engine = re.search(r"LLM engine \(v([^)\s]+)\)", text)
                return turn, engine.group(1) if engine else None
        raise ReplicaError(f"The engine did not find its own compiled graphs in {_STARTS} starts: {lines[-1:]}")

    async def _start(self, node: RayNode, start: ReplicaStart, config: Mapping[str, Any]) -> list[str]:
        """Start every deployment once; return what engines wrote meanwhile."""
        before = set(node.logs.files)
        for application in applications(config):
            for deployment in application.deployments:
                replica = Replica(start.cluster.hex(8), application, deployment, self.clock.now())
                packages = await start.prepare(replica, node)
                await start.construct(replica, packages)
        return [line for name, lines in node.logs.files.items() if name not in before for line in lines]

    def _rate(self, ctx: ContainerContext) -> float:
        """Return the rate of the slowest on the way: the volume, the node's link, the core that hashes and writes."""
        limit = min(self.costs.draw("shared_volume_bytes_s"), self.costs.draw("archive_bytes_s"))
        return min(limit, ctx.network_bytes_s or float("inf"))


def _echoed(container: Mapping[str, Any]) -> str | None:
    """Return what a shell's `echo '...'` prints, or None for any other program."""
    command = [str(part) for part in container.get("command") or ()]
    if command[:2] != ["sh", "-c"] or len(command) != 3 or not command[2].startswith("echo '"):
        return None
    return command[2].removeprefix("echo ").strip("'")


def _code(container: Mapping[str, Any]) -> tuple[str, list[str]]:
    return " ".join(container.get("command") or ()), [str(item) for item in container.get("args") or ()]
