"""The processes of a proof, and its progress on stderr."""

import gc
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def workers(processes: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_collect_less)


def report(told: str) -> None:
    """Say how far a proof has come."""
    sys.stderr.write(told + "\n")
    sys.stderr.flush()


def _collect_less() -> None:
    """Make garbage collections in a worker rare: a trial creates many small objects and few cycles."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
