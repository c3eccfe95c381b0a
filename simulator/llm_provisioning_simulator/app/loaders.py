"""How vLLM's loaders bring weights to the GPU: which packages and releases they need, at which rate they read, and what
they print.

Sources: vllm model_loader/ and weight_utils.py (get_model_loader, instanttensor_weights_iterator,
fastsafetensors_weights_iterator); instanttensor 0.2.2, _impl.py: it reads around the page cache unless
INSTANTTENSOR_BACKEND names a buffered backend. It knows bytes, rates, packages and variables, and no reason for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from packaging.version import Version

from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.steps import release
from llm_provisioning_simulator.hub import HubModel

# The first release of vLLM that knows a format, and the package that it imports then.
_SINCE: Final[Mapping[str, Version]] = {
    "instanttensor": Version("0.18"),
    "fastsafetensors": Version("0.8.5"),
    "runai_streamer": Version("0.7"),
}
_PACKAGES: Final[Mapping[str, str]] = {
    "instanttensor": "instanttensor",
    "fastsafetensors": "fastsafetensors",
    "runai_streamer": "runai-model-streamer",
}
_STOCK: Final = frozenset({"auto", "hf", "safetensors", "dummy"})
NO_GDS: Final = (
    "GDS not enabled, setting `nogds=True`. For more information, see: "
    "https://github.com/foundation-model-stack/fastsafetensors?tab=readme-ov-file#basic-api-usages"
)


class LoaderError(RuntimeError):
    """The loader cannot be used; the text is the exception of the engine's process."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a loader reads from. `held_bytes`: what is in the node's memory already; `bytes_s`: rate of the rest;
    `mounted`: a file system of the network.
    """

    held_bytes: float
    bytes_s: float
    mounted: bool = False


@dataclass(frozen=True, slots=True)
class Loading:
    """One load. `warning`: what vLLM warns of while it loads; empty for nothing."""

    seconds: float
    warning: str = ""


def check_loader(load_format: str, version: str, packages: Mapping[str, str], model: HubModel) -> None:
    """Raise LoaderError where this vLLM has no such loader, its package is not installed, or the model has none of the
    files that it reads.
    """
    if load_format in _STOCK:
        return
    since = _SINCE.get(load_format)
    if since is None or release(version) < since:
        raise LoaderError(f"ValueError: Load format `{load_format}` is not supported")
    package = _PACKAGES[load_format]
    if package not in packages:
        raise LoaderError(f"ImportError: Please install {package} via `pip install {package}`")
    if not model.has_safetensors:
        raise LoaderError(f"RuntimeError: Cannot find any model weights with `{model.model_id}`")


def loading(load_format: str, size_bytes: float, env: Mapping[str, str], source: Source, costs: Costs) -> Loading:
    """Return how the weights are loaded from files on the node."""
    if load_format == "instanttensor":
        rate = costs.draw("instanttensor_load_bytes_s")
        held = min(size_bytes, source.held_bytes) if _buffered(env.get("INSTANTTENSOR_BACKEND", "")) else 0.0
        return Loading(held / rate + (size_bytes - held) / min(rate, source.bytes_s))
    if load_format == "runai_streamer":
        # It reads files through the page cache.
        rate = costs.draw("runai_stream_bytes_s")
        held = min(size_bytes, source.held_bytes)
        return Loading(held / rate + (size_bytes - held) / min(rate, source.bytes_s))
    if load_format == "fastsafetensors":
        rate = costs.draw("fastsafetensors_load_bytes_s")
        held = min(size_bytes, source.held_bytes)
        # The clouds' GPU nodes have no driver for GPUDirect Storage (nvidia-fs) in their standard images.
        return Loading(held / rate + (size_bytes - held) / min(rate, source.bytes_s), NO_GDS)
    if source.mounted:
        # Pages of a mapped file come one read-ahead after the other, over the network.
        return Loading(size_bytes / min(costs.draw("weight_load_bytes_s"), source.bytes_s))
    return Loading(size_bytes / costs.draw("weight_load_bytes_s"))


def _buffered(backends: str) -> bool:
    """Return whether InstantTensor reads through the page cache: it takes the first backend that the system has, and
    Linux has all but CUFILE, which needs GPUDirect Storage (instanttensor 0.2, _impl.py, select_backend).
    """
    names = [name for name in (part.strip().upper() for part in backends.split(",")) if name and name != "CUFILE"]
    return bool(names) and (names[0].endswith("BUFFERED") or names[0] == "MMAP")
