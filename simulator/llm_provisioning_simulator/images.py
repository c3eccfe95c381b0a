"""Container images of the simulated registries: the public bases, and what a Dockerfile makes of one.

Every stand-in that builds images uses this, so that an image holds exactly what the Dockerfile that arrived says: its
bytes decide pulls, its packages decide what Ray must still install, its environment what the downloads do. It knows no
variant.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from packaging.utils import canonicalize_name

from llm_provisioning_simulator.wheels import install_plan
from llm_provisioning_simulator.world import Image, World, digest_of, normalise

__all__ = ["PUBLIC_BASES", "DockerfileError", "PublicBase", "built_image", "install_plan", "seed_public_images"]

GIB: Final = 1024**3


class DockerfileError(ValueError):
    """The build ends here, as `docker build` would: the message is the line a build log would carry."""


@dataclass(frozen=True, slots=True)
class PublicBase:
    """A public image. `layer_bytes`: compressed. `source`: where bytes and packages were read."""

    reference: str
    layer_bytes: tuple[int, ...]
    packages: Mapping[str, str]
    source: str
    env: Mapping[str, str] = field(default_factory=dict)


# ray-project/ray python/requirements_compiled.txt (the versions pinned through the 2.3x releases); torch from the cu121
# index with its CUDA wheels. aiohttp and friends: present in both, versions of no consequence here.
_RAY_ML_PACKAGES: Final[Mapping[str, str]] = {
    "ray": "2.33.0",
    "torch": "2.3.0",
    "torchvision": "0.18.0",
    "triton": "2.3.0",
    "numpy": "1.26.4",
    "pandas": "1.5.3",
    "pyarrow": "14.0.2",
    "transformers": "4.36.2",
    "tokenizers": "0.15.2",
    "huggingface-hub": "0.19.4",
    "accelerate": "0.28.0",
    "datasets": "2.14.7",
    "deepspeed": "0.12.3",
    "safetensors": "0.4.1",
    "sentencepiece": "0.1.96",
    "tensorflow": "2.15.1",
    "numba": "0.59.1",
    "llvmlite": "0.42.0",
    "nvidia-cublas-cu12": "12.1.3.1",
    "nvidia-cuda-cupti-cu12": "12.1.105",
    "nvidia-cuda-nvrtc-cu12": "12.1.105",
    "nvidia-cuda-runtime-cu12": "12.1.105",
    "nvidia-cudnn-cu12": "8.9.2.26",
    "nvidia-cufft-cu12": "11.0.2.54",
    "nvidia-curand-cu12": "10.3.2.106",
    "nvidia-cusolver-cu12": "11.4.5.107",
    "nvidia-cusparse-cu12": "12.1.0.106",
    "nvidia-nccl-cu12": "2.20.5",
    "nvidia-nvjitlink-cu12": "12.1.105",
    "nvidia-nvtx-cu12": "12.1.105",
    "aiohttp": "3.9.5",
    "fastapi": "0.104.0",
    "filelock": "3.13.1",
    "fsspec": "2023.5.0",
    "httpx": "0.24.1",
    "jinja2": "3.1.2",
    "msgpack": "1.0.7",
    "networkx": "3.2.1",
    "pillow": "10.3.0",
    "protobuf": "3.20.3",
    "psutil": "5.9.6",
    "pydantic": "2.5.0",
    "pyyaml": "6.0.1",
    "pyzmq": "26.0.3",
    "regex": "2024.5.15",
    "requests": "2.31.0",
    "sympy": "1.12",
    "tqdm": "4.64.1",
    "typing-extensions": "4.8.0",
    "uvicorn": "0.22.0",
    "xxhash": "3.4.1",
    "dill": "0.3.7",
    "multiprocess": "0.70.15",
}

# ray-project/ray#46378: a GPU ray-ml is about 10 GiB compressed: CUDA devel about 4 GiB, extra Python about 5 GiB, Ray
# up to 1 GiB. The split of each part into layers is assumed (the order of their Dockerfiles; 15 % either way).
_RAY_ML_LAYERS: Final = (
    30_000_000,
    round(1.9 * GIB),
    round(1.3 * GIB),
    round(0.8 * GIB),
    250_000_000,
    round(0.7 * GIB),
    round(3.4 * GIB),
    round(1.6 * GIB),
)
_RAY_ML_SOURCE: Final = "ray-project/ray#46378 (parts), requirements_compiled.txt (packages); layer split assumed"

PUBLIC_BASES: Final = (
    PublicBase("docker.io/rayproject/ray-ml:2.33.0.914af0-py311", _RAY_ML_LAYERS, _RAY_ML_PACKAGES, _RAY_ML_SOURCE),
    PublicBase("public.ecr.aws/anyscale/ray-ml:2.33.0-py311", _RAY_ML_LAYERS, _RAY_ML_PACKAGES, _RAY_ML_SOURCE),
    PublicBase(
        "docker.io/rayproject/ray-llm:2.56.0-py312-cu130",
        # 11.6 GB as mirrored, 41 % of it one layer of 4.74 GB; the other layers' sizes are assumed.
        (
            30_000_000,
            1_450_000_000,
            1_100_000_000,
            900_000_000,
            250_000_000,
            1_380_000_000,
            1_750_000_000,
            4_740_000_000,
        ),
        {
            "ray": "2.56.0",
            "vllm": "0.22.0",
            "torch": "2.11.0",
            "transformers": "5.5.0",
            "huggingface-hub": "1.18.0",
            "hf-xet": "1.5.0",
            "hf-transfer": "0.1.9",
            "runai-model-streamer": "0.16.0",
            "numpy": "2.2.6",
            "pyarrow": "19.0.1",
            "pydantic": "2.12.4",
            "aiohttp": "3.13.3",
            "fastapi": "0.121.0",
            "requests": "2.32.5",
            "pyyaml": "6.0.3",
        },
        "awslabs/data-on-eks ray-batch-inference README (bytes, fat layer, vLLM 0.22); ray issue 65477 (Run:ai's "
        "streamer); other versions assumed",
    ),
    PublicBase(
        "docker.io/rayproject/ray:2.46.0",
        (30_000_000, 120_000_000, 250_000_000, 400_000_000),
        {"ray": "2.46.0", "requests": "2.31.0", "numpy": "1.26.4"},
        "assumed (CPU image of the Ray samples, 0.6 to 1.2 GB)",
    ),
    PublicBase(
        "nvcr.io/nvidia/k8s-device-plugin:v0.17.0",
        (30_000_000, 40_000_000, 40_000_000),
        {},
        "assumed (60 to 200 MB)",
    ),
    PublicBase("registry.k8s.io/pause:3.10", (320_000,), {}, "assumed (0.3 MB)"),
    PublicBase("docker.io/library/busybox:latest", (2_200_000,), {}, "assumed (2.2 MB)"),
    PublicBase("docker.io/library/busybox:1.37.0", (2_200_000,), {}, "assumed (2.2 MB)"),
    PublicBase("docker.io/dragonflyoss/client:v1.5.7", (30_000_000, 60_000_000), {}, "assumed (60 to 150 MB)"),
    PublicBase("docker.io/dragonflyoss/dfinit:v1.5.7", (30_000_000, 10_000_000), {}, "assumed (30 to 60 MB)"),
    PublicBase("docker.io/dragonflyoss/scheduler:v2.5.0", (30_000_000, 60_000_000), {}, "assumed (60 to 150 MB)"),
)

# When the bases were pushed says nothing here; one fixed instant keeps worlds equal.
_PUSHED_AT: Final = datetime(2025, 1, 1, tzinfo=UTC)


def seed_public_images(world: World, *, without: Sequence[str] = ()) -> None:
    """Put the public bases into the world's registries, but those named in `without` (deleted by their owners)."""
    gone = {normalise(reference) for reference in without}
    for base in PUBLIC_BASES:
        if base.reference not in gone:
            world.push(
                Image(
                    reference=base.reference,
                    digest=digest_of("public", base.reference),
                    layer_bytes=base.layer_bytes,
                    packages=dict(base.packages),
                    env=dict(base.env),
                    region=None,
                    pushed_at=_PUSHED_AT,
                )
            )


