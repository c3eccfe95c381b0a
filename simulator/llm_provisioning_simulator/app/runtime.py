"""The processes in the pods of one simulated cluster, as its kubelets, its API server and its operator see them.

Implements PodRuntime (kubelets) and ProxyBackend (the API server). A pod is Ray's by KubeRay's labels; any other
container simply runs. It must not know how pods come to be or how images reach nodes.
"""

import asyncio
import random
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, Final

from llm_provisioning_simulator.app.autoscaler import CONTAINER as AUTOSCALER
from llm_provisioning_simulator.app.autoscaler import ClusterSpec, run_autoscaler
from llm_provisioning_simulator.app.code import CodeHost
from llm_provisioning_simulator.app.costs import Costs, FirstTouch
from llm_provisioning_simulator.app.dashboard import dashboard
from llm_provisioning_simulator.app.dragonfly import DragonflyPods
from llm_provisioning_simulator.app.logs import PodLogs
from llm_provisioning_simulator.app.outside import Outside
from llm_provisioning_simulator.app.probes import DASHBOARD_PORT, SERVE_PORT, probe_failure
from llm_provisioning_simulator.app.programs import Programs
from llm_provisioning_simulator.app.ray import RayCluster, RayNode
from llm_provisioning_simulator.app.replica import ReplicaStart
from llm_provisioning_simulator.app.serve import ServeController
from llm_provisioning_simulator.app.serve_port import ServePort, proxy_healthy
from llm_provisioning_simulator.app.startup import (
    UNREACHED,
    FailedStart,
    failed_start,
    never_starts,
    waits_for_port,
)
from llm_provisioning_simulator.app.volumes import VolumeCaches
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.kube.backend import Answer, PodRequest
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.profiles import Profile
from llm_provisioning_simulator.runtime import ContainerContext, Exit, ProbeKind

_IMPORT_FAULT: Final = "ModuleNotFoundError: No module named 'this_module_does_not_exist_llm'"
_CRASH: Final = "RuntimeError: the constructor was made to fail"


class _RayClusterObject:
    """The RayCluster as the autoscaler reads and patches it."""

    def __init__(self, store: ObjectStore, namespace: str, name: str) -> None:
        self._store, self._namespace, self._name = store, namespace, name

    def read(self) -> dict[str, Any] | None:
        """Return the RayCluster, to be read only, or None when it is gone."""
        return self._store.peek("rayclusters", self._name, self._namespace)

    def patch_replicas(self, group: str, replicas: int) -> None:
        """Set one worker group's replicas."""

        def change(cluster: dict[str, Any]) -> None:
            for item in cluster["spec"]["workerGroupSpecs"]:
                if item["groupName"] == group:
                    item["replicas"] = replicas

        self._store.mutate("rayclusters", self._name, self._namespace, change, manager="python-requests")


