"""Plays a scene once and forks a child at its calls: each child suffers one fault, or two, and is judged."""

import gc
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from crashes.machine import Machine, run
from crashes.points import FAULTS, INJECTOR, Call
from crashes.runs import DagRun
from crashes.scene import Scene, connected, play, reaped, scene, simulated
from crashes.truth import DEFECTS, Judgement, Played, Watcher, inventory, judge, made, plant, recorded, state_of
from crashes.wires import wired

# A child that needs more processor time than this has stopped making progress.
_HUNG_CPU_S: Final = 120.0
# What a cloud was asked for ends in this time; a twin that was left alone may go on for longer.
_SETTLED_S: Final = 240.0
_TWIN_SETTLED_S: Final = 900.0
# Of the pairs that have come back to the recording's state: so many go on to the end all the same.
_GO_ON: Final = 0.1


@dataclass(frozen=True)
class Plan:
    """What is tried: at most `repeats` calls of one kind in a process, `share` of the points, `pairs` of faults."""

    seed: int = 1
    repeats: int = 2
    share: float = 1.0
    limit: int | None = None
    pairs: int = 0
    processes: int = 2
    only: str = ""
    """Only points whose name contains this (`twin triggerer wait: GET /version`)."""
    budget: bool = False
    """Whether the trial has a budget that ends its wait."""


@dataclass
class Found:
    """What the children told."""

    points: int = 0
    pairs: int = 0
    ended_early: int = 0
    """Pairs after which a DAG left the state of the recording, so that what follows was not played."""
    calls: int = 0
    defects: Counter[str] = field(default_factory=Counter)
    told: list[dict[str, Any]] = field(default_factory=list)
    overrun_s: float | None = None

    def add(self, told: Mapping[str, Any]) -> None:
        """Count one child."""
        if len(told["suffered"]) > 1:
            self.pairs += 1
        else:
            self.points += 1
        self.ended_early += bool(told.get("ended_early"))
        if told.get("overrun_s") is not None:
            self.overrun_s = max(self.overrun_s or 0.0, told["overrun_s"])
        self.defects.update({name: 1 for name, sentences in told["found"].items() if sentences})
        if any(told["found"].values()):
            self.told.append(dict(told))
            say(json.dumps(told)[:1500])
        elif (self.points + self.pairs) % 100 == 0:
            say(f"{self.points} points, {self.pairs} pairs")

    def join(self, other: "Found") -> None:
        """Add what another sweep of the same cloud found."""
        self.points += other.points
        self.pairs += other.pairs
        self.ended_early += other.ended_early
        self.calls = max(self.calls, other.calls)
        self.defects.update(other.defects)
        self.told += other.told
        overruns = [one for one in (self.overrun_s, other.overrun_s) if one is not None]
        self.overrun_s = max(overruns, default=None)


class Forks:
    """The children, a few at a time; what they tell comes through one pipe each."""

    def __init__(self, at_most: int, found: Found) -> None:
        self._at_most, self._found = at_most, found
        self._running: dict[int, tuple[int, str]] = {}

    def fork(self, name: str) -> int | None:
        """Return None in the parent; in a child the file descriptor to which it tells its verdict."""
        while len(self._running) >= self._at_most:
            self._collect()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, _HUNG_CPU_S)
            return writing
        os.close(writing)
        self._running[reading] = (pid, name)
        return None

    def _collect(self) -> None:
        for ready in select.select(list(self._running), [], [])[0]:
            text = b""
            while piece := os.read(ready, 65536):
                text += piece
            os.close(ready)
            pid, name = self._running.pop(ready)
            _, status = os.waitpid(pid, 0)
            if text:
                self._found.add(json.loads(text))
            else:
                hung = f"the play ended with status {status} and told nothing"
                self._found.add({"suffered": [name], "found": {"unfinished": [hung]}})

    def wait(self) -> None:
        """Wait for the last ones."""
        while self._running:
            self._collect()


