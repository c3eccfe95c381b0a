"""Why the first process of a Ray container ends instead of running on: read from its command, image and limits. Pure.

Exit codes and texts are bash's, click's and Ray's (2.60 `ray start`). What nothing here explains starts.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llm_provisioning_simulator.kube.quantities import quantity
from llm_provisioning_simulator.runtime import OOM_KILLED, ContainerContext, Exit
from llm_provisioning_simulator.world import UNLISTED

MIN_OBJECT_STORE_BYTES: Final = 78_643_200
"""ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES."""
_FLOATS: Final = frozenset({"num-cpus", "num-gpus", "memory"})
_INTEGERS: Final = frozenset(
    {
        "dashboard-agent-grpc-port",
        "dashboard-agent-listen-port",
        "dashboard-grpc-port",
        "dashboard-port",
        "gcs-server-port",
        "max-worker-port",
        "metrics-export-port",
        "min-worker-port",
        "node-manager-port",
        "object-manager-port",
        "object-store-memory",
        "port",
        "ray-client-server-port",
        "runtime-env-agent-port",
    }
)
_TEXTS: Final = frozenset(
    {
        "address",
        "autoscaling-config",
        "cgroup-path",
        "dashboard-host",
        "labels",
        "labels-file",
        "log-color",
        "log-style",
        "node-ip-address",
        "node-name",
        "object-spilling-directory",
        "plasma-directory",
        "plasma-store-socket-name",
        "raylet-socket-name",
        "redis-password",
        "redis-shard-ports",
        "redis-username",
        "resources",
        "storage",
        "system-config",
        "system-reserved-cpu",
        "system-reserved-memory",
        "temp-dir",
        "tracing-startup-hook",
        "worker-port-list",
    }
)
_FLAGS: Final = frozenset(
    {
        "block",
        "disable-usage-stats",
        "enable-resource-isolation",
        "head",
        "include-dashboard",
        "include-log-monitor",
        "no-monitor",
        "no-redirect-output",
        "ray-debugger-external",
        "verbose",
    }
)
_OPTIONS: Final = _FLOATS | _INTEGERS | _TEXTS | _FLAGS
_EXIT: Final = re.compile(r"^exit\s+(\d+)$")
_FOREVER: Final = frozenset({"sleep infinity", "sleep inf", "tail -f /dev/null"})


@dataclass(frozen=True, slots=True)
class FailedStart:
    """A first process that ends. `output`: what it prints; `oom`: the kernel ends it once it has grown."""

    exit: Exit
    output: tuple[str, ...] = ()

    @property
    def oom(self) -> bool:
        """Whether memory ended it."""
        return self.exit.reason == OOM_KILLED.reason


UNREACHED: Final = FailedStart(Exit(1), ("RuntimeError: Failed to connect to GCS.",))
"""`ray start` of a worker whose head did not come in time."""


def waits_for_port(container: Mapping[str, Any]) -> bool:
    """Tell whether a shell loop before `ray start` opens the head's port until it answers."""
    return any(step.startswith("until ") and "/dev/tcp/" in step for step in _steps(" ".join(container["args"] or ())))


def failed_start(ctx: ContainerContext, needed_bytes: float, head_version: str | None) -> FailedStart | None:
    """Return why a Ray container ends before Ray runs in it, or None. `head_version`: the Ray a worker would join."""
    script = " ".join(ctx.container.get("args") or ())
    return (
        _shell(script, ctx.image.packages)
        or _options(script)
        or _memory(ctx.container, needed_bytes)
        or _versions(ctx.image.packages, head_version)
    )


def never_starts(container: Mapping[str, Any]) -> bool:
    """Tell whether a command of the user's own waits without end before `ray start` is reached."""
    return any(step in _FOREVER for step in _steps(" ".join(container.get("args") or ())))


def memory_limit(container: Mapping[str, Any]) -> float:
    """Return a container's memory limit in bytes; infinite without one."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return float("inf") if limit is None else float(quantity(limit))


def _shell(script: str, packages: Mapping[str, str]) -> FailedStart | None:
    for step in _steps(script):
        if (code := _EXIT.match(step)) is not None:
            return FailedStart(Exit(int(code[1])))
        if step.startswith("ray ") and "ray" not in packages:
            return FailedStart(Exit(127), ("/bin/bash: line 1: ray: command not found",))
    return None


def _steps(script: str) -> Iterator[str]:
    return (step.strip() for step in re.split(r"&&|;|\n", script))


def _options(script: str) -> FailedStart | None:
    start = next((step for step in _steps(script) if step.startswith("ray start")), "")
    for word in _words(start)[2:]:
        name, _, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            continue
        if name not in _OPTIONS:
            return _refused(f"No such option: --{name}")
        if name in _INTEGERS and not re.fullmatch(r"-?\d+", value):
            return _refused(f"Invalid value for '--{name}': '{value}' is not a valid integer.")
        if name in _FLOATS and not _is_float(value):
            return _refused(f"Invalid value for '--{name}': '{value}' is not a valid float.")
        if name == "object-store-memory" and int(value) < MIN_OBJECT_STORE_BYTES:
            least = f"but the minimum allowed is {MIN_OBJECT_STORE_BYTES} bytes."
            text = f"ValueError: Attempting to cap object store memory usage at {value} bytes, {least}"
            return FailedStart(Exit(1), (text,))
    return None


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _refused(message: str) -> FailedStart:
    usage = "Usage: ray start [OPTIONS]", "Try 'ray start --help' for help.", ""
    return FailedStart(Exit(2), (*usage, f"Error: {message}"))


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _memory(container: Mapping[str, Any], needed_bytes: float) -> FailedStart | None:
    return FailedStart(OOM_KILLED) if memory_limit(container) < needed_bytes else None


def _versions(packages: Mapping[str, str], head_version: str | None) -> FailedStart | None:
    own = packages.get("ray")
    if head_version is None or own == head_version or UNLISTED in (own, head_version):
        return None
    text = f"Version mismatch: The cluster was started with:\n    Ray: {head_version}\n"
    return FailedStart(Exit(1), (f"RuntimeError: {text}This process was started with:\n    Ray: {own}",))
