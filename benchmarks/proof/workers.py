"""The processes of a proof, and its progress on stderr."""

import gc
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def workers(processes: int) -> Executor:
    """Return a pool of fresh processes; for one, this process, because a fresh one imports for as long as two trials
    take.
    """
    if processes == 1:
        return _ThisProcess()
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_collect_less)


def report(told: str) -> None:
    """Say how far a proof has come."""
    sys.stderr.write(told + "\n")
    sys.stderr.flush()


class _ThisProcess(Executor):
    """Runs a call when it is submitted."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the call's finished future."""
        done: Future[Any] = Future()
        done.set_result(call(*args, **kwargs))
        return done


def _collect_less() -> None:
    """Make garbage collections in a worker rare: a trial creates many small objects and few cycles."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
