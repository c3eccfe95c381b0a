"""Processes of this machine and their children, as Linux's /proc has them: found by title, killed with all of them."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path


def processes() -> list[int]:
    """Return the ids of all processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> str:
    """Return the title or command of a process; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def parent(pid: int) -> int:
    """Return the parent of a process. Raises OSError where it is gone."""
    # The command's name is in parentheses and may contain any character.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, int] = {}
    for known in processes():
        with suppress(OSError, ValueError, IndexError):
            parents[known] = parent(known)
    found = [pid]
    for ancestor in found:
        found += [child for child, of in parents.items() if of == ancestor]
    return found


def kill_tree(process: "subprocess.Popen[bytes]", *, wait_s: float = 30.0) -> None:
    """Kill a process and all its descendants by SIGKILL, with the process groups that they lead, and wait for it."""
    groups = set()
    for one in descendants(process.pid):
        with suppress(ProcessLookupError):
            groups.add(os.getpgid(one))
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    process.wait(timeout=wait_s)
