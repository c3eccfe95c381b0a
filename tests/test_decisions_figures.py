"""The figures of docs/decisions.md, shortened: intervals hold what they claim, and the rule saves trials."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from decided.effects import largest_by_noise

ROOT = Path(__file__).resolve().parents[1]


def test_the_figures_are_within_their_goals() -> None:
    """400 experiments of each kind and 60 histories: the bounds are wider than the goals by the noise of so few (three
    standard errors of 400 are 3.3 points). A figure that nothing computes is null.
    """
    command = [sys.executable, str(ROOT / "benchmarks" / "decisions.py"), "--short"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)  # noqa: S603 - our own script
    found = json.loads(ran.stdout)
    low, high = found["coverage_95"]
    assert 0.93 - 0.033 <= low <= high <= 0.97 + 0.033
    assert found["looks_coverage"] >= 0.93
    assert found["saved_trials_ratio"] >= 0.4
    assert found["false_alarms_per_60_nights"] <= 0.07
    assert found["step_nights_p90"] <= 5
    assert found["right_phase_ratio"] >= 0.85
    assert found["right_cause_ratio"] >= 0.8
    assert found["gate_wrong_ratio"] <= 0.05
    assert (found["wiring_mistakes"], found["wiring_mistakes_passed"]) == (24, 0)
    assert found["cost_error_pct"] <= 1.0
    assert found["cost_within_bounds_ratio"] == 1.0
    assert found["effects_coverage_95"] >= 0.85
    # A time of a busy machine says nothing; a store of so few trials gives no figure of a million.
    assert (found["store_trials"], found["store_1m_table_s"], found["store_1m_mb"]) == (720, None, None)
    assert found["ingest_per_s"] > 0
    assert found["store_mb"] < 200


def test_noise_alone_explains_more_of_the_largest_of_many_errors() -> None:
    """Of one effect as much as its interval; of 72 independent ones 1.7 times as much."""
    assert largest_by_noise(1.8, 1) == pytest.approx(1.8)
    assert largest_by_noise(1.8, 72) == pytest.approx(3.11, abs=0.02)
