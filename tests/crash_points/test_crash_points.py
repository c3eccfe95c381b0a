"""A seeded sample of the crash points (`make crash-points` tries them all)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "crash_points.py"


def sampled(*options: str) -> tuple[int, dict[str, object], str]:
    """Run the script in a process of its own, because it forks; return exit code, figures and what it told."""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-W", "ignore", str(SCRIPT), *options], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.timeout(1500)
def test_a_sample_of_crash_points_leaves_nothing_and_loses_nothing() -> None:
    """Killed before and after a call, its reply lost or late, the call delivered twice, two processes at once."""
    code, figures, told = sampled(
        "--clouds", "aks", "--seed", "1", "--repeats", "1", "--share", "0.05", "--limit", "12"
    )
    defects = (
        "leaked",
        "doubled",
        "foreign_touched",
        "falsely_clean",
        "rows_lost",
        "rows_wrong",
        "unfinished",
        "secrets_told",
    )
    assert {name: figures[name] for name in defects} == dict.fromkeys(defects, 0), told
    assert (code, figures["points"]) == (0, {"aks": 12})
