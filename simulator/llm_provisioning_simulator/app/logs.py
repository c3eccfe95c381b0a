"""What the processes of one pod have written: container output, and Ray's session log files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from llm_provisioning_simulator.clock import SimClock

# Ray's agent sorts files into these; the order of the rules counts (ray dashboard, log_manager categories).
_CATEGORIES: Final = (
    (".out", "worker-", "worker_out"),
    (".err", "worker-", "worker_err"),
    ("", "python-core-worker", "core_worker"),
    ("", "python-core-driver", "driver"),
    ("", "gcs_server", "gcs_server"),
    ("", "raylet", "raylet"),
    ("", "monitor", "autoscaler"),
    ("", "dashboard_agent", "agent"),
    ("", "runtime_env_agent", "agent"),
    ("", "dashboard.", "dashboard"),
)
_STATIC_FILES: Final = (
    "raylet.out",
    "raylet.err",
    "dashboard_agent.log",
    "runtime_env_agent.log",
    "log_monitor.log",
    "debug_state.txt",
    "events/",
    "serve/",
)


@dataclass(slots=True)
class PodLogs:
    """`containers`: lines of each container's output. `files`: name below Ray's log folder -> text.

    `to_stderr`: RAY_LOG_TO_STDERR=1 sends what would be in the files to the container's output (`main`) instead.
    """

    clock: SimClock
    main: str
    to_stderr: bool = False
    containers: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    def output(self, line: str, container: str | None = None) -> None:
        """Write a line to a container's output."""
        self.containers.setdefault(container or self.main, []).append((self.clock.now(), line))

    def write(self, filename: str, line: str) -> None:
        """Write a line to a file of Ray's session."""
        if self.to_stderr:
            self.output(line)
            return
        self.files.setdefault(filename, []).append(line)

    def serve(self, filename: str, level: str, component: str, message: str) -> None:
        """Write a line as Ray Serve's logger does: local time of the container (UTC) with milliseconds, no zone."""
        self.write(f"serve/{filename}", f"{level} {milliseconds(self.clock.now())} {component} -- {message}")

    def cli(self, message: str, level: str = "INFO", source: str = "scripts.py:1043", container: str = "") -> None:
        """Write a line as Ray's command line and autoscaler do."""
        self.output(f"{milliseconds(self.clock.now())}\t{level} {source} -- {message}", container or None)

    def text(self, filename: str, lines: int = -1) -> str | None:
        """Return the last `lines` of a file (all for a negative number), or None where there is no such file."""
        found = self.files.get(filename)
        if found is None:
            return "" if filename in _STATIC_FILES and not filename.endswith("/") else None
        return "".join(f"{line}\n" for line in (found if lines < 0 else found[-lines:] if lines else []))

    def index(self, glob: str = "*") -> Mapping[str, list[str]]:
        """Return file names by category, as the state API lists them: folders end with a slash, `serve/*` opens one."""
        folder, slash, _ = glob.rpartition("/")
        inside = {name for name in self.files if (name.startswith(f"{folder}/") if slash else "/" not in name)}
        found: dict[str, list[str]] = {}
        for name in sorted(inside if slash else inside | set(_STATIC_FILES)):
            found.setdefault(_category(name), []).append(name)
        return found


def milliseconds(instant: datetime) -> str:
    """Return an instant as Python's logging writes it."""
    return f"{instant:%Y-%m-%d %H:%M:%S},{instant.microsecond // 1000:03d}"


def _category(name: str) -> str:
    for end, start, category in _CATEGORIES:
        if name.startswith(start) and name.endswith(end):
            return category
    return "internal"
