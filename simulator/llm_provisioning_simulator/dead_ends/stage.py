"""Runs a dead end in virtual time, and records what a watch of the cluster sees."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from llm_provisioning_simulator.app.serve_rest import serve_details
from llm_provisioning_simulator.dead_ends.scene import IMAGE, NAMESPACE, OTHER_IMAGE, DeadEnd, Says, Scene, a_manifest
from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.infra.demand import GPU
from llm_provisioning_simulator.kube.stamps import micro_stamp
from llm_provisioning_simulator.profiles import NOISE, load_profile
from llm_provisioning_simulator.virtual_time import VirtualClock, run_at_once
from llm_provisioning_simulator.world import CloudCluster, Image, NodeSpec, World

Object = dict[str, Any]
Line = dict[str, Any]
"""One line of a recording."""

WATCHED: Final = (
    "rayservices",
    "rayclusters",
    "pods",
    "services",
    "events",
    "endpointslices",
    "nodes",
    "persistentvolumeclaims",
)
_PACKAGES: Final = {"ray": "2.60.0", "vllm": "0.33.0", "huggingface-hub": "1.33.0", "hf-xet": "1.8.0"}
_POLL_S: Final = 2.0


def produce_end(end: DeadEnd, *, limit_s: float, after_s: float = 0.0, seed: int = 1) -> list[Line]:
    """Run a dead end until it is said; see `dead_ends.produce`."""
    return run_at_once(_run(end, limit_s, after_s, seed))


async def _run(end: DeadEnd, limit_s: float, after_s: float, seed: int) -> list[Line]:
    lines: list[Line] = []
    async with _scene(end, seed) as scene:
        recorder = asyncio.get_running_loop().create_task(_record(scene.cluster, lines))
        poller = asyncio.get_running_loop().create_task(_poll(scene.cluster, lines))
        await scene.cluster.store.clock.sleep(1.0)
        end.change(scene)
        scene.store.create("rayservices", scene.manifest, manager="kubectl")
        try:
            await _until_said(scene, end, lines, limit_s)
            await scene.cluster.store.clock.sleep(after_s)
        finally:
            for task in (recorder, poller):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    return lines


async def _until_said(scene: Scene, end: DeadEnd, lines: list[Line], limit_s: float) -> None:
    seen, waited_s = 0, 0.0
    while not any(says(line, end.says) for line in lines[seen:]):
        seen = len(lines)
        if waited_s >= limit_s:
            raise TimeoutError(f"The dead end {end.name!r} did not say {end.says} within {limit_s:g} virtual seconds.")
        await scene.cluster.store.clock.sleep(1.0)
        waited_s += 1.0


@asynccontextmanager
async def _scene(end: DeadEnd, seed: int) -> AsyncIterator[Scene]:
    clock, world = VirtualClock.of_this_loop(), World()
    for reference in (IMAGE, OTHER_IMAGE):
        world.push(an_image(reference))
    autoscaler = "luna" if end.nodes == "luna" else "native"
    profile = load_profile("eks", autoscaler).with_values(**{NOISE: 0.0})
    description = CloudCluster("dead-ends", "eks", "us-west-2", "1.34.0", autoscaler)
    world.clusters[description.name] = description
    cluster = SimulatedCluster(description, world, clock, profile=profile, seed=seed)
    await cluster.start_controllers()
    cluster.store.create("namespaces", {"metadata": {"name": NAMESPACE}}, manager="kubectl")
    manifest = a_manifest()
    if end.nodes == "fixed":
        _join(cluster, "cpu-node-1", "cpu")
        _join(cluster, "gpu-node-1", "gpu")
    else:
        for group in ("headGroupSpec", "workerGroupSpecs"):
            part = manifest["spec"]["rayClusterConfig"][group]
            (part if isinstance(part, dict) else part[0])["template"]["spec"].pop("nodeSelector")
    try:
        yield Scene(manifest, cluster, world)
    finally:
        await cluster.stop()


def an_image(reference: str, *, without: tuple[str, ...] = (), **changes: Any) -> Image:
    """Return an image of 4 GB with Ray and vLLM; `without`: packages it does not hold."""
    packages = {name: version for name, version in _PACKAGES.items() if name not in without}
    fields: Object = {
        "digest": f"sha256:{reference.encode().hex():0>64}"[:71],
        "layer_bytes": (2_000_000_000, 2_000_000_000),
        "packages": packages,
        "env": {},
        "region": None,
        "pushed_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Image(reference, **{**fields, **changes})


def _join(cluster: SimulatedCluster, name: str, pool: str) -> None:
    """Add a node that is ready: 16 CPUs, and one L4 in the GPU pool, which is tainted."""
    gpu = pool == "gpu"
    taints = ({"key": GPU, "value": "present", "effect": "NoSchedule"},) if gpu else ()
    size = next(item for item in cluster.profile.instance_types if item.cpu >= 16 and item.gpu == "L4")
    labels = {"pool": pool}
    spec = NodeSpec(
        "dead-ends", name, "eks", "us-west-2", "us-west-2a", size.name, {"L4": 1} if gpu else {}, labels, taints
    )
    cluster.fleet.join_at_once(spec, size, "al2023")

    def offer(node: Object) -> None:
        for part in ("capacity", "allocatable"):
            node["status"][part].pop(GPU, None)
            node["status"][part] |= {GPU: "1"} if gpu else {}

    cluster.store.mutate("nodes", name, None, offer, subresource="status", manager="kubelet")


async def _record(cluster: SimulatedCluster, lines: list[Line]) -> None:
    async for type_, resource, item in cluster.store.subscribe(*WATCHED):
        item["metadata"].pop("managedFields", None)
        at = micro_stamp(cluster.store.clock.now())
        lines.append({"received_at": at, "date_header": None, "type": type_, "resource": resource, "object": item})


async def _poll(cluster: SimulatedCluster, lines: list[Line]) -> None:
    """Ask Serve's REST API, as recorders do, and note what has changed."""
    known: Object | None = None
    while True:
        await cluster.store.clock.sleep(_POLL_S)
        for head in cluster.store.peek_all("pods", NAMESPACE, labels={"ray.io/node-type": "head"}):
            controller = cluster.application.runtime.serve(head)
            if controller is None:
                continue
            details = serve_details(controller, cluster.store.clock.now())
            shown = {key: value for key, value in details.items() if key != "controller_health_metrics"}
            if shown != known:
                known = shown
                at = micro_stamp(cluster.store.clock.now())
                lines.append({"received_at": at, "resource": "serve-rest", "status_code": 200, "object": details})


