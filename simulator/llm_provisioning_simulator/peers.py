"""Dragonfly's peers of one cluster, as a container runtime and dfdaemon see them: whose pulls go through a proxy, which
seed peers hold which layers, and what every peer logs.

The processes in the pods say what they are (`app.dragonfly`); the kubelets ask how a pull goes (`infra.peerpulls`).
Texts are those of dragonflyoss/client 1.x: grpc/dfdaemon_download.rs, resource/task.rs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from llm_provisioning_simulator.world import Image, digest_of


@dataclass(slots=True, eq=False)
class Peer:
    """One dfdaemon. `proxies`: whether its rules lead layers through peers; `by_digest`: whether the id of a layer's
    task is the layer's digest; `say`: writes a line to its log, None where it logs to files; `held`: digest of a layer
    -> since when.
    """

    pod: str
    node: str
    address: str
    seed: bool
    proxies: bool
    by_digest: bool
    say: Callable[[str], None] | None
    held: dict[str, datetime] = field(default_factory=dict)

    @property
    def peer_id(self) -> str:
        """How others name it as the source of a piece."""
        return f"{self.address}-{self.pod}-{digest_of(self.pod)[7:15]}{'-seed' if self.seed else ''}"

    def log(self, source: str, told: str) -> None:
        """Write a line, if it logs to the console."""
        if self.say is not None:
            self.say(f" INFO {source}: {told}")


@dataclass(slots=True)
class PeerNetwork:
    """All of it. `mirrors`: node -> registries whose pulls its runtime leads to the proxy, None for all; `peers`: by
    the pod's uid; `schedulers`: uids of the scheduler's running pods; `pulling`: how many nodes get layers right now.
    """

    mirrors: dict[str, frozenset[str] | None] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)
    schedulers: set[str] = field(default_factory=set)
    pulling: int = 0

    def listening(self, node: str) -> Peer | None:
        """Return the peer whose proxy listens on a node."""
        return next((peer for peer in self.peers.values() if peer.node == node and not peer.seed), None)

    def proxy(self, node: str, reference: str) -> Peer | None:
        """Return the peer through which a node's runtime pulls an image; None: from its registry, as without peers."""
        peer = self.listening(node)
        if node not in self.mirrors or peer is None or not peer.proxies:
            return None
        wanted = self.mirrors[node]
        return peer if wanted is None or reference.partition("/")[0] in wanted else None

    def seeds(self) -> Sequence[Peer]:
        """Return the seed peers that the scheduler leads others to."""
        return [peer for peer in self.peers.values() if peer.seed] if self.schedulers else []


def layer_digests(image: Image) -> list[str]:
    """Return the digests of an image's layers, without `sha256:`."""
    return [digest_of("layer", image.digest, place).removeprefix("sha256:") for place in range(len(image.layer_bytes))]
