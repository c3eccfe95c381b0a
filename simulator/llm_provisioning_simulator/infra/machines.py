"""The machines of one simulated cluster and the environment they share. Data only: who boots and empties them is
elsewhere.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.peers import PeerNetwork
from llm_provisioning_simulator.profiles import InstanceType, Profile
from llm_provisioning_simulator.world import CloudCluster, Delivery, Image, NodeSpec, World

OperatingSystem = Literal["bottlerocket", "al2023", "cos", "ubuntu"]


@dataclass(slots=True)
class ClusterContext:
    """What every controller of one cluster shares. `rng` is the cluster's one source of noise."""

    cluster: CloudCluster
    world: World
    store: ObjectStore
    clock: SimClock
    profile: Profile
    rng: random.Random
    faults: Faults = field(default_factory=Faults)
    peers: PeerNetwork = field(default_factory=PeerNetwork)

    def draw_s(self, name: str) -> float:
        """Draw a duration of the profile with noise."""
        return self.profile.sample(name, self.rng)

    async def pause(self, name: str) -> None:
        """Let a duration of the profile pass, drawn with noise."""
        await self.clock.sleep(self.draw_s(name))


@dataclass(slots=True)
class LocalImage:
    """An image a node can start containers from, and how it came."""

    image: Image
    delivery: Delivery


@dataclass(slots=True, eq=False)
class Machine:
    """One machine from the request to its end. `address`: its IP; `images`: normalised reference -> what is there."""

    spec: NodeSpec
    size: InstanceType
    operating_system: OperatingSystem
    address: str
    launched_at: datetime
    startup_taints: tuple[Mapping[str, str], ...] = ()
    """On the node until its autoscaler takes them off."""
    state: Literal["launching", "registered", "ready", "leaving"] = "launching"
    images: dict[str, LocalImage] = field(default_factory=dict)
    pulling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The kubelet pulls one image at a time (serializeImagePulls, default true)."""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.spec.name

    @property
    def reference(self) -> dict[str, str]:
        """The node as events refer to it: kubelets put its name for the uid."""
        return {"kind": "Node", "name": self.name, "uid": self.name}
