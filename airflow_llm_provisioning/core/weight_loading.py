"""What an engine says of its weights: which loader it was configured with, how long it loaded, what it streamed.

Wordings: the configuration line of vLLM 0.5.4 to 0.33 (`load_format=LoadFormat.AUTO` until 0.9, `load_format=auto`
later); `Loading weights took` of its default loader since 0.7; `[RunAI Streamer] Overall time to stream` of
runai-model-streamer 0.6 to 0.17 (file_streamer.py; with `of all files` and the device since 0.12); the fall-back of
fastsafetensors without GPUDirect Storage, told by vLLM (weight_utils.py) or by the library itself, which leaves vLLM
nothing to tell (fastsafetensors, loader.py, later copier/gds.py); the backend of InstantTensor, told only with
INSTANTTENSOR_DEBUG=1 (instanttensor/_impl.py). This module knows no treatment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Final

from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.trace.view import TraceView


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One configuration line of an engine. `load_format`: lower case, None where the line does not hold it. `ranks`:
    how many GPUs share the model, as far as the line says it.
    """

    version: str
    load_format: str | None
    filename: str
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class Streamed:
    """One line of Run:ai's streamer. `size_bytes` is rounded to a tenth of its unit, `unit_bytes`."""

    size_bytes: float
    unit_bytes: float
    seconds: float
    text: str

    @property
    def rate_bytes_s(self) -> float | None:
        """Bytes a second; None for a time of zero."""
        return self.size_bytes / self.seconds if self.seconds else None

    def holds(self, expected_bytes: float) -> bool:
        """Return whether it is this many bytes, within the rounding of the line."""
        return abs(self.size_bytes - expected_bytes) <= 0.06 * self.unit_bytes


def engine_configs(view: TraceView) -> tuple[EngineConfig, ...]:
    """Return the configuration line of every engine that wrote one."""
    found = []
    for log in view.logs:
        for match in _CONFIG.finditer(log.text):
            told = _LOAD_FORMAT.search(match.group(2))
            ranks = prod(int(size) for size in _RANKS.findall(match.group(2)))
            found.append(EngineConfig(match.group(1), told.group(1).lower() if told else None, log.filename, ranks))
    return tuple(found)


def load_s(view: TraceView) -> float | None:
    """Return how long the slowest rank loaded its weights, by its own line; None without one."""
    took = [float(match.group(1)) for log in view.logs for match in _LOADED.finditer(log.text)]
    return max(took, default=None)


def load_rate(view: TraceView) -> str | None:
    """Return that the engine loaded its weights, with time and rate where its release logs them, as a sentence; None
    where no engine says that it loaded any.
    """
    took, size = load_s(view), PlannedFacts.of(view.trial).weight_bytes
    if took is None:
        old = next((match for log in view.logs if (match := _LOADED_UNTIMED.search(log.text))), None)
        return f"The engine loaded {old.group(1)} GB of weights; its release logs no time." if old else None
    rate = f", {size / took / 1e9:.2f} GB/s" if size and took else ""
    return f"The engine loaded its weights in {took:.2f} s{rate}."


def streams(view: TraceView) -> tuple[Streamed, ...]:
    """Return every line of Run:ai's streamer."""
    return tuple(
        Streamed(float(size) * UNITS[unit], UNITS[unit], float(took), match.group(0)[:200])
        for log in view.logs
        for match in _STREAMED.finditer(log.text)
        for size, unit, took in (match.groups(),)
    )


def downloads(view: TraceView) -> tuple[str, ...]:
    """Return the lines that say that weights were downloaded to a disk: vLLM's, and Ray's of a bucket (ray 2.48 to
    2.60, llm/_internal/common/utils/download_utils.py), which downloads other files alone if it says that it skips the
    weights.
    """
    found: list[str] = []
    for log in view.logs:
        lines = [line.strip() for line in log.text.splitlines()]
        found += [line[-240:] for line in lines if _DOWNLOADED.search(line)]
        if _SKIPPED not in log.text:
            found += [line[-240:] for line in lines if _MIRRORED in line]
    return tuple(dict.fromkeys(found))


def without_gpu_direct(view: TraceView) -> str | None:
    """Return where fastsafetensors fell back to copies through the host's memory, or None."""
    found = next(((log, match) for log in view.logs if (match := _NO_GDS.search(log.text))), None)
    return f"fastsafetensors says in {found[0].filename}: {found[1].group(0)}." if found else None


def direct_backends(view: TraceView) -> tuple[str, ...]:
    """Return the backends that InstantTensor says it has taken, each once; it says so for debugging only."""
    return tuple(dict.fromkeys(match.group(1) for log in view.logs for match in _BACKEND.finditer(log.text)))


# humanize.naturalsize(binary=True).
UNITS: Final[Mapping[str, float]] = MappingProxyType(
    {"Bytes": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
)
_CONFIG = re.compile(r"Initializing an? (?:V\d+ )?LLM engine \(v([^)\s]{1,60})\) with config: ?([^\n]*)")
_LOAD_FORMAT = re.compile(r"\bload_format='?(?:LoadFormat\.)?([A-Za-z_]\w{0,40})")
_RANKS = re.compile(r"\b(?:tensor|pipeline)_parallel_size=([0-9]{1,4})\b")
_LOADED = re.compile(r"Loading weights took ([0-9]{1,6}(?:\.[0-9]{1,9})?) seconds")
# vLLM 0.5.4 (worker/model_runner.py) tells the memory that the weights take, and no time.
_LOADED_UNTIMED = re.compile(r"Loading model weights took ([0-9]{1,6}(?:\.[0-9]{1,9})?) GB")
_STREAMED = re.compile(
    r"\[RunAI (?:Distributed )?Streamer\] Overall time to stream ([0-9]{1,6}(?:\.[0-9])?) (Bytes|KiB|MiB|GiB|TiB)"
    r"[^\n]{0,80}?: ([0-9]{1,6}(?:\.[0-9]{1,3})?)s\b"
)
_DOWNLOADED = re.compile(r"Time (?:spent downloading|took to download) weights for|Weights downloaded in ")
_MIRRORED: Final = "Finished downloading model and tokenizer for "
_SKIPPED: Final = "Skipping download of safetensors files"
_NO_GDS: Final = re.compile(
    r"GDS not enabled, setting `?nogds=True`?"
    r"|(?:libcufile\.so does not exist|GDS is not supported in this platform) but nogds is False\. use nogds=True"
)
_BACKEND: Final = re.compile(r"\[InstantTensor\]\[DEBUG\] Using backend (\w{1,40})")
