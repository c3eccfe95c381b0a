"""How long nodes take: by cloud, system and GPU, with seeded noise; and waits that do not pile up."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from llm_provisioning_simulator.infra.boot import BootPlan, boot_plan
from llm_provisioning_simulator.infra.pace import Pace
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import NodeSpec


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


class LateClock:
    """A clock whose every sleeper wakes a tenth of a second late."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    async def sleep_until(self, instant: datetime) -> None:
        self.instant = max(self.instant, instant) + timedelta(seconds=0.1)


async def test_late_wake_ups_do_not_add_up() -> None:
    """A hundred short waits end when their sum is due, though each of them wakes a little late."""
    clock = LateClock()
    began_at = clock.now()
    pace = Pace(clock)  # type: ignore[arg-type]
    for _ in range(100):
        await pace.wait(0.5)
    assert (clock.now() - began_at).total_seconds() == pytest.approx(50.1)
    clock.instant += timedelta(seconds=30)
    pace.restart()
    await pace.wait(0.5)
    assert (clock.now() - began_at).total_seconds() == pytest.approx(80.7)
