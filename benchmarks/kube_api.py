"""Print, as one JSON line, how fast the simulated Kubernetes API starts, creates objects and notifies its watchers.

python benchmarks/kube_api.py [objects]

The server runs in its own process. `start_s` is the time from the start of that process (Python and imports included)
to the first answer, `creates_per_cpu_s` uses the processor time of the server alone, `rss_mb` is the server's resident
memory with all objects. Custom objects of about 1.3 kB are created over 8 connections while one watch is open.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

PATH = "/apis/ray.io/v1/namespaces/default/rayservices"
CONNECTIONS = 8


def ray_service(number: int) -> dict[str, Any]:
    """Return a RayService of the size of a real one."""
    env = [{"name": f"VARIABLE_{index}", "value": "x" * 20} for index in range(8)]
    template = {"spec": {"containers": [{"name": "ray", "image": "ray:1", "env": env}]}}
    group = {"groupName": "gpu", "minReplicas": 0, "maxReplicas": 1, "template": template}
    cluster = {"headGroupSpec": {"template": template}, "workerGroupSpecs": [group]}
    metadata = {"name": f"llm-{number}", "labels": {"app": "benchmark"}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": metadata,
        "spec": {"rayClusterConfig": cluster},
    }


async def serve() -> None:
    """Run a server until standard input closes."""
    from llm_provisioning_simulator.clock import SimClock
    from llm_provisioning_simulator.kube.server import KubeServer
    from llm_provisioning_simulator.kube.store import ObjectStore

    clock = SimClock.start(1.0)
    server = KubeServer(ObjectStore(clock), name="benchmark", clock=clock)
    print(await server.start(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()


async def measure(count: int) -> dict[str, float]:
    """Start a server, use it, and return the figures."""
    begun = time.perf_counter()
    command = [sys.executable, __file__, "--serve"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    url = (await process.stdout.readline()).decode().strip() if process.stdout else ""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS + 1)
    async with aiohttp.ClientSession(base_url=url, connector=connector) as session:
        async with session.get("/version") as response:
            await response.read()
        start_s = time.perf_counter() - begun
        watching = asyncio.create_task(_watch(session, count))
        bodies = iter([json.dumps(ray_service(number)).encode() for number in range(count)])
        begun, cpu_s = time.perf_counter(), _cpu_s(process.pid)
        await asyncio.gather(*(_create(session, bodies) for _ in range(CONNECTIONS)))
        create_s, cpu_s = time.perf_counter() - begun, _cpu_s(process.pid) - cpu_s
        await watching
        watch_s = time.perf_counter() - begun
        replay_s = await _replay(session, count)
    rss_mb = _rss_mb(process.pid)
    process.terminate()
    await process.wait()
    return {
        "creates_per_s": round(count / create_s),
        "creates_per_cpu_s": round(count / cpu_s),
        "start_s": round(start_s, 3),
        "rss_mb": round(rss_mb, 1),
        "watch_events_per_s": round(count / replay_s),
        "watch_events_per_s_while_creating": round(count / watch_s),
    }


async def _create(session: aiohttp.ClientSession, bodies: Any) -> None:
    headers = {"Content-Type": "application/json"}
    for body in bodies:
        async with session.post(PATH, data=body, headers=headers) as response:
            if response.status != 201:
                raise RuntimeError(await response.text())
            await response.read()


async def _watch(session: aiohttp.ClientSession, count: int) -> None:
    seen = 0
    async with session.get(f"{PATH}?watch=1") as response:
        while seen < count:
            seen += (await response.content.readany()).count(b"\n")


async def _replay(session: aiohttp.ClientSession, count: int) -> float:
    begun = time.perf_counter()
    await _watch(session, count)
    return time.perf_counter() - begun


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process, which does not depend on other load."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(serve())
    else:
        print(json.dumps(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 3000))))
