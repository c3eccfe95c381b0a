"""The names in a generated deployment."""

from datetime import UTC, datetime
from typing import Any, Final

BASE: Final = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NAME: Final = "trial-a"
NAMESPACE: Final = "serving"
# KubeRay up to 1.3 adds `raycluster` to the name (renamed by 1.4).
CLUSTER: Final = "trial-a-x7k2p"
OLD_CLUSTER: Final = "trial-a-raycluster-x7k2p"
IMAGE: Final = "registry.example/llm:1"
# The compressed size of rayproject/ray-llm:2.56.0-py312-cu130.
IMAGE_BYTES: Final = 11_600_000_000
ADDRESSES: Final = {"head": "10.0.0.1", "worker": "10.0.0.2"}
NODES: Final = {"head": "node-head", "worker": "node-gpu"}
REPLICA: Final = "abc12345"

Json = dict[str, Any]
