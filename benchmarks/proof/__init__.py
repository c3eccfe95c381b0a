"""The proofs behind the claims about the measurement, one module each; `benchmarks/measurement.py` runs them.

A proof is a module `proof.<name>` with one public function

    def prove(size: Size) -> dict[str, Any]: ...

that returns its figures by the names in `FIGURES[name]`. Further entries are details (how a figure grows, what was
missed) that are printed on stderr and stored by `--details`. An unknown figure is None, never 0. A proof is
deterministic by `size.seed`, reports its progress on stderr and stops by itself. It raises only if it fails itself,
never if a claim is wrong: the tests check the claims (`tests/proof`).
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
    "noops": ("noops_total", "noops_caught"),
    "blockers": ("dead_ends", "blockers_named_ratio"),
    "valid": ("valid_trials", "false_alarms", "false_early_ends"),
    "servers": ("bad_servers", "false_ready"),
    "concurrency": ("concurrent_trials", "events_lost", "cpu_s_per_trial", "rss_mb_per_trial", "ready_lag_ms_p99"),
}
"""The figures of every proof, in the order in which they are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of the proofs.

    `deployments`: number of generated deployments. `valid_trials`: trials without a fault; none of them may raise an
    alarm, and the wait for none of them may end early. `concurrent_trials`: trials that one process records at once,
    each on its own cluster; `events_per_s`: events of all clusters together, for `recording_s` seconds. `processes`:
    parallel processes, if a proof can use them.
    """

    deployments: int = 10_000
    valid_trials: int = 2_000
    concurrent_trials: int = 200
    events_per_s: int = 1_000
    recording_s: float = 30.0
    processes: int = 2
    seed: int = 1


FULL: Final = Size()
SHORT: Final = Size(deployments=100, valid_trials=20, concurrent_trials=10, events_per_s=100, recording_s=2.0)
"""The size for every change: seconds, not minutes."""
