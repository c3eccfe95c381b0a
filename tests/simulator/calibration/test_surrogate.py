"""The surrogate: exact where the total is a sum of its terms, and honest about where it is not."""

import random
from pathlib import Path

import pytest

from llm_provisioning_simulator.calibration.statements import Cell
from llm_provisioning_simulator.calibration.surrogate import fit
from llm_provisioning_simulator.calibration.terms import mechanisms
from llm_provisioning_simulator.calibration.trials import Cells
from llm_provisioning_simulator.experiment import simulated_experiment
from llm_provisioning_simulator.instant_trial import run_trial

EXPERIMENT = (
    Path(__file__).resolve().parents[3] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
)


def rows(number: int, seed: int = 1) -> list[list[float]]:
    rng = random.Random(seed)
    return [[rng.uniform(5, 50), rng.uniform(100, 300), rng.uniform(-50, 50)] for _ in range(number)]


def test_a_sum_with_the_later_of_two_paths_is_fitted_closely() -> None:
    """What bends where one path overtakes the other is within a tenth of a per cent."""
    drawn = rows(60)
    found = fit(drawn, [200 + 2 * a + b + max(0.0, c) for a, b, c in drawn])
    assert max(map(abs, found.error_pct)) < 1.0
    assert found.seconds([20.0, 200.0, 30.0]) == pytest.approx(470.0, rel=0.005)


def test_what_it_cannot_follow_shows_in_its_error() -> None:
    """The error is of trials that were left out of the fit, so noise cannot be fitted away."""
    drawn, rng = rows(12), random.Random(3)
    found = fit(drawn, [500 * rng.uniform(0.7, 1.3) for _ in drawn])
    assert sorted(map(abs, found.error_pct))[6] > 5.0


def test_the_terms_are_those_of_the_whole_trial() -> None:
    """A pull, an installation and a download are the simulator's own: the baseline pulls from Docker Hub, installs
    vllm, and fetches over one connection a file; with the treatment over a hundred.
    """
    cells = Cells(simulated_experiment(EXPERIMENT), {})
    trial = cells.trial(Cell("eks", "static", "baseline"))
    of = mechanisms(trial, run_trial(trial).read)
    fast = mechanisms(cells.trial(Cell("eks", "static", "fast_download")), frozenset(name for name, _ in of.read))
    assert of.image.reference.startswith("docker.io/")
    assert any(item.startswith("vllm==") for item in of.installed.added)
    assert (of.download.connections, fast.download.connections) == (1, 100)
    slow = of.terms({"docker_hub_bytes_s": 20e6}, {})
    assert sum(a != b for a, b in zip(of.terms({}, {}), slow, strict=True)) == 2
