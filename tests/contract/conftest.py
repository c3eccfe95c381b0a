"""The simulator that every cloud's and every autoscaler's contract is tried against."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from scenes import SCENES, SPEED
from simulator_in_background import BackgroundSimulator, simulator_in_background

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.dag_factory import load_experiment
from airflow_llm_provisioning.gateways.clouds.base import Owned

FILE = (
    Path(__file__).resolve().parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
)


@pytest.fixture(scope="package")
def experiment() -> Experiment:
    """The origin's experiment on three simulated clouds."""
    return load_experiment(FILE)


@pytest.fixture(scope="package")
def running(experiment: Experiment) -> Iterator[BackgroundSimulator]:
    """Run the simulator once for the package."""
    with simulator_in_background(experiment, speed=SPEED, seed=3) as found:
        yield found


@pytest.fixture(scope="package")
def environment(running: BackgroundSimulator) -> dict[str, str]:
    """What leads to it."""
    return running.environment()


@pytest.fixture
def _reached(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, results_db: Path) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def slowed(running: BackgroundSimulator) -> Iterator[Callable[[float], None]]:
    """Let virtual time go at another speed until the test ends."""
    yield running.shift
    running.shift(SPEED)


@pytest.fixture(scope="package")
def strangers(running: BackgroundSimulator) -> Callable[[str], list[Owned]]:
    """Put somebody else's objects into a cloud, once."""
    return cache(lambda cloud: SCENES[cloud].strangers(running))
