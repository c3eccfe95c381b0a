"""Runs functions on hostile input in a process of their own, and says what each call cost."""

import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

# A process that needs more than this is stopped, instead of the whole machine being slowed down.
ADDRESS_SPACE_BYTES = 6 * 2**30
LIMIT_S = 600


@dataclass(frozen=True)
class Cost:
    """What a call cost. `error`, `told`: class and text of what it raised, or empty; `seconds`: of the processor;
    `megabytes`: how far the process grew beyond what it had with its input.
    """

    error: str
    told: str
    seconds: float
    megabytes: float


def measured(function: str, *sources: Any) -> list[Cost]:
    """Return the cost of a function (`package.module:name`) on each source, which is pickled."""
    done = subprocess.run(  # noqa: S603 - this file, by this interpreter
        [sys.executable, __file__, function],
        input=pickle.dumps(sources),
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{function} ended with {done.returncode}: {done.stderr.decode()[-2000:]}"
    found: list[Cost] = pickle.loads(done.stdout)  # noqa: S301 - this file wrote it
    return found


def _costs(act: Any, sources: Sequence[Any]) -> list[Cost]:
    return [_with_everything_imported(act, source) for source in sources]


def _with_everything_imported(act: Any, source: Any) -> Cost:
    """Return the cost of a call; of one that imported something, the cost of the next one: imports are no cost of an
    input, and another input may be the first that needs them.
    """
    known = len(sys.modules)
    cost = _cost(act, source)
    return cost if len(sys.modules) == known else _cost(act, source)


def _cost(act: Any, source: Any) -> Cost:
    # Linux: the peak begins again at the present size (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before_kb, started = _status_kb("VmRSS"), time.process_time()
    error = told = ""
    try:
        act(source)
    except Exception as raised:  # noqa: BLE001 - the caller judges it
        error, told = type(raised).__name__, str(raised)[:20_000]
    return Cost(error, told, time.process_time() - started, (_status_kb("VmHWM") - before_kb) / 1024)


def _status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _main(function: str) -> None:
    tests = Path(__file__).parent
    sys.path += [str(folder) for folder in tests.iterdir() if folder.is_dir()]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    where, _, name = function.partition(":")
    act = getattr(import_module(where), name)
    sources = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - the caller's own
    # The functions may print; what is returned is the last thing.
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    out.write(pickle.dumps(_costs(act, sources)))


if __name__ == "__main__":
    # Its classes are pickled by the name under which the caller knows them.
    import_module("measured_process")._main(sys.argv[1])
