"""What is served: a model at a revision, an engine, and the image it runs in.

Two profiles. `phi3-2025` is the origin's stack (Elotl, January 2025; manifests in elotl/skyray, luna-llm-serve/): its
base
image is of a family that Docker Hub deletes, so it may no longer be pullable. `phi3-current` is today's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.exceptions import ConfigurationError


class ScalingSetup(StrEnum):
    """Whether the GPU worker is there from the start, or asked for by Ray's autoscaler once Serve has the
    application.
    """

    STATIC = "static"
    DYNAMIC = "dynamic"


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """What a serving image is built from. The tag follows from the content: the same recipe is never built twice.

    `pip`: requirement -> why pinned is the recipe author's business; all are pinned. `env`: baked into the image.
    """

    base: str
    base_digest: str | None = None
    pip: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Fingerprint of everything that decides what is in the image."""
        return fingerprint(self.as_dict())

    @property
    def base_reference(self) -> str:
        """The base as it is pulled: by digest where one is known."""
        return f"{self.base}@{self.base_digest}" if self.base_digest else self.base

    def tag(self) -> str:
        """Return the tag the built image carries."""
        return f"r-{self.content}"

    def dockerfile(self) -> str:
        """Return the Dockerfile: one RUN for the packages (one layer), environment last."""
        lines = [f"FROM {self.base_reference}"]
        if self.pip:
            lines.append("RUN pip install --no-cache-dir " + " ".join(f"'{item}'" for item in self.pip))
        lines += [f"ENV {key}={value}" for key, value in sorted(self.env.items())]
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "base": self.base,
            "base_digest": self.base_digest,
            "pip": list(self.pip),
            "env": dict(sorted(self.env.items())),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ImageRecipe":
        """Read what `as_dict` wrote, or what a user wrote by hand."""
        unknown = set(data) - {"base", "base_digest", "pip", "env"}
        if unknown or not data.get("base"):
            raise ConfigurationError(
                f"An image recipe needs `base` and may have `base_digest`, `pip` and `env`; found {sorted(data)}."
            )
        return cls(data["base"], data.get("base_digest"), tuple(data.get("pip") or ()), dict(data.get("env") or {}))


@dataclass(frozen=True, slots=True)
class Model:
    """A model on the hub. `revision` is a commit once resolved; `weight_bytes` counts the weight files of that
    revision.

    `source`: `hub` when the hub was asked in this run, `pinned` when the profile's own values serve.
    """

    model_id: str
    revision: str
    weight_bytes: int
    largest_file_bytes: int
    source: str = "pinned"


