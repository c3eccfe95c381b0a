"""The proofs behind the measurement's claims, one module each; `benchmarks/measurement.py` runs them.

A proof is a module `proof.<name>` with one public function

    def prove(size: Size) -> dict[str, Any]: ...

that returns its figures by the names `FIGURES[name]` gives them, and may return more: what is beside those names is
detail (how a figure grows, what fell short) that is printed on stderr and kept by `--details`. A figure that could not
be had is None, never 0. A proof is deterministic by `size.seed`, says its progress on stderr, stops by itself, raises
only when it is broken, and never when a claim falls short: judging is the tests' part (`tests/proof`).
"""

from dataclasses import dataclass
from typing import Final

FIGURES: Final[dict[str, tuple[str, ...]]] = {
    "deployments": (
        "deployments",
        "sum_mismatches",
        "inside_bounds_ratio",
        "median_width_s",
        "joined_ratio_undistorted",
        "negative_phases",
        "impossible_flagged_ratio",
    ),
    "noops": ("noops_total", "noops_caught", "valid_trials", "false_alarms"),
    "servers": ("bad_servers", "false_ready"),
    "concurrency": ("concurrent_trials", "events_lost", "cpu_s_per_trial", "rss_mb_per_trial", "ready_lag_ms_p99"),
}
"""The figures of every proof, in the order they are printed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is tried.

    `deployments`: generated deployments. `valid_trials`: trials without a fault, none of which may raise an alarm.
    `concurrent_trials`: trials recorded at once by one process, each on a cluster of its own; `events_per_s`: what the
    clusters together tell meanwhile, for `recording_s` seconds. `processes`: processes side by side where a proof can
    use them.
    """

    deployments: int = 10_000
    valid_trials: int = 1_000
    concurrent_trials: int = 200
    events_per_s: int = 1_000
    recording_s: float = 30.0
    processes: int = 2
    seed: int = 1


FULL: Final = Size()
SHORT: Final = Size(deployments=100, valid_trials=20, concurrent_trials=10, events_per_s=100, recording_s=2.0)
"""What runs with every change: seconds, not minutes."""
