"""Why a vLLM engine does not come up: the GPU's memory, what the GPU can do, and named faults.

A V1 engine runs in a process of its own: the exception stands in the worker's output, and the replica says only "See
root cause above" (vllm-project/vllm #17979). V0 raises where it is. Texts: vllm 0.5.4, 0.10 and 0.33, torch 2.3 to 2.9.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from llm_provisioning_simulator.app.application import Engine
from llm_provisioning_simulator.app.engine import PREFIX_SINCE, is_v1
from llm_provisioning_simulator.app.steps import release
from llm_provisioning_simulator.faults import CHOICES
from llm_provisioning_simulator.hub import HubModel

_GIB: Final = 2**30
# Total memory as torch reports it, GiB (nvidia-smi of the clouds' instances).
GPU_GIB: Final[Mapping[str, float]] = {
    "T4": 14.56,
    "V100": 15.77,
    "L4": 22.03,
    "A10": 22.06,
    "A10G": 22.06,
    "L40S": 44.39,
    "A100": 39.39,
    "A100-80GB": 79.15,
    "H100": 79.11,
}
_BEFORE_AMPERE: Final[Mapping[str, float]] = {"T4": 7.5, "V100": 7.0}
# Activations of the profiling run and the CUDA context, beside weights and cache.
_OVERHEAD_GIB: Final = 1.5
FAULTS: Final[Mapping[str, str]] = {
    "no_kernel_image": "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    "driver_too_old": "RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",
    "unsupported_architecture": "ValueError: Model architectures ['Phi9ForCausalLM'] are not supported for now.",
    "trust_remote_code": (
        "ValueError: The repository contains custom code which must be executed to correctly load the model. You can "
        "inspect the repository content. Please pass the argument `trust_remote_code=True` to allow custom code to be "
        "run."
    ),
    "nccl": "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3356, unhandled system error",
    "cuda_out_of_memory": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of 22.03 "
        "GiB of which 58.38 MiB is free."
    ),
}

CHOICES["engine_error"] = frozenset(FAULTS)


@dataclass(frozen=True, slots=True)
class EngineFailure:
    """An engine that does not come up. `error`: the exception; `loaded`: whether its weights had been loaded."""

    error: str
    loaded: bool = False


def engine_failure(engine: Engine, model: HubModel, gpus: Mapping[str, int], fault: str) -> EngineFailure | None:
    """Return why an engine does not come up on a node with these GPUs, or None. `fault`: one of FAULTS, or empty."""
    if fault:
        return EngineFailure(FAULTS[fault])
    sku = next(iter(gpus), "")
    total_gib = GPU_GIB.get(sku)
    if total_gib is None:
        return None
    if sku in _BEFORE_AMPERE and engine.dtype == "bfloat16":
        capability = _BEFORE_AMPERE[sku]
        return EngineFailure(
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla "
            f"{sku} GPU has compute capability {capability}. You can use float16 instead by explicitly setting the "
            "`dtype` flag in CLI, for example: --dtype=half."
        )
    return _memory(engine, model, total_gib)


def _memory(engine: Engine, model: HubModel, total_gib: float) -> EngineFailure | None:
    weights_gib = 0.0 if engine.random_weights else model.weight_bytes / _GIB / max(engine.gpus, 1.0)
    if weights_gib > total_gib:
        return EngineFailure(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of "
            f"{total_gib:.2f} GiB of which 58.38 MiB is free."
        )
    cache_gib = engine.memory_share * total_gib - weights_gib - _OVERHEAD_GIB
    if cache_gib <= 0:
        return EngineFailure(
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
            "initializing the engine.",
            loaded=True,
        )
    length, each = engine.max_model_len or model.max_length, model.cache_bytes_per_token
    needed_gib = length * each / _GIB / max(engine.gpus, 1.0)
    if needed_gib <= cache_gib:
        return None
    fits = int(cache_gib * _GIB * max(engine.gpus, 1.0) / each)
    return EngineFailure(
        f"ValueError: To serve at least one request with the models's max seq len ({length}), ({needed_gib:.2f} GiB KV "
        f"cache is needed, which is larger than the available KV cache memory ({cache_gib:.2f} GiB). Based on the "
        f"available memory, the estimated maximum model length is {fits}. Try increasing `gpu_memory_utilization` or "
        "decreasing `max_model_len` when initializing the engine.",
        loaded=True,
    )


def failure_lines(version: str, pid: int, at: datetime, error: str) -> Iterator[str]:
    """Yield what the engine's process prints about its end; nothing for V0, which raises in the replica itself."""
    if not is_v1(version):
        return
    prefix = f"(EngineCore pid={pid}) " if release(version) >= PREFIX_SINCE else ""
    start = f"{prefix}ERROR {at:%m-%d %H:%M:%S} [core.py:718]"
    yield f"{start} EngineCore failed to start."
    yield f"{start} Traceback (most recent call last):"
    yield f'{start}   File "vllm/v1/engine/core.py", line 709, in run_engine_core'
    yield f"{start}     engine_core = EngineCoreProc(*args, **kwargs)"
    yield f"{start} {error}"


def replica_error(version: str, error: str) -> str:
    """Return the exception that the replica's constructor raises because of the engine's."""
    if not is_v1(version):
        return error
    return (
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
    )