@dataclass(frozen=True, slots=True)
class Resources:
    """Requests (= limits) of one pod, as Kubernetes quantities."""

    cpu: str
    memory: str
    gpu: int = 0


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything that is served, and nothing about how it is accelerated.

    `runtime_pip`: what an unaltered base image lacks, installed by Ray's runtime_env at start. `working_dir`: the
    application's code, pinned to a commit. `model_conversion_args`: arguments of the Serve application builder.
    """

    profile: str
    model: Model
    image: ImageRecipe
    ray_version: str
    runtime_pip: tuple[str, ...]
    runtime_env_vars: Mapping[str, str]
    working_dir: str | None
    import_path: str
    app_args: Mapping[str, Any]
    fast_download_pip: tuple[str, ...]
    fast_download_env: Mapping[str, str]
    head: Resources = Resources("2", "8Gi")
    worker: Resources = Resources("8", "20Gi", gpu=1)
    served_model: str | None = None

    @property
    def served_name(self) -> str:
        """The name a completion request must ask for."""
        return self.served_model or self.model.model_id

    def with_model(self, model: Model) -> "Workload":
        """Return the workload serving another (or a freshly resolved) model, wherever the profile names it."""
        new = {self.model.model_id: model.model_id, self.model.revision: model.revision}
        return replace(
            self,
            model=model,
            runtime_env_vars=_renamed(self.runtime_env_vars, new),
            app_args=_renamed(self.app_args, new),
        )


# Several public repositories agree on revision and byte counts (facts: hub file listing of this revision).
PHI3: Final = Model(
    model_id="microsoft/Phi-3-mini-4k-instruct",
    revision="f39ac1d28e925b323eae81227eaba4464caced4e",
    weight_bytes=4_972_489_328 + 2_669_692_552,
    largest_file_bytes=4_972_489_328,
)

# elotl/skyray at 49c25bb, luna-llm-serve/: the origin fetched the branch's zip, which moves; a commit's does not.
SKYRAY_WORKING_DIR: Final = "https://github.com/elotl/skyray/archive/49c25bb.zip"

PHI3_2025: Final = Workload(
    profile="phi3-2025",
    model=PHI3,
    image=ImageRecipe(base="rayproject/ray-ml:2.33.0.914af0-py311"),
    ray_version="2.33.0",
    # vllm 0.5.4 names no upper bounds; resolved today it does not import (numpy 1.26 against pyarrow 26, transformers
    # 5).
    # These are the releases of its own season.
    runtime_pip=("vllm==0.5.4", "transformers==4.44.2", "huggingface_hub==0.25.2", "pyarrow==17.0.0"),
    runtime_env_vars=MappingProxyType(
        {"MODEL_ID": PHI3.model_id, "MODEL_REVISION": PHI3.revision, "TENSOR_PARALLELISM": "1"}
    ),
    working_dir=SKYRAY_WORKING_DIR,
    import_path="luna-llm-serve.llm:build_app",
    # The origin named no revision, so its input could move; vLLM's own argument pins it.
    app_args=MappingProxyType(
        {
            "model": PHI3.model_id,
            "revision": PHI3.revision,
            "tensor-parallel-size": "1",
            "dtype": "bfloat16",
            "gpu-memory-utilization": "0.7",
        }
    ),
    fast_download_pip=("hf_transfer==0.1.9",),
    fast_download_env=MappingProxyType({"HF_HUB_ENABLE_HF_TRANSFER": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}),
)

PHI3_CURRENT: Final = Workload(
    profile="phi3-current",
    model=PHI3,
    image=ImageRecipe(base="rayproject/ray-llm:2.56.0-py312-cu130"),
    ray_version="2.56.0",
    runtime_pip=(),
    runtime_env_vars=MappingProxyType({}),
    working_dir=None,
    import_path="ray.serve.llm:build_openai_app",
    app_args=MappingProxyType(
        {
            "llm_configs": (
                MappingProxyType(
                    {
                        "model_loading_config": MappingProxyType(
                            {"model_id": PHI3.model_id, "model_source": PHI3.model_id}
                        ),
                        "engine_kwargs": MappingProxyType(
                            {"revision": PHI3.revision, "dtype": "bfloat16", "gpu_memory_utilization": 0.7}
                        ),
                        "deployment_config": MappingProxyType({"num_replicas": 1}),
                    }
                ),
            )
        }
    ),
    # huggingface_hub >= 1.0 ignores hf_transfer; hf_xet is its default path and reads this variable in Rust.
    fast_download_pip=("hf_xet==1.8.0",),
    fast_download_env=MappingProxyType({"HF_XET_HIGH_PERFORMANCE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}),
)

WORKLOADS: Final[Mapping[str, Workload]] = MappingProxyType({w.profile: w for w in (PHI3_2025, PHI3_CURRENT)})


def workload(profile: str) -> Workload:
    """Return a workload profile by name, or say which there are."""
    try:
        return WORKLOADS[profile]
    except KeyError:
        raise ConfigurationError(
            f"Workload profile {profile!r} is unknown: choose one of {', '.join(sorted(WORKLOADS))}."
        ) from None


def _renamed(value: Any, new: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _renamed(item, new) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_renamed(item, new) for item in value)
    return new.get(value, value) if isinstance(value, str) else value


def workload_from(planned: Mapping[str, Any]) -> Workload:
    """Return the workload of a plan: {profile, model: {model_id, revision, weight_bytes, largest_file_bytes,
    source}}.
    """
    served = workload(planned["profile"])
    model = planned.get("model")
    if not model:
        return served
    return served.with_model(Model(**{key: model[key] for key in Model.__dataclass_fields__ if key in model}))


_PACKAGE = re.compile(r"^\s*([A-Za-z0-9._-]+)")


def package_name(requirement: str) -> str:
    """Return the normalised name of a pip requirement: `hf_transfer==0.1.9` -> `hf-transfer`."""
    match = _PACKAGE.match(requirement)
    return re.sub(r"[-_.]+", "-", match.group(1)).lower() if match else ""
