"""What pip would download and install into an image: a small, fixed index with byte counts.

It stands in for PyPI in two places that must agree: building a serving image, and Ray's runtime_env at start. It knows
the stack of `phi3-2025` (vllm 0.5.4 and what it drags in) and the download packages; any other package gets an assumed
size. It does not know what the packages are for.

Numbers. A whole `pip install vllm==0.5.4` into an empty environment took 115 wheels of 3.3 GB, 6.8 GB installed and 120
s of user CPU (measured 2026-11-22, Python 3.11, 2 CPUs): hence `UNPACKED_RATIO` and `CPU_S_PER_BYTE`. Sizes `log` are
what pip prints in public logs (vllm-project/vllm#4011 and the like, in units of 10^6 bytes); `assumed` ones carry about
30 % either way and together make less than a tenth of the total.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

UNPACKED_RATIO: Final = 6.8 / 3.3
CPU_S_PER_BYTE: Final = 120.0 / 3.3e9
OTHER_WHEEL_BYTES: Final = 2_000_000
"""Assumed for a package that is not in the index (0.1 to 20 MB)."""
OTHER_WHEEL_VERSION: Final = "0"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One package as the index offers it. `requires`: requirement strings, pins included."""

    name: str
    version: str
    download_bytes: int
    source: Literal["log", "measured", "assumed"]
    requires: tuple[str, ...] = ()

    @property
    def unpacked_bytes(self) -> int:
        """Bytes on disk once installed."""
        return round(self.download_bytes * UNPACKED_RATIO)

    @property
    def install_cpu_s(self) -> float:
        """Seconds of one CPU for unpacking and byte-compiling."""
        return self.download_bytes * CPU_S_PER_BYTE


def _mb(name: str, version: str, megabytes: float, source: Literal["log", "measured", "assumed"], *need: str) -> Wheel:
    return Wheel(name, version, round(megabytes * 1e6), source, need)


_TORCH_240_NEEDS: Final = (
    "nvidia-cublas-cu12==12.1.3.1",
    "nvidia-cuda-cupti-cu12==12.1.105",
    "nvidia-cuda-nvrtc-cu12==12.1.105",
    "nvidia-cuda-runtime-cu12==12.1.105",
    "nvidia-cudnn-cu12==9.1.0.70",
    "nvidia-cufft-cu12==11.0.2.54",
    "nvidia-curand-cu12==10.3.2.106",
    "nvidia-cusolver-cu12==11.4.5.107",
    "nvidia-cusparse-cu12==12.1.0.106",
    "nvidia-nccl-cu12==2.20.5",
    "nvidia-nvtx-cu12==12.1.105",
    "triton==3.0.0",
    "filelock",
    "fsspec",
    "jinja2",
    "networkx",
    "sympy",
    "typing-extensions",
)
_VLLM_054_NEEDS: Final = (
    "torch==2.4.0",
    "torchvision==0.19.0",
    "xformers==0.0.27.post2",
    "vllm-flash-attn==2.6.1",
    "transformers>=4.43.2",
    "tokenizers>=0.19.1",
    "lm-format-enforcer==0.10.3",
    "outlines>=0.0.43,<0.1",
    "tiktoken>=0.6.0",
    "nvidia-ml-py",
    "prometheus-fastapi-instrumentator>=7.0.0",
    "sentencepiece",
    "numpy<2.0.0",
    "ray>=2.9",
    "openai",
    "fastapi",
    "uvicorn",
    "pydantic>=2.0",
    "pyzmq",
    "pillow",
    "psutil",
    "py-cpuinfo",
    "aiohttp",
    "requests",
    "tqdm",
)