def says(line: Line, wanted: Says) -> bool:
    """Tell whether a line of a recording says what a dead end says."""
    item = line["object"]
    return any(reason == wanted.reason and wanted.text in text for reason, text in _said(line, item, wanted))


def _said(line: Line, item: Object, wanted: Says) -> Iterator[tuple[str, str]]:
    """Yield (reason, sentence) of everything that a line says in the place that is asked for."""
    if wanted.where == "event":
        if line["resource"] == "events" and item["involvedObject"]["kind"] == wanted.kind:
            yield item["reason"], item.get("message") or ""
    elif item.get("kind") == wanted.kind:
        yield from _PLACES[wanted.where](item.get("status") or {})


def _silence(status: Object) -> Iterator[tuple[str, str]]:
    if not status:
        yield "", ""


def _conditions(status: Object) -> Iterator[tuple[str, str]]:
    for row in status.get("conditions") or ():
        yield row.get("reason") or "", row.get("message") or ""


def _containers(status: Object) -> Iterator[tuple[str, str]]:
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            for kind in ("waiting", "terminated"):
                if kind in state:
                    said = state[kind]
                    yield said.get("reason") or "", said.get("message") or f"exit code {said.get('exitCode')}"


def _applications(status: Object) -> Iterator[tuple[str, str]]:
    for part in ("activeServiceStatus", "pendingServiceStatus"):
        for application in ((status.get(part) or {}).get("applicationStatuses") or {}).values():
            yield application["status"], application.get("message") or ""


def _deployments(status: Object) -> Iterator[tuple[str, str]]:
    for part in ("activeServiceStatus", "pendingServiceStatus"):
        for application in ((status.get(part) or {}).get("applicationStatuses") or {}).values():
            for deployment in (application.get("serveDeploymentStatuses") or {}).values():
                yield deployment["status"], deployment.get("message") or ""


_PLACES: Final[Mapping[str, Callable[[Object], Iterator[tuple[str, str]]]]] = {
    "application": _applications,
    "condition": _conditions,
    "container": _containers,
    "deployment": _deployments,
    "silence": _silence,
}
