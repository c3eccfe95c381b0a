"""How long a machine takes from the request until its GPU is known to its kubelet. Drawn once per node. Pure."""

import random
from dataclasses import dataclass

from llm_provisioning_simulator.profiles import Profile
from llm_provisioning_simulator.world import NodeSpec


@dataclass(frozen=True, slots=True)
class BootPlan:
    """Seconds of each step. `driver_s` and `plugin_s` follow Ready and matter only where there is a GPU."""

    launch_s: float
    register_s: float
    ready_s: float
    driver_s: float = 0.0
    plugin_s: float = 0.0


def boot_plan(spec: NodeSpec, operating_system: str, profile: Profile, rng: random.Random) -> BootPlan:
    """Draw the boot of one node. `operating_system`: `bottlerocket` or `al2023` on EKS, of no consequence elsewhere."""

    def draw(name: str) -> float:
        return profile.sample(name, rng)

    if spec.cloud == "eks":
        return BootPlan(
            draw("node_launch_s"),
            draw(f"{operating_system}_register_s"),
            draw(f"{operating_system}_ready_s"),
            plugin_s=draw(f"{operating_system}_gpu_plugin_s"),
        )
    # A VM of GKE and AKS is "running" within the seconds its cloud's figures start to count from.
    register_s = draw("gpu_node_register_s" if spec.gpu else "cpu_node_register_s")
    if spec.cloud == "aks":
        setup_s = draw("streaming_node_setup_s") if spec.streaming else 0.0
        return BootPlan(0.0, register_s + setup_s, draw("node_ready_s"), plugin_s=draw("gpu_plugin_s"))
    return BootPlan(0.0, register_s, draw("node_ready_s"), draw("driver_install_s"), draw("gpu_plugin_s"))
