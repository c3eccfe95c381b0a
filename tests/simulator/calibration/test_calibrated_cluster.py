"""A cluster that runs on a calibrated profile says so, and a trial on it is an arm of its own."""

from pathlib import Path

import aiohttp

from airflow_llm_provisioning.core.origin import declared_origin
from llm_provisioning_simulator.calibration.profile_file import CalibratedProfile
from llm_provisioning_simulator.experiment import simulated_experiment
from llm_provisioning_simulator.server import Simulator

EXPERIMENT = (
    Path(__file__).resolve().parents[3] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
)


async def test_the_cluster_declares_the_calibration_that_it_runs_on() -> None:
    """The label comes from the cluster, not from who reads it; the shipped simulator has none."""
    numbers = {"all": {"reaction_s": {"value": 7.0, "low": 6.0, "high": 8.0}}}
    calibrated = CalibratedProfile("ours", {"answer": "not consistent"}, numbers)
    experiment = simulated_experiment(EXPERIMENT).on_clouds(["eks"])
    simulator = Simulator(experiment, speed=100.0, seed=1, calibrated=calibrated)
    cluster = simulator.clusters["eks-plain"]
    url = await cluster.start()
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/version") as reply:
            version = await reply.json()
    finally:
        await cluster.stop()
    assert declared_origin(version) == "simulated (calibrated ours)"
    assert cluster.profile.value("reaction_s") == 7.0
    assert Simulator(experiment, speed=100.0, seed=1).clusters["eks-plain"].profile.calibrated == ""
