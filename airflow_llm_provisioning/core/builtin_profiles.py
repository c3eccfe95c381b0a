"""The workloads that this package brings: the origin's stack and today's, as data.

`phi3-2025` is the origin's stack (Elotl, January 2025; manifests in elotl/skyray, luna-llm-serve/). Its base image is
of a family that Docker Hub deletes, so it may no longer be pullable. `phi3-current` is today's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from airflow_llm_provisioning.core.model import Model
from airflow_llm_provisioning.core.recipe import ImageRecipe


@dataclass(frozen=True, slots=True)
class Resources:
    """Requests (= limits) of one pod, as Kubernetes quantities."""

    cpu: str
    memory: str
    gpu: int = 0


@dataclass(frozen=True, slots=True)
class BuiltinProfile:
    """What a built-in workload serves, and nothing about how it is accelerated.

    `runtime_pip`: what an unaltered base image lacks, installed by Ray's runtime_env at start. `working_dir`: the
    application's code, pinned to a commit. `app_args`: arguments of the Serve application builder.
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


# Several public repositories agree on revision and byte counts (facts: hub file listing of this revision).
_PHI3_REVISION: Final = "f39ac1d28e925b323eae81227eaba4464caced4e"
PHI3: Final = Model(
    model_id="microsoft/Phi-3-mini-4k-instruct",
    revision=_PHI3_REVISION,
    weight_bytes=4_972_489_328 + 2_669_692_552,
    largest_file_bytes=4_972_489_328,
    weight_format="safetensors",
)

# elotl/skyray at 49c25bb, luna-llm-serve/: the origin fetched the branch's zip, which moves; a commit's does not.
SKYRAY_WORKING_DIR: Final = "https://github.com/elotl/skyray/archive/49c25bb.zip"

PHI3_2025: Final = BuiltinProfile(
    profile="phi3-2025",
    model=PHI3,
    image=ImageRecipe(base="rayproject/ray-ml:2.33.0.914af0-py311"),
    ray_version="2.33.0",
    # vllm 0.5.4 names no upper bounds; resolved today it does not import (numpy 1.26 against pyarrow 26, transformers
    # 5). These are the releases of January 2025.
    runtime_pip=("vllm==0.5.4", "transformers==4.44.2", "huggingface_hub==0.25.2", "pyarrow==17.0.0"),
    runtime_env_vars=MappingProxyType(
        {"MODEL_ID": PHI3.model_id, "MODEL_REVISION": _PHI3_REVISION, "TENSOR_PARALLELISM": "1"}
    ),
    working_dir=SKYRAY_WORKING_DIR,
    import_path="luna-llm-serve.llm:build_app",
    # The origin named no revision, so its input could move; vLLM's own argument pins it.
    app_args=MappingProxyType(
        {
            "model": PHI3.model_id,
            "revision": _PHI3_REVISION,
            "tensor-parallel-size": "1",
            "dtype": "bfloat16",
            "gpu-memory-utilization": "0.7",
        }
    ),
    fast_download_pip=("hf_transfer==0.1.9",),
    fast_download_env=MappingProxyType({"HF_HUB_ENABLE_HF_TRANSFER": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}),
)

PHI3_CURRENT: Final = BuiltinProfile(
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
                            {"revision": _PHI3_REVISION, "dtype": "bfloat16", "gpu_memory_utilization": 0.7}
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

PROFILES: Final[Mapping[str, BuiltinProfile]] = MappingProxyType({w.profile: w for w in (PHI3_2025, PHI3_CURRENT)})