_WHEELS: Final = (
    _mb("vllm", "0.5.4", 126.0, "log", *_VLLM_054_NEEDS),
    _mb("torch", "2.4.0", 797.3, "log", *_TORCH_240_NEEDS),
    _mb("nvidia-cudnn-cu12", "9.1.0.70", 664.8, "log", "nvidia-cublas-cu12"),
    _mb("nvidia-cublas-cu12", "12.1.3.1", 410.6, "log"),
    _mb("nvidia-cusparse-cu12", "12.1.0.106", 196.0, "log", "nvidia-nvjitlink-cu12"),
    _mb("nvidia-nccl-cu12", "2.20.5", 176.2, "log"),
    _mb("nvidia-cusolver-cu12", "11.4.5.107", 124.2, "log"),
    _mb("nvidia-cufft-cu12", "11.0.2.54", 121.6, "log"),
    _mb("nvidia-curand-cu12", "10.3.2.106", 56.5, "log"),
    _mb("nvidia-cuda-nvrtc-cu12", "12.1.105", 23.7, "log"),
    _mb("nvidia-nvjitlink-cu12", "12.1.105", 19.8, "log"),
    _mb("nvidia-cuda-cupti-cu12", "12.1.105", 14.1, "log"),
    _mb("nvidia-cuda-runtime-cu12", "12.1.105", 0.8, "log"),
    _mb("nvidia-nvtx-cu12", "12.1.105", 0.1, "log"),
    _mb("triton", "3.0.0", 209.4, "log", "filelock"),
    _mb("vllm-flash-attn", "2.6.1", 75.5, "log", "torch==2.4.0"),
    _mb("xformers", "0.0.27.post2", 20.8, "log", "numpy", "torch==2.4.0"),
    _mb("torchvision", "0.19.0", 7.0, "log", "numpy", "pillow", "torch==2.4.0"),
    _mb("ray", "2.33.0", 65.0, "assumed", "filelock", "msgpack", "protobuf", "pyyaml", "requests"),
    _mb("pyarrow", "17.0.0", 40.0, "log", "numpy"),
    _mb("numba", "0.60.0", 3.7, "log", "llvmlite==0.43.0", "numpy"),
    _mb("llvmlite", "0.43.0", 43.9, "log"),
    _mb("numpy", "1.26.4", 18.3, "log"),
    _mb("transformers", "4.44.2", 9.5, "log", "huggingface-hub<1.0,>=0.23.2", "tokenizers<0.20,>=0.19", "safetensors"),
    _mb("tokenizers", "0.19.1", 3.6, "log", "huggingface-hub<1.0,>=0.16.4"),
    _mb("huggingface-hub", "0.25.2", 0.4, "log", "filelock", "fsspec", "pyyaml", "requests", "tqdm"),
    _mb("hf-transfer", "0.1.9", 3.55, "measured"),
    _mb("hf-xet", "1.8.0", 3.5, "assumed"),
    _mb("instanttensor", "0.2.2", 6.5, "measured"),
    _mb("safetensors", "0.4.5", 0.4, "log"),
    _mb("outlines", "0.0.46", 0.1, "assumed", "numba", "datasets", "pyairports", "pycountry", "interegular", "lark"),
    _mb("datasets", "3.6.0", 0.5, "assumed", "pandas", "pyarrow>=15.0.0", "dill", "xxhash", "multiprocess"),
    _mb("lm-format-enforcer", "0.10.3", 0.1, "assumed", "interegular", "pydantic"),
    _mb("pycountry", "24.6.1", 6.3, "log"),
    _mb("tiktoken", "0.7.0", 1.1, "log", "regex"),
    _mb("openai", "1.51.0", 0.4, "assumed", "httpx", "pydantic"),
    _mb("pandas", "2.2.3", 13.1, "log", "numpy"),
    _mb("sympy", "1.13.1", 6.2, "log"),
    _mb("pillow", "10.4.0", 4.5, "log"),
    _mb("aiohttp", "3.10.5", 1.3, "log"),
    _mb("sentencepiece", "0.2.0", 1.3, "log"),
    _mb("networkx", "3.3", 1.7, "log"),
)

_HUB_WITH_XET: Final = Version("0.32")

INDEX: Final[Mapping[str, Wheel]] = MappingProxyType({wheel.name: wheel for wheel in _WHEELS})


def install_plan(image_packages: Mapping[str, str], requirements: Iterable[str]) -> list[tuple[str, str, int, float]]:
    """Return what `pip install <requirements>` adds to an image: [(name, version, download bytes, CPU seconds), ...].

    A package that the image holds in a version that fits is left alone, as pip does and as Ray's virtual environment
    sees the image's own packages. Raises ValueError for a text that is no requirement.
    """
    asked = [_parse(text) for text in requirements]
    pins = {canonicalize_name(item.name): item for item in asked}
    added: dict[str, Wheel] = {}
    queue = list(asked)
    while queue:
        requirement = queue.pop(0)
        name = canonicalize_name(requirement.name)
        wanted = pins.get(name, requirement)
        if name in added or _fits(image_packages.get(name), wanted, requirement):
            continue
        wheel = _choose(name, wanted)
        added[name] = wheel
        queue += [Requirement(text) for text in wheel.requires]
    return [(wheel.name, wheel.version, wheel.download_bytes, wheel.install_cpu_s) for wheel in added.values()]


def _parse(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"pip install: {text!r} is no requirement ({error})") from error


def _fits(installed: str | None, *requirements: Requirement) -> bool:
    return installed is not None and all(item.specifier.contains(installed, prereleases=True) for item in requirements)


def _choose(name: str, requirement: Requirement) -> Wheel:
    """The index's own release, or the one that is pinned: neighbouring releases are taken to weigh the same.

    huggingface_hub requires hf_xet since 0.32 (its setup.py, on x86-64 and ARM64).
    """
    wheel = _release(name, requirement)
    if name == "huggingface-hub" and Version(wheel.version) >= _HUB_WITH_XET:
        return replace(wheel, requires=(*wheel.requires, "hf-xet"))
    return wheel


def _release(name: str, requirement: Requirement) -> Wheel:
    known = INDEX.get(name)
    exact = next((item.version for item in requirement.specifier if item.operator == "=="), None)
    if known is None:
        return Wheel(name, exact or OTHER_WHEEL_VERSION, OTHER_WHEEL_BYTES, "assumed")
    if exact is None or exact == known.version:
        return known
    return Wheel(name, exact, known.download_bytes, "assumed", known.requires)
