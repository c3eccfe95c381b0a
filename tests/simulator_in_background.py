"""The whole simulator on a thread of its own, so that synchronous gateways and other processes reach it over HTTP."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_llm_provisioning.core.experiment import Experiment
from llm_provisioning_simulator import server
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.server import Simulator


class GearedClock(SimClock):
    """A clock whose speed may be changed, while nothing that matters sleeps: who sleeps already sleeps on as long."""

    def shift(self, speed: float) -> None:
        """Go on from this instant at another speed."""
        wall, virtual = time.time(), self.now()
        for name, value in (("wall_epoch", wall), ("virtual_epoch", virtual), ("speed", speed)):
            object.__setattr__(self, name, value)


@dataclass
class BackgroundSimulator:
    """A simulator that runs. Its parts are touched through `call`, which runs on its loop."""

    simulator: Simulator
    clock: GearedClock
    _loop: asyncio.AbstractEventLoop = field(repr=False)

    def environment(self) -> dict[str, str]:
        """Return the environment by which it is reached."""
        return self.simulator.environment()

    def shift(self, speed: float) -> None:
        """Let it go on at another speed."""
        self.call(lambda: self.clock.shift(speed))

    def call(self, work: Callable[[], Any]) -> Any:
        """Run a function on the simulator's loop and return its result."""
        done: Future[Any] = Future()

        def run_it() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run_it)
        return done.result(timeout=120)


@contextmanager
def simulator_in_background(experiment: Experiment, *, speed: float, seed: int) -> Iterator[BackgroundSimulator]:
    """Run an experiment's clusters, clouds and hub until the block is left; nothing leads to them yet."""
    started: Future[tuple[Simulator, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(server, "SimClock", GearedClock)
                simulator = Simulator(experiment, speed=speed, seed=seed)
            await simulator.start()
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result((simulator, asyncio.get_running_loop(), stop))
        await stop.wait()
        await simulator.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="simulator", daemon=True)
    thread.start()
    simulator, loop, stop = started.result(timeout=120)
    try:
        assert isinstance(simulator.clock, GearedClock)
        yield BackgroundSimulator(simulator, simulator.clock, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=120)
