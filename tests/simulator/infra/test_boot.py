"""How long nodes take: by cloud, system and GPU, with seeded noise; and waits that do not pile up."""

import random
from dataclasses import replace

import pytest

from airflow_llm_provisioning.simulator.clock import SimClock
from airflow_llm_provisioning.simulator.infra.boot import BootPlan, boot_plan
from airflow_llm_provisioning.simulator.infra.pace import Pace
from airflow_llm_provisioning.simulator.profiles import load_profile
from airflow_llm_provisioning.simulator.world import NodeSpec


def a_plan(
    cloud: str, system: str, *, gpu: bool = True, streaming: bool = False, seed: int = 1, noise: float = 0.0
) -> BootPlan:
    spec = NodeSpec("demo", "n", cloud, "r", "z", "t", {"L4": 1} if gpu else {}, streaming=streaming)  # type: ignore[arg-type]
    profile = load_profile(cloud, "luna").with_values(run_to_run_noise=noise)
    return boot_plan(spec, system, profile, random.Random(seed))


def test_bottlerocket_is_there_before_amazon_linux() -> None:
    """Its image brings driver and device plugin; Amazon Linux waits for a DaemonSet."""
    fast, slow = a_plan("eks", "bottlerocket"), a_plan("eks", "al2023")
    assert fast.register_s < slow.register_s
    assert fast.plugin_s < slow.plugin_s


@pytest.mark.parametrize("cloud", ["gke", "aks"])
def test_a_gpu_machine_takes_longer_than_a_cpu_machine(cloud: str) -> None:
    """GPU machines register later on both clouds."""
    assert a_plan(cloud, "any").register_s > a_plan(cloud, "any", gpu=False).register_s


def test_a_driver_of_its_own_step_is_gkes_alone() -> None:
    """AKS installs it while the node is provisioned, EKS has it in the image."""
    assert a_plan("gke", "cos").driver_s > 0
    assert a_plan("aks", "ubuntu").driver_s == a_plan("eks", "bottlerocket").driver_s == 0


def test_streaming_costs_a_node_of_aks_less_than_a_second() -> None:
    """Since 2025-10: its mirror is set up in 0.7 s; before, it took a minute and a half."""
    plain, streaming = a_plan("aks", "ubuntu"), a_plan("aks", "ubuntu", streaming=True)
    assert streaming.register_s - plain.register_s == pytest.approx(0.7)
    assert replace(streaming, register_s=plain.register_s) == plain


def test_noise_is_the_seeds() -> None:
    """The same seed boots the same node again, another seed another one."""
    assert a_plan("gke", "cos", noise=0.05) == a_plan("gke", "cos", noise=0.05)
    assert a_plan("gke", "cos", noise=0.05) != a_plan("gke", "cos", noise=0.05, seed=2)


async def test_late_wake_ups_do_not_add_up() -> None:
    """A hundred short waits end when their sum is due, though each of them wakes a little late."""
    clock = SimClock.start(100.0)
    began_at = clock.now()
    pace = Pace(clock)
    for _ in range(100):
        await pace.wait(0.5)
    passed_s = (clock.now() - began_at).total_seconds()
    # A hundred sleeps that each overshoot by a millisecond would have added 10 s at this speed.
    assert 50 <= passed_s < 60
