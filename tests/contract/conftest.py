"""The simulator that every cloud's and every autoscaler's contract is tried against."""

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from scenes import SCENES, SPEED
from simulator_in_background import BackgroundSimulator, simulator_in_background
from toy_cloud import KINDS

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
def environment(running: BackgroundSimulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What leads to it, and to the toy cloud's account."""
    account = tmp_path_factory.mktemp("toy_account")
    for kind in KINDS:
        (account / kind).mkdir()
    toy = {"conn_type": "generic", "extra": {"folder": str(account)}}
    return {**running.environment(), "AIRFLOW_CONN_TOY": json.dumps(toy)}


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the toy cloud as another distribution: its metadata on the path, here and in new processes."""
    metadata = tmp_path / "toy_cloud-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-cloud\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[llm_provisioning.clouds]\ntoy = toy_cloud:CLOUD\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = [str(tmp_path), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@pytest.fixture
def _reached(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, results_db: Path, _installed: None) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def slowed(running: BackgroundSimulator) -> Iterator[Callable[[float], None]]:
    """Let virtual time go at another speed until the test ends."""
    yield running.shift
    running.shift(SPEED)


@pytest.fixture(scope="package")
def strangers(running: BackgroundSimulator) -> Callable[[str], list[Owned]]:
    """Put another owner's objects into a cloud, once."""
    return cache(lambda cloud: SCENES[cloud].strangers(running))
