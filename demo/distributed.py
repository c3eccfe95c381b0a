"""`make stack`: the distributed Airflow of docker-compose.yaml as processes of this machine, without Docker.

Their settings are read from docker-compose.yaml, so that there is one source. `up` starts them in the background and
returns when all are healthy; they stop with `down`, or by themselves after `--hours`.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from databases import listens
from distributed_processes import Stack
from stack import ROOT, interrupt_on_signals, say

HOME: Final = ROOT / "build" / "stack"


def serve(options: argparse.Namespace) -> int:
    """Run the stack until SIGTERM, until its time is over, or until one of its processes ends by itself."""
    interrupt_on_signals()
    home: Path = options.home
    try:
        simulated = {"simulated": options.clouds, "speed": options.speed, "seed": options.seed}
        with Stack(home, port=options.port, **simulated) as running:
            say(f"READY {running.url}")
            ends = time.monotonic() + options.hours * 3600
            while time.monotonic() < ends:
                time.sleep(1)
                for name in running.dead():
                    say(f"{name} has ended by itself; see {home}/{name}.log")
                    return 1
            say(f"Stopped after {options.hours:g} hours.")
    except RuntimeError as error:
        say(f"FAILED {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
    return 0


def up(options: argparse.Namespace) -> int:
    """Start the stack in the background; return when it is ready, and say how it is reached and stopped."""
    home: Path = options.home
    if _supervisor(home):
        say(f"It runs already: {home / 'stack.log'}. Stop it by: make stack-down")
        return 1
    if listens(options.port):
        say(f"Port {options.port} of 127.0.0.1 is in use: stop that process, or use another port: make stack PORT=8081")
        return 1
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    log = home / "stack.log"
    arguments = ["serve", f"--home={home}", f"--clouds={options.clouds}", f"--speed={options.speed}"]
    arguments += [f"--seed={options.seed}", f"--port={options.port}", f"--hours={options.hours}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    (home / "supervisor.pid").write_text(str(process.pid))
    told = 0
    while True:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        for line in lines[told:]:
            if line.startswith("READY "):
                say(f"\n    {line.removeprefix('READY ')}\n\nNo login. Trigger `simulated_demo` there. Logs: {home}")
                say(f"Stop it by: make stack-down. It stops by itself after {options.hours:g} hours.")
                return 0
            say(line)
        told = len(lines)
        if process.poll() is not None:
            return 1
        time.sleep(0.3)


def down(options: argparse.Namespace) -> int:
    """Stop the stack."""
    pid = _supervisor(options.home)
    if pid is None:
        say("It does not run.")
        return 0
    os.kill(pid, signal.SIGTERM)
    ends = time.monotonic() + 90
    while _supervisor(options.home) is not None:
        if time.monotonic() > ends:
            say(f"It did not stop within 90 s; see {options.home / 'stack.log'}")
            return 1
        time.sleep(0.3)
    say("Stopped.")
    return 0


def _supervisor(home: Path) -> int | None:
    """Return the process that runs the stack of this folder, None if there is none."""
    try:
        pid = int((home / "supervisor.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    return pid if __file__.encode() in words and state != "Z" else None


def main() -> int:
    """Start, run or stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("up", "down", "serve"))
    parser.add_argument("--clouds", default="eks,gke,aks")
    parser.add_argument("--speed", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--hours", type=float, default=4.0)
    parser.add_argument("--home", type=Path, default=HOME)
    options = parser.parse_args()
    options.home = options.home.resolve()
    return {"up": up, "down": down, "serve": serve}[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
