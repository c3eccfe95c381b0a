"""How the hub's client on a node fetches weights, decided by what is really installed and set there.

It knows packages, environment variables, bytes and rates; it must not know variants. The rules follow huggingface_hub's
sources: 0.1x-0.29 use hf_transfer where the package is importable and the flag is set (vLLM up to the hub's 1.0 sets it
by itself where the variable is absent: vllm 0.5.4 weight_utils.enable_hf_transfer); from 0.32 an installed hf_xet takes
precedence; from 1.0 the flag is ignored (removal commit 52c718a5) and HF_XET_HIGH_PERFORMANCE takes its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from packaging.version import InvalidVersion, Version

Client = Literal["plain", "hf_transfer", "xet", "xet_high_performance"]
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})


class DownloadError(RuntimeError):
    """The hub's client refuses to download; the text is what it raises."""


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """`parallel_files` at once, each over `connections` (large files only: `min_bytes`), and one sentence why."""

    client: Client
    parallel_files: int
    connections: int
    min_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """Constants of the clients: hub's worker threads, hf_transfer's ranges, hf_xet's concurrency."""

    plain_parallel_files: int
    hf_transfer_connections: int
    hf_transfer_min_file_bytes: int
    xet_connections: int
    xet_high_performance_connections: int


def download_plan(packages: Mapping[str, str], env: Mapping[str, str], limits: DownloadLimits) -> DownloadPlan:
    """Return how a snapshot is downloaded. `packages`: name -> version of what the process can import.

    Raises DownloadError where hf_transfer is asked for and is not installed, as the hub's client does.
    """
    hub = _version(packages.get("huggingface-hub", "0"))
    xet = _xet(hub, packages, env, limits)
    if xet is not None:
        return xet
    if hub >= Version("1.0"):
        return _plain(limits, f"huggingface_hub {hub} ignores hf_transfer, and hf_xet is absent or disabled")
    importable = "hf-transfer" in packages
    flag = env.get("HF_HUB_ENABLE_HF_TRANSFER")
    # vLLM sets the flag itself only where the variable is absent.
    enabled = _is_true(flag) if flag is not None else importable and "vllm" in packages
    if not enabled:
        return _plain(limits, "hf_transfer is not enabled")
    if not importable:
        raise DownloadError(
            "Fast download using 'hf_transfer' is enabled (HF_HUB_ENABLE_HF_TRANSFER=1) but 'hf_transfer' package is "
            "not available in your environment. Try `pip install hf_transfer`."
        )
    # snapshot_download hands files over one by one then, because each file opens all its connections.
    return DownloadPlan(
        "hf_transfer", 1, limits.hf_transfer_connections, limits.hf_transfer_min_file_bytes, "hf_transfer is enabled"
    )


def import_warning(packages: Mapping[str, str], env: Mapping[str, str]) -> str | None:
    """Return what importing the hub's client prints to stderr about hf_transfer, or None.

    huggingface_hub 2.4 constants.py; of the 1.x releases some had the warning as dead code (hub #4219): none prints it
    here.
    """
    if _version(packages.get("huggingface-hub", "0")) < Version("2.0"):
        return None
    if not _is_true(env.get("HF_HUB_ENABLE_HF_TRANSFER")) or _is_true(env.get("HF_XET_HIGH_PERFORMANCE")):
        return None
    return (
        "huggingface_hub/constants.py:300: FutureWarning: The `HF_HUB_ENABLE_HF_TRANSFER` environment variable is "
        "deprecated as 'hf_transfer' is not used anymore. Please use `HF_XET_HIGH_PERFORMANCE` instead to enable high "
        "performance transfer with Xet."
    )


def download_s(files: Sequence[int], plan: DownloadPlan, *, connection_bytes_s: float, node_bytes_s: float) -> float:
    """Return the seconds a snapshot takes: every file at its connections' rate, all together at most at the node's.

    Files start in order as workers become free, as snapshot_download's thread pool does.
    """
    waiting = [float(size) for size in files if size > 0]
    running: list[tuple[float, float]] = []
    elapsed = 0.0
    while waiting or running:
        while waiting and len(running) < plan.parallel_files:
            size = waiting.pop(0)
            connections = plan.connections if size >= plan.min_bytes else 1
            running.append((size, connections * connection_bytes_s))
        share = min(1.0, node_bytes_s / sum(cap for _, cap in running))
        step = min(size / (cap * share) for size, cap in running)
        elapsed += step
        left = [(size - cap * share * step, cap) for size, cap in running]
        running = [(size, cap) for size, cap in left if size > 0.5]
    return elapsed


def _xet(
    hub: Version, packages: Mapping[str, str], env: Mapping[str, str], limits: DownloadLimits
) -> DownloadPlan | None:
    if hub < Version("0.30") or "hf-xet" not in packages or _is_true(env.get("HF_HUB_DISABLE_XET")):
        return None
    # hf_xet reads the environment in Rust: what Python code sets in huggingface_hub's constants does not reach it.
    if _is_true(env.get("HF_XET_HIGH_PERFORMANCE")):
        connections = limits.xet_high_performance_connections
        return DownloadPlan(
            "xet_high_performance", limits.plain_parallel_files, connections, 0, "hf_xet, high performance"
        )
    return DownloadPlan("xet", limits.plain_parallel_files, limits.xet_connections, 0, "hf_xet takes precedence")


def _plain(limits: DownloadLimits, why: str) -> DownloadPlan:
    return DownloadPlan("plain", limits.plain_parallel_files, 1, 0, why)


def _is_true(value: str | None) -> bool:
    return value is not None and value.upper() in _TRUE


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")