def sweep(cloud: str, plan: Plan) -> Found:
    """Try the crash points of one cloud."""
    found = Found()
    this = scene(cloud, budget=plan.budget)
    # The first play loads every module and tells what a good one leaves.
    good, _ = _played(cloud, this)
    calls = INJECTOR.number
    _forget()
    chosen = _pairs(plan, calls)
    # A child lives for a second, and a collection would copy the parent's memory.
    gc.collect()
    gc.disable()
    forks = Forks(plan.processes, found)
    state = _Exploring(plan, forks, None, chosen)
    INJECTOR.explore = state.explore
    # What was found so far is told, and no new child is begun.
    signal.signal(signal.SIGTERM, lambda *_: setattr(state, "stopped", True))
    try:
        _, judgement = _played(cloud, this, good, state)
    except BaseException as error:
        if state.writing is None:
            raise
        judgement = Judgement({"unfinished": [f"the play broke: {error!r}"]})
    told = judgement.found
    if state.writing is not None:
        _tell(state.writing, judgement)
    INJECTOR.explore = None
    forks.wait()
    found.calls = INJECTOR.number
    if judgement.overrun_s is not None:
        found.overrun_s = max(found.overrun_s or 0.0, judgement.overrun_s)
    if any(told.values()):
        found.add({"suffered": ["nothing"], "found": told, "overrun_s": judgement.overrun_s})
    _forget()
    return found


@dataclass(frozen=True)
class _Good:
    """What a play without a fault leaves: things by kind, and its state after the preparation and at the end."""

    things: Counter[str]
    prepared: str
    ended: str


def _tell(writing: int, judgement: Judgement) -> NoReturn:
    """End a child with its verdict."""
    told = {
        "suffered": INJECTOR.suffered,
        "found": judgement.found,
        "overrun_s": judgement.overrun_s,
        "ended_early": INJECTOR.whole and judgement.ended_early,
    }
    text = json.dumps(told, default=str).encode()
    while text:
        text = text[os.write(writing, text) :]
    os._exit(0)


@dataclass
class _Exploring:
    plan: Plan
    forks: Forks
    machine: Machine | None
    pairs: Mapping[int, Sequence[tuple[str, int, str]]]
    writing: int | None = None
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    tried: int = 0
    stopped: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.plan.seed)

    def explore(self, number: int, call: Call) -> str | None:
        """Fork a child for each fault of this call; return the fault in a child."""
        key = (call.process, call.what)
        self.seen[key] += 1
        if not self.plan.pairs and self.seen[key] <= self.plan.repeats:
            for fault in call.faults:
                name = f"{fault} {call.process}: {call.what}"
                if self._left() and self.rng.random() < self.plan.share and self.plan.only in name:
                    self.tried += 1
                    if self._child(name):
                        return fault
        for fault, offset, second in self.pairs.get(number, ()):
            if self._child(f"{fault} and {second} after {offset}"):
                INJECTOR.pending.append((number + offset, second))
                INJECTOR.whole = True
                return fault
        return None

    def _left(self) -> bool:
        return self.plan.limit is None or self.tried < self.plan.limit

    def _child(self, name: str) -> bool:
        if self.stopped:
            return False
        writing = self.forks.fork(name)
        if writing is None:
            return False
        self.writing, INJECTOR.explore = writing, None
        assert self.machine is not None  # noqa: S101 - it plays
        self.machine.forked()
        INJECTOR.rng = random.Random(f"{self.plan.seed}/{name}")
        return True


def _pairs(plan: Plan, calls: int) -> dict[int, list[tuple[str, int, str]]]:
    """Draw pairs: (fault, how many calls later, fault) by the number of the first call. Half of the second faults hit
    the recovery from the first.
    """
    rng = random.Random(f"{plan.seed}/pairs")
    drawn: dict[int, list[tuple[str, int, str]]] = {}
    for _ in range(plan.pairs):
        number = rng.randrange(1, calls)
        near = 1 + int(rng.expovariate(1 / 6))
        offset = near if rng.random() < 0.5 else 1 + int(rng.random() * max(1, calls - number - 5))
        drawn.setdefault(number, []).append((rng.choice(list(FAULTS)), offset, rng.choice(list(FAULTS))))
    return drawn


