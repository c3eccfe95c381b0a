"""What Ray's runtime_env leaves in a process: packages, variables, and the seconds it took to put them there.

Ray builds a virtual environment that sees the image's own packages, so only what is missing or pinned otherwise is
installed (ray 2.33 and 2.60, _private/runtime_env/pip.py). Nothing is shared between nodes: head and worker pay each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name

from llm_provisioning_simulator.wheels import UNPACKED_RATIO, install_plan


@dataclass(frozen=True, slots=True)
class RuntimeEnv:
    """The `runtime_env` of a Serve application: pip requirements, variables, the URI of the code."""

    pip: tuple[str, ...] = ()
    env_vars: tuple[tuple[str, str], ...] = ()
    working_dir: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> "RuntimeEnv":
        """Read it from a Serve config; pip may be a list or `{packages: [...]}`."""
        config = config or {}
        pip = config.get("pip") or ()
        if isinstance(pip, Mapping):
            pip = pip.get("packages") or ()
        variables = tuple(sorted((str(k), str(v)) for k, v in (config.get("env_vars") or {}).items()))
        return cls(tuple(map(str, pip)), variables, config.get("working_dir"))

    def as_dict(self) -> dict[str, Any]:
        """Return it as Ray's state API shows it."""
        shown: dict[str, Any] = {}
        if self.env_vars:
            shown["env_vars"] = dict(self.env_vars)
        if self.pip:
            shown["pip"] = {"packages": list(self.pip), "pip_check": False}
        if self.working_dir:
            shown["working_dir"] = self.working_dir
        return shown


@dataclass(frozen=True, slots=True)
class Installation:
    """What pip does on one node: `packages` are all that can be imported afterwards."""

    packages: Mapping[str, str]
    added: tuple[str, ...]
    download_bytes: int
    install_cpu_s: float

    def seconds(self, *, rate_bytes_s: float, disk_bytes_s: float, dirty_bytes: float) -> float:
        """Return its wall time: download, then one core's unpacking, unless the disk is slower than both together."""
        written = self.download_bytes * (1 + UNPACKED_RATIO)
        disk_s = max(0.0, written - dirty_bytes) / disk_bytes_s
        return max(self.download_bytes / rate_bytes_s + self.install_cpu_s, disk_s)


def installation(image_packages: Mapping[str, str], requirements: Sequence[str]) -> Installation:
    """Return what installing the requirements over an image's packages takes; a ValueError for one that is none."""
    known = {str(canonicalize_name(name)): version for name, version in image_packages.items()}
    plan = install_plan(known, requirements)
    return Installation(
        packages=known | {name: version for name, version, _, _ in plan},
        added=tuple(f"{name}=={version}" for name, version, _, _ in plan),
        download_bytes=sum(size for _, _, size, _ in plan),
        install_cpu_s=sum(cpu_s for _, _, _, cpu_s in plan),
    )