class RayRuntime:
    """All Ray clusters of one Kubernetes cluster. `code`: what the addresses of applications' code lead to."""

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
        self._outside = outside or Outside()
        self._dragonfly = DragonflyPods(store, clock, profile, self._outside.peers)
        self._store = store
        self._clock = clock
        self._profile = profile
        self._seed = seed
        self._faults = faults or Faults()
        self._touch = FirstTouch(clock)
        self.volumes = VolumeCaches()
        self.code = CodeHost()
        self._clusters: dict[tuple[str, str], RayCluster] = {}
        self._serve: dict[tuple[str, str], ServeController] = {}
        self._serve_port = ServePort(clock, profile, self._faults, self.code, lambda: self._costs("openai"))
        self._logs: dict[str, PodLogs] = {}
        self._tasks: dict[tuple[str, str], TaskGroup] = {}
        """pod uid and container -> what runs in it."""

    # -- PodRuntime ------------------------------------------------------------------------------------------------

    async def run_init_container(self, ctx: ContainerContext) -> int | Exit:
        """Run an init container to its end: one that runs `ray health-check`, as KubeRay's does, waits for the head's
        GCS; one that unpacks compiled graphs reads them; others end at once.
        """
        if self._dragonfly.knows(ctx):
            return await self._dragonfly.run_init(ctx, self._logs_of(ctx.pod))
        unpacked = await self._programs("unpack").unpack(ctx, self._logs_of(ctx.pod))
        if unpacked is not None:
            return unpacked
        if "ray health-check" not in " ".join(
            [*(ctx.container.get("command") or ()), *(ctx.container.get("args") or ())]
        ):
            return 0
        cluster = self._cluster(ctx.pod)
        logs = self._logs_of(ctx.pod)
        name = ctx.container["name"]
        began = self._clock.now()
        await self._touch.read(ctx, "ray", cluster.costs.value("ray_content_bytes"))
        while True:
            await self._clock.sleep(cluster.costs.draw("gcs_check_compiled_s" if ctx.image.bytecode else "gcs_check_s"))
            # In an image without Ray `ray health-check` never succeeds, and the script waits.
            if cluster.head is not None and "ray" in ctx.image.packages:
                logs.output("GCS is ready.", name)
                return 0
            elapsed_s = int((self._clock.now() - began).total_seconds())
            logs.output(f"{elapsed_s} seconds elapsed: Waiting for GCS to be ready.", name)
            await self._clock.sleep(cluster.costs.value("gcs_check_sleep_s"))

    def container_started(self, ctx: ContainerContext) -> asyncio.Future[Exit] | None:
        """Start Ray, or the autoscaler, in a container that runs now."""
        labels = ctx.pod["metadata"].get("labels") or {}
        if self._dragonfly.knows(ctx):
            self._run(ctx.pod, ctx.container["name"], self._dragonfly.run(ctx, self._logs_of(ctx.pod)))
            return None
        if labels.get("ray.io/is-ray-node") != "yes":
            return self._program(ctx)
        cluster, container = self._cluster(ctx.pod), ctx.container["name"]
        if container == AUTOSCALER:
            spec: ClusterSpec = _RayClusterObject(self._store, ctx.pod["metadata"]["namespace"], cluster.name)
            work = run_autoscaler(cluster, self._logs_of(ctx.pod), spec, lambda: self._serve.get(_key(ctx.pod)))
            self._run(ctx.pod, container, work)
        elif container == ctx.pod["spec"]["containers"][0]["name"]:
            node = self._node(cluster, ctx)
            node.killed.add_done_callback(lambda _: self._ended(ctx.pod, node))
            self._run(ctx.pod, container, self._run_ray(cluster, node))
            return node.killed
        return None

    def _program(self, ctx: ContainerContext) -> asyncio.Future[Exit] | None:
        """Run a program of `app.programs` to its end; None for any other."""
        work = self._programs("fill").of(ctx, self._logs_of(ctx.pod))
        if work is None:
            return None
        ending: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._run(ctx.pod, ctx.container["name"], _ended_by(work, ending))
        return ending

    def _programs(self, costs: str) -> Programs:
        return Programs(self._clock, self._costs(costs), self._outside.models, self.volumes, self._ray_of_one_pod)

    def _ray_of_one_pod(self, ctx: ContainerContext) -> tuple[RayNode, ReplicaStart]:
        """Return the head of a Ray cluster that has no other pod, and what starts replicas on it."""
        name = ctx.pod["metadata"]["name"]
        cluster = RayCluster(name, self._clock, self._costs("alone", name), self._touch)
        node = RayNode(ctx, lambda: "127.0.0.1", cluster.hex(56), head=True, group="", logs=self._logs_of(ctx.pod))
        cluster.nodes[ctx.pod["metadata"]["uid"]] = node
        return node, self._starter(cluster)

    def container_ended(self, pod: dict[str, Any], container: str) -> None:
        """End the processes of one container."""
        node = self._find(pod)
        if node is not None and container == node.ctx.container["name"]:
            node.end(Exit(137))
        self._cancel(pod, container)

    def probe(self, pod: dict[str, Any], container: str, kind: ProbeKind) -> str | None:
        """Answer a probe of a Ray container by what listens in it; any other container succeeds."""
        node = self._find(pod)
        if node is None or container != node.ctx.container["name"]:
            return self._dragonfly.probe(pod, container)
        node.agent_silent = self._faults.agent_silent
        healthy = proxy_healthy(self._serve.get(_key(pod)), node)
        return probe_failure(node, node.ctx.container, kind, proxy_healthy=healthy)

    def pod_stopped(self, pod: dict[str, Any]) -> None:
        """End a pod's processes; those who wait for its node learn of it."""
        self._dragonfly.stopped(pod)
        node = self._find(pod)
        if node is not None:
            node.stopped.set()
            if node.head and (controller := self._serve.pop(_key(pod), None)) is not None:
                controller.stop()
        for uid, container in list(self._tasks):
            if uid == pod["metadata"]["uid"]:
                self._tasks[uid, container].cancel()

    async def _run_ray(self, cluster: RayCluster, node: RayNode) -> None:
        """Run a Ray container: `ray start` to its end where it cannot succeed, else Ray until it is stopped."""
        if never_starts(node.ctx.container):
            return
        costs, head = cluster.costs, cluster.head
        joined = None if node.head or head is None else head.ctx.image.packages.get("ray", "")
        failure = failed_start(node.ctx, costs.value("ray_memory_bytes"), joined)
        if failure is None and not node.head and head is None and not waits_for_port(node.ctx.container):
            failure = await self._given_up(cluster)
        if failure is None:
            await cluster.start_node(node)
            return
        if failure.oom:
            await self._clock.sleep(costs.value("memory_kill_s"))
        for line in failure.output:
            node.logs.output(line)
        node.end(failure.exit)

    async def _given_up(self, cluster: RayCluster) -> FailedStart | None:
        """Wait for a head as `ray start` itself does; return its end if none came in time."""
        left_s = cluster.costs.value("ray_start_gives_up_s")
        while cluster.head is None and left_s > 0:
            await self._clock.sleep(1.0)
            left_s -= 1.0
        return None if cluster.head is not None else UNREACHED

    def _ended(self, pod: dict[str, Any], node: RayNode) -> None:
        """Stop what ran in a container that has ended. With a head go Serve, and after a while the other raylets."""
        self._cancel(pod, node.ctx.container["name"])
        if not node.head:
            return
        if (controller := self._serve.pop(_key(pod), None)) is not None:
            controller.stop()
        cluster = self._cluster(pod)
        for worker in cluster.workers():
            worker.stopped.set()
            self._run(worker.ctx.pod, worker.ctx.container["name"], self._end_without_head(cluster, worker))

    async def _end_without_head(self, cluster: RayCluster, worker: RayNode) -> None:
        await self._clock.sleep(cluster.costs.value("gcs_reconnect_timeout_s"))
        worker.logs.cli("Some Ray subprocesses exited unexpectedly: raylet [exit code=1]", "ERR", "scripts.py:1277")
        worker.end(Exit(1))

    # -- ProxyBackend ----------------------------------------------------------------------------------------------

    async def request(self, asked: PodRequest) -> Answer:
        """Answer a proxied request; ConnectionRefusedError where nothing listens."""
        pod, node = asked.pod, self._find(asked.pod)
        if node is not None and node.running:
            cluster = self._cluster(pod)
            if asked.port == DASHBOARD_PORT and node.head:
                return await dashboard(cluster, self._controller(pod, cluster, node), asked)
            if asked.port == SERVE_PORT and (node.proxy or {}).get("status") == "HEALTHY":
                return await self._serve_port.answer(self._serve.get(_key(pod)), node, asked)
        raise ConnectionRefusedError(f"nothing listens on port {asked.port} of pod {pod['metadata']['name']}")

    def logs(self, pod: dict[str, Any], container: str) -> list[tuple[datetime, str]]:
        """Return a container's output so far."""
        logs = self._logs.get(pod["metadata"]["uid"])
        return list(logs.containers.get(container, ())) if logs else []

    async def stop(self) -> None:
        """Stop every process of every pod. Raises what one of them failed with."""
        for controller in list(self._serve.values()):
            await controller.close()
        stopped: set[tuple[str, str]] = set()
        # A head that is stopped lets its workers' containers begin to end.
        while waiting := self._tasks.keys() - stopped:
            for key in sorted(waiting):
                await self._tasks[key].stop()
            stopped |= waiting

    # -- the operator ----------------------------------------------------------------------------------------------

    def serve(self, head: dict[str, Any]) -> ServeController | None:
        """Return Serve behind a head pod's dashboard, or None while the dashboard does not answer."""
        node = self._find(head)
        if node is None or not node.running or not node.head:
            return None
        return self._controller(head, self._cluster(head), node)

    def head_proxy_healthy(self, head: dict[str, Any]) -> bool:
        """Whether `/-/healthz` on the head's port 8000 says success: its route table holds an application."""
        node = self._find(head)
        return node is not None and proxy_healthy(self._serve.get(_key(head)), node)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _cluster(self, pod: dict[str, Any]) -> RayCluster:
        key = _key(pod)
        if key not in self._clusters:
            self._clusters[key] = RayCluster(key[1], self._clock, self._costs(*key), self._touch)
        return self._clusters[key]

    def _costs(self, *parts: str) -> Costs:
        return Costs(self._profile, random.Random(f"{self._seed}/{'/'.join(parts)}"))

    def _controller(self, pod: dict[str, Any], cluster: RayCluster, head: RayNode) -> ServeController:
        key = _key(pod)
        if key not in self._serve:
            self._serve[key] = ServeController(cluster, head, self._starter(cluster), import_fault=self._import_fault)
        return self._serve[key]

    def _starter(self, cluster: RayCluster) -> ReplicaStart:
        return ReplicaStart(
            cluster,
            self._outside.models,
            buckets=self._outside.buckets,
            image_models=self._outside.image_models,
            hub_rate=lambda: self._faults.slow_hub,
            crash=lambda: _CRASH if self._faults.replica_crash else None,
            engine_fault=lambda: self._faults.engine_error,
            volumes=self.volumes,
            code=self.code,
        )

    def _import_fault(self) -> str | None:
        return _IMPORT_FAULT if self._faults.deploy_failed else None

    def _node(self, cluster: RayCluster, ctx: ContainerContext) -> RayNode:
        labels = ctx.pod["metadata"]["labels"]
        metadata = ctx.pod["metadata"]

        def address() -> str:
            # Known once the kubelet has reported it, which is after the container's start.
            pod = self._store.peek("pods", metadata["name"], metadata["namespace"]) or ctx.pod
            return str((pod.get("status") or {}).get("podIP", ""))

        node = RayNode(
            ctx=ctx,
            address=address,
            node_id=cluster.hex(56),
            head=labels.get("ray.io/node-type") == "head",
            group=labels.get("ray.io/group", ""),
            logs=self._logs_of(ctx.pod),
        )
        node.logs.to_stderr = node.env.get("RAY_LOG_TO_STDERR") == "1"
        cluster.nodes[ctx.pod["metadata"]["uid"]] = node
        return node

    def _find(self, pod: dict[str, Any]) -> RayNode | None:
        cluster = self._clusters.get(_key(pod))
        return cluster.nodes.get(pod["metadata"]["uid"]) if cluster else None

    def _logs_of(self, pod: dict[str, Any]) -> PodLogs:
        uid = pod["metadata"]["uid"]
        if uid not in self._logs:
            self._logs[uid] = PodLogs(self._clock, main=pod["spec"]["containers"][0]["name"])
        return self._logs[uid]

    def _run(self, pod: dict[str, Any], container: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.setdefault((pod["metadata"]["uid"], container), TaskGroup()).start(work)

    def _cancel(self, pod: dict[str, Any], container: str) -> None:
        tasks = self._tasks.get((pod["metadata"]["uid"], container))
        if tasks is not None:
            tasks.cancel()


async def _ended_by(work: Coroutine[Any, Any, Exit], ending: asyncio.Future[Exit]) -> None:
    ending.set_result(await work)


def _key(pod: Mapping[str, Any]) -> tuple[str, str]:
    metadata = pod["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get("ray.io/cluster", "")