def _played(
    cloud: str, this: Scene, good: _Good | None = None, exploring: _Exploring | None = None
) -> tuple[_Good, Judgement]:
    """Play a scene on a machine of its own and judge it; return what it left too."""

    async def work(loop: Machine) -> tuple[_Good, Judgement]:
        if exploring is not None:
            exploring.machine = loop
        with wired(loop), simulated(this) as simulator:
            await simulator.start()
            plant(simulator, cloud)
            before = inventory(simulator, cloud)
            watcher = Watcher()
            watching = [task for cluster in simulator.clusters.values() for task in watcher.watch(cluster)]
            prepared = ""

            async def goes_on(run: DagRun) -> bool:
                nonlocal prepared
                if INJECTOR.suffered and not INJECTOR.whole:
                    # What a preparation leaves is judged by itself, so a single fault in it needs no trial.
                    return False
                entries = await loop.run_in_executor(None, recorded)
                prepared = state_of(inventory(simulator, cloud), entries, run.results)
                return good is None or not _is_back(prepared, good.prepared) or _has_twin()

            with connected(simulator.environment(), _store_file()):
                runs = await play(this, loop, goes_on=goes_on)
                await simulator.clock.sleep(_TWIN_SETTLED_S if _has_twin() else _SETTLED_S)
                after = inventory(simulator, cloud)
                entries = await loop.run_in_executor(None, recorded)
                played = Played(this, before, after, runs, watcher, entries, None, after)
                left = _Good(made(played), prepared, state_of(after, entries, {}))
                # In a state that the reaper has met before it does what it did before.
                if good is None or not _is_back(left.ended, good.ended):
                    said = await reaped(this, loop)
                    played = replace(played, reaped=said, at_last=inventory(simulator, cloud))
                told = await loop.run_in_executor(None, judge, played, (good or left).things)
                told.ended_early = played.reaped is None
            for task in watching:
                task.cancel()
            return left, told

    return run(work)


def _has_twin() -> bool:
    return any(fault.startswith("twin ") for fault in INJECTOR.suffered)


def _is_back(state: str, good: str) -> bool:
    """Return whether a play that has suffered all its faults is in the recording's state, so that what follows is what
    the recording does. Some pairs go on all the same, to show that it is so.
    """
    if not INJECTOR.suffered or INJECTOR.pending or state != good:
        return False
    return not INJECTOR.whole or INJECTOR.rng.random() >= _GO_ON


_STORES: Final = iter(range(10**9))


def _store_file() -> str:
    return f"{tempfile.gettempdir()}/crash-points-{os.getpid()}-{next(_STORES)}/results.db"


def _forget() -> None:
    INJECTOR.number, INJECTOR.suffered, INJECTOR.pending = 0, [], []
    INJECTOR.seen.clear()


def line(found: Mapping[str, Found], seconds: float) -> dict[str, Any]:
    """Return the figures of a whole sweep."""
    defects: Counter[str] = Counter()
    for one in found.values():
        defects.update(one.defects)
    return {
        "points": {cloud: one.points for cloud, one in found.items()},
        "clouds": len(found),
        "pairs": sum(one.pairs for one in found.values()),
        "ended_early": sum(one.ended_early for one in found.values()),
        **{name: defects[name] for name in DEFECTS},
        "budget_overrun_s_max": max(
            (one.overrun_s for one in found.values() if one.overrun_s is not None), default=None
        ),
        "calls": {cloud: one.calls for cloud, one in found.items()},
        "seconds": round(seconds, 1),
    }


def say(text: str) -> None:
    """Print to the error stream at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def clocked() -> float:
    """Return real seconds, which the machine does not change."""
    return time.perf_counter()
