"""Processes are killed with all their children, of any group: a worker's task must not outlive it."""

import subprocess
import sys
import time

from process_tree import command_line, descendants, kill_tree, parent

# A parent with a child in a session of its own, as a worker's task has one.
_PARENT = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True);"
    "print(child.pid, flush=True); time.sleep(600)"
)


def test_a_child_in_a_session_of_its_own_is_killed_too() -> None:
    """It is found as a descendant, with its command, and is gone afterwards."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert descendants(process.pid) == [process.pid, child]
        assert parent(child) == process.pid
        assert "time.sleep(600)" in command_line(child)
        kill_tree(process)
    ends = time.monotonic() + 30
    while command_line(child) and time.monotonic() < ends:
        time.sleep(0.05)
    assert command_line(child) == ""
