"""A simulated cluster stops although its processes answer to that with further ones."""

import asyncio

from trial_rig import tiny_profile

from llm_provisioning_simulator.app.runtime import RayRuntime
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.virtual_time import VirtualClock, run_at_once


def test_what_begins_while_it_stops_is_stopped_too() -> None:
    """A head that is stopped lets its workers' containers begin to end."""
    ended: list[str] = []

    async def scene() -> None:
        clock = VirtualClock.of_this_loop()
        runtime = RayRuntime(ObjectStore(clock, seed=1), clock, tiny_profile())

        async def process(name: str, follower: str | None) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                if follower is not None:
                    runtime._run({"metadata": {"uid": follower}}, "ray", process(follower, None))
                    await asyncio.sleep(0)
                ended.append(name)

        runtime._run({"metadata": {"uid": "head"}}, "ray", process("head", "worker"))
        await asyncio.sleep(0)
        await runtime.stop()

    run_at_once(scene())
    assert ended == ["head", "worker"]
