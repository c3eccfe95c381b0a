"""What the pods of a cluster reach outside of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from llm_provisioning_simulator.buckets import Bucket
from llm_provisioning_simulator.hub import MODELS, HubModel
from llm_provisioning_simulator.peers import PeerNetwork


@dataclass(frozen=True)
class Outside:
    """`models`: what the hub has, by model id; `buckets` by name; `image_models`: the model that an image holds, by the
    image's reference; `peers`: the nodes that share images with each other.
    """

    models: Mapping[str, HubModel] = field(default_factory=lambda: MODELS)
    buckets: Mapping[str, Bucket] = field(default_factory=lambda: MappingProxyType({}))
    image_models: Callable[[str], HubModel | None] = lambda _: None
    peers: PeerNetwork = field(default_factory=PeerNetwork)
