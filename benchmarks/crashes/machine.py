"""A computer without sockets, threads and waiting: virtual time, a network in memory, processes that can be killed.

Blocking code runs in greenlets, so that time passes and others run while it waits. It knows nothing of what runs.
"""

import asyncio
import contextvars
import functools
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, TypeVar
from unittest import mock

import aiohttp
import time_machine
from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped] # ships no types

from airflow_llm_provisioning.gateways import bounded
from llm_provisioning_simulator.virtual_time import EPOCH, VirtualTimeLoop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: with a value, with an error, or killed."""

    value: Any = None
    error: BaseException | None = None
    killed: bool = False


@dataclass(eq=False)
class Process:
    """A process: what it holds is closed when it is killed. `ended` is set by its end or its death."""

    name: str
    ended: "asyncio.Future[Ending]"
    dead: bool = False
    held: list[Callable[[], None]] = field(default_factory=list)
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)

    def kill(self) -> None:
        """End it as SIGKILL does: no line of its code makes another call; its connections break."""
        self.dead = True
        for release in self.held:
            release()
        for task in list(self.tasks):
            task.cancel()
        self.leave(Ending(killed=True))

    def leave(self, ending: Ending) -> None:
        """Tell how this process ended; only the first ending counts."""
        if not self.ended.done():
            self.ended.set_result(ending)


PROCESS: Final[contextvars.ContextVar[Process | None]] = contextvars.ContextVar("process", default=None)
# Greenlets of killed processes. Collected, they would run their `finally` blocks.
_GRAVEYARD: Final[list[Any]] = []


class Machine(VirtualTimeLoop):
    """The event loop of the machine, with its network."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = getcurrent()
        self._servers: dict[int, Callable[[], Any]] = {}
        self._travel: Any = None
        self.set_task_factory(_task_of_process)

    def jump(self, seconds: float) -> None:
        """Let time pass, for every clock of the machine."""
        super().jump(seconds)
        if self._travel is not None and seconds:
            self._travel.move_to(EPOCH.timestamp() + self.time())

    # --- network

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """Listen on a port of this machine."""
        bound = port or 20000 + len(self._servers)
        self._servers[bound] = protocol_factory
        socket = SimpleNamespace(getsockname=lambda: ("127.0.0.1", bound))
        return SimpleNamespace(sockets=[socket], close=lambda: self._servers.pop(bound, None), wait_closed=_nothing)

    def connect(self, client: Any, port: int) -> "Pipe":
        """Connect a client's protocol with the server of a port; return the client's end."""
        if port not in self._servers:
            raise ConnectionRefusedError(111, "Connection refused")
        # What a server begins is not a part of the process that asked for it.
        outside = contextvars.copy_context()
        outside.run(PROCESS.set, None)
        server = outside.run(self._servers[port])
        near, far = Pipe(self, client, contextvars.copy_context()), Pipe(self, server, outside)
        near.peer, far.peer = far, near
        outside.run(server.connection_made, far)
        near.protocol.connection_made(near)
        if process := PROCESS.get():
            process.held.append(near.abort)
        return near

    # --- blocking code

    def run_in_executor(  # type: ignore[override] # without its own kind of tuple
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """Run blocking code in a greenlet."""
        return self.job(functools.partial(func, *args), contextvars.copy_context())

    def job(self, work: Callable[[], T], context: contextvars.Context) -> "asyncio.Future[T]":
        """Run blocking code beside; return its future."""
        done: asyncio.Future[T] = self.create_future()

        def run() -> None:
            try:
                result = work()
            except GreenletExit:
                raise
            except BaseException as error:  # noqa: BLE001 - Airflow defers a task by one; raised where it is asked for
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(result)

        worker = greenlet(run, parent=self.hub)
        worker.gr_context = context
        self.call_soon(self._resume, worker)
        return done

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait in blocking code for a coroutine."""
        this = getcurrent()
        context = contextvars.copy_context()
        process = PROCESS.get()
        task = context.run(lambda: self.create_task(work))

        def resume(_: Any) -> None:
            if process is not None and process.dead:
                _GRAVEYARD.append(this)
            else:
                self._resume(this)

        task.add_done_callback(resume)
        self.hub.switch()
        return task.result()

    def in_hub(self) -> bool:
        """Return whether this code runs as a step of the loop, which cannot wait."""
        return getcurrent() is self.hub

    def forked(self) -> None:
        """Go on in a forked child: asyncio takes the running loop for the parent's."""
        if self.in_hub():
            asyncio._set_running_loop(self)

    def stop_here(self) -> None:
        """Never go on: the process was killed here."""
        if self.in_hub():
            raise asyncio.CancelledError
        _GRAVEYARD.append(getcurrent())
        self.hub.switch()

    def _resume(self, worker: Any) -> None:
        # Blocking code sees no running loop, as in a thread.
        asyncio._set_running_loop(None)
        try:
            worker.switch()
        finally:
            asyncio._set_running_loop(self)

    # --- processes

    def start(self, name: str, work: Callable[[], Any]) -> Process:
        """Start a process that runs blocking code; its result is set into `ended`."""
        process = Process(name, self.create_future())
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        self.job(work, context).add_done_callback(functools.partial(_told, process))
        return process

    def start_async(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Process:
        """Start a process that runs a coroutine."""
        process = Process(name, self.create_future())
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        context.run(lambda: self.create_task(work())).add_done_callback(functools.partial(_told, process))
        return process


class Pipe(asyncio.Transport):
    """One end of a connection in memory."""

    def __init__(self, loop: Machine, protocol: Any, context: contextvars.Context) -> None:
        super().__init__()
        self.peer: Pipe
        self.protocol, self.context = protocol, context
        self._loop, self._closing, self._paused = loop, False, False
        self._arrived: list[bytes] = []

    def write(self, data: Any) -> None:
        """Send to the other end."""
        if data and not self._closing:
            self._loop.call_soon(self.peer._receive, bytes(data), context=self.peer.context)

    def _receive(self, data: bytes) -> None:
        if self._closing:
            return
        if self._paused:
            self._arrived.append(data)
        else:
            self.protocol.data_received(data)

    def pause_reading(self) -> None:
        """Keep what arrives."""
        self._paused = True

    def resume_reading(self) -> None:
        """Hand over what has arrived."""
        self._paused = False
        while self._arrived and not self._paused:
            self.protocol.data_received(self._arrived.pop(0))

    def is_reading(self) -> bool:
        """Return whether data are handed over."""
        return not self._paused

    def is_closing(self) -> bool:
        """Return whether this end is closed."""
        return self._closing

    def close(self) -> None:
        """Close both ends."""
        for end in (self, self.peer):
            if not end._closing:
                end._closing = True
                self._loop.call_soon(end.protocol.connection_lost, None, context=end.context)

    abort = close

    def set_protocol(self, protocol: Any) -> None:
        """Hand over to another protocol."""
        self.protocol = protocol

    def get_protocol(self) -> Any:
        """Return the protocol."""
        return self.protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the addresses."""
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def can_write_eof(self) -> bool:
        """HTTP closes whole connections."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0


def run(work: Callable[[Machine], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a new machine to its end and return its result."""
    with asyncio.Runner(loop_factory=Machine) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Machine)  # noqa: S101 - the factory's
        with _clocks(loop), _blocking(loop):
            return runner.run(work(loop))


@contextmanager
def _clocks(loop: Machine) -> Iterator[None]:
    with time_machine.travel(EPOCH, tick=False) as travel, mock.patch.object(time, "monotonic", loop.time):
        loop._travel = travel
        yield
        loop._travel = None


@contextmanager
def _blocking(loop: Machine) -> Iterator[None]:
    """Lead what blocks a thread or opens a socket to the machine."""

    def run_here(work: Coroutine[Any, Any, Any], **_: Any) -> Any:
        return loop.wait(work)

    def sleep(seconds: float) -> None:
        loop.wait(asyncio.sleep(seconds))

    class Thread(threading.Thread):
        def start(self) -> None:
            loop.job(self.run, contextvars.copy_context())

    async def connect(_: Any, *args: Any, addr_infos: Any, req: Any, client_error: Any = None, **__: Any) -> Any:
        protocol = args[0]()
        try:
            return loop.connect(protocol, addr_infos[0][4][1]), protocol
        except OSError as error:
            raise (client_error or aiohttp.ClientConnectorError)(req.connection_key, error) from error

    context = functools.cache(ssl.create_default_context)
    with (
        mock.patch.object(asyncio, "run", run_here),
        mock.patch.object(time, "sleep", sleep),
        mock.patch.object(bounded, "threading", SimpleNamespace(Thread=Thread)),
        mock.patch.object(ssl, "create_default_context", new=_any_arguments(context)),
        mock.patch.object(aiohttp.TCPConnector, "_wrap_create_connection", connect),
    ):
        yield


def _any_arguments(make: Callable[[], T]) -> Callable[..., T]:
    def made(*_: Any, **__: Any) -> T:
        return make()

    return made


def _task_of_process(loop: Any, work: Any, **options: Any) -> "asyncio.Task[Any]":
    task = asyncio.Task(work, loop=loop, **options)
    if process := (options.get("context") or contextvars.copy_context()).get(PROCESS):
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task


def _told(process: Process, done: "asyncio.Future[Any]") -> None:
    if done.cancelled():
        return
    error = done.exception()
    process.leave(Ending(error=error) if error is not None else Ending(done.result()))


async def _nothing() -> None:
    return None