def built_image(world: World, dockerfile: str, reference: str, *, region: str | None, now: datetime) -> Image:
    """Return what building `dockerfile` makes, to be pushed as `reference`; nothing is pushed here.

    FROM an image of the world, RUN pip install, RUN of compileall, ENV and LABEL are understood. Anything else raises
    DockerfileError, as does a base that is not there: a stand-in must not pretend to have done what it did not
    understand. The digest follows from base and content: the same build gives the same digest.
    """
    base, rest = _base(world, dockerfile)
    layers, packages, env = list(base.layer_bytes), dict(base.packages), dict(base.env)
    bytecode = base.bytecode
    for instruction, argument in rest:
        if instruction == "RUN" and "compileall.compile_dir(" in argument:
            # Bytecode is about as large as its source, and a Ray image has some 100 MB of that (assumed).
            layers.append(30_000_000)
            bytecode = True
        elif instruction == "RUN":
            plan = _pip(packages, argument)
            # A layer of freshly unpacked wheels compresses back to about the wheels' own size (both are deflate).
            layers.append(sum(size for _, _, size, _ in plan) + 1_000_000)
            packages |= {name: version for name, version, _, _ in plan}
        elif instruction == "ENV":
            env |= _env(argument)
        elif instruction != "LABEL":
            raise DockerfileError(f"unsupported instruction in the simulated build: {instruction} {argument}")
    return Image(
        reference=normalise(reference),
        digest=digest_of(base.digest, sorted(packages.items()), sorted(env.items()), *(["bytecode"] * bytecode)),
        layer_bytes=tuple(layers),
        packages=packages,
        env=env,
        region=region,
        pushed_at=now,
        bytecode=bytecode,
    )


def _base(world: World, dockerfile: str) -> tuple[Image, list[tuple[str, str]]]:
    lines = _instructions(dockerfile)
    if not lines or lines[0][0] != "FROM":
        raise DockerfileError("no build stage in current context: the Dockerfile must begin with FROM")
    reference = lines[0][1].split()[0]
    base = world.find_image(reference)
    if base is None:
        raise DockerfileError(f"failed to resolve source metadata for {normalise(reference)}: not found")
    return base, lines[1:]


def _instructions(dockerfile: str) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", dockerfile)
    lines = [line.strip() for line in joined.splitlines()]
    pairs = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in pairs]


def _pip(packages: Mapping[str, str], command: str) -> list[tuple[str, str, int, float]]:
    words = shlex.split(command)
    if words[:2] != ["pip", "install"]:
        raise DockerfileError(f"unsupported RUN in the simulated build (only `pip install`): {command}")
    requirements = [word for word in words[2:] if not word.startswith("-")]
    known = {str(canonicalize_name(name)): version for name, version in packages.items()}
    try:
        return install_plan(known, requirements)
    except ValueError as error:
        raise DockerfileError(str(error)) from error


def _env(argument: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in shlex.split(argument)]
    if not all(equals for _, equals, _ in pairs):
        raise DockerfileError(f"ENV must have the form key=value: {argument}")
    return {key: value for key, _, value in pairs}
