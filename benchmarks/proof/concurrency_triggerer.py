"""The work of a triggerer: many `ServeEndpointWait`s in one event loop, with one results store.

Runs as `python -m proof.concurrency_triggerer URL PLAN CERTIFICATE [PART PARTS]`. First one wait on the last cluster,
so that everything is imported; then its part of the plan's waits at once. It prints a JSON line for each step. It
measures nothing: the parent process measures it. AIRFLOW_CONN_RESULTS is the connection of the store. A number on its
standard input is a further part of the plan: it takes over these waits, as another triggerer does for one that died.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proof.concurrency_clusters import Plan
from proof.concurrency_objects import NAMESPACE, name_of, uid_of

TIMEOUT_S = 600.0
CHAT = {"path": "/v1/chat/completions", "body": {"model": "phi"}, "expect_model": "phi"}


def trial_id(number: int) -> str:
    """Return the id of the trial that is recorded on a cluster."""
    return f"concurrency-{number:04d}"


def connect(url: str, number: int, certificate: Path) -> str:
    """Define the Airflow connection of a cluster, with a kubeconfig file, and return its id."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "c", "cluster": {"server": f"{url}/{number}", "certificate-authority": str(certificate)}}
        ],
        "users": [{"name": "u", "user": {"token": "made-up"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    conn_id = f"concurrency_{number}"
    file = certificate.with_name(f"{conn_id}.json")
    file.write_text(json.dumps(config))
    os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(
        {"conn_type": "kubernetes", "extra": {"kube_config_path": str(file)}}
    )
    return conn_id


async def waited(conn_id: str, number: int) -> dict[str, Any]:
    """Run one wait until its event, as the triggerer does."""
    from airflow_llm_provisioning.triggers.serve_endpoint import ServeEndpointWait

    now = datetime.now(UTC).isoformat()
    wait = ServeEndpointWait(
        rayservice={
            "cluster": {"conn_id": conn_id},
            "namespace": NAMESPACE,
            "name": name_of(number),
            "uid": uid_of(number),
            "applied_at": now,
            "replied_at": now,
        },
        timeout_s=TIMEOUT_S,
        completion=CHAT,
        trial={"trial_id": trial_id(number)},
        results_conn_id="results",
    )
    async for event in wait.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise RuntimeError("a wait ended without its event")


def report_step(step: str, **detail: Any) -> None:
    """Send a message to the parent process."""
    sys.stdout.write(json.dumps({"step": step, **detail}) + "\n")
    sys.stdout.flush()


async def run(url: str, plan: Plan, certificate: Path, part: int, parts: int) -> None:
    """Warm up, run all waits of this part, and report their outcomes."""
    last = plan.cluster_of(plan.trials)
    conn_ids = [connect(url, number, certificate) for number in range(last + 1)]
    await waited(conn_ids[last], plan.trials)
    report_step("warm")
    # The parent process reads its figures now.
    await asyncio.sleep(0.5)
    tasks: list[asyncio.Task[dict[str, Any]]] = []

    def begin(number_of_part: int) -> None:
        # Whole clusters, so that each watch is open in one process.
        mine = [number for number in range(plan.trials) if plan.cluster_of(number) % parts == number_of_part]
        tasks.extend(asyncio.create_task(waited(conn_ids[plan.cluster_of(number)], number)) for number in mine)

    neighbour = asyncio.create_task(late_ms())
    begin(part)
    loop = asyncio.get_running_loop()
    threading.Thread(target=_listen, args=(loop, begin), daemon=True).start()
    while pending := [task for task in tasks if not task.done()]:
        await asyncio.wait(pending, timeout=0.5)
    neighbour.cancel()
    late = sorted(await neighbour)
    ends = [task.result() for task in tasks]
    outcomes = [end.get("outcome") or end.get("error") for end in ends]
    report_step("ended", outcomes=outcomes, neighbour_ms_p99=round(late[int(0.99 * (len(late) - 1))], 1))


def _listen(loop: asyncio.AbstractEventLoop, begin: Callable[[int], None]) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(begin, int(line))


async def late_ms() -> list[float]:
    """Return how late another trigger of the process is woken, every tenth of a second until it is cancelled."""
    loop, found = asyncio.get_running_loop(), [0.0]
    with suppress(asyncio.CancelledError):
        while True:
            due = loop.time() + 0.1
            await asyncio.sleep(0.1)
            found.append((loop.time() - due) * 1000)
    return found


if __name__ == "__main__":
    import resource as limits

    # Ten watches per trial: hundreds of trials need more files than the usual 1,024.
    _, most = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (most, most))
    part, parts = map(int, sys.argv[4:6] or (0, 1))
    asyncio.run(run(sys.argv[1], Plan(**json.loads(sys.argv[2])), Path(sys.argv[3]), part, parts))
