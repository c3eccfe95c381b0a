"""A Serve configuration as the controller understands it: applications, deployments, what each replica needs.

The code behind an import path is not run here, so what an application starts is read from its configuration alone.
`llm_configs` means Ray's own LLM builder. vLLM's arguments beside a `model` mean an engine in the user's code, and so
does the variable MODEL_ID of KubeRay's vLLM sample. Any other application has no engine. It must not know variants.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from llm_provisioning_simulator.app.packages import RuntimeEnv

ORIGIN_BUILDER: Final = "luna-llm-serve.llm:build_app"
# vLLM's engine arguments (vllm/engine/arg_utils.py, 0.5 to 0.22) that tell its configuration from any other `model`.
ENGINE_ARGS: Final = frozenset(
    {
        "dtype",
        "enforce_eager",
        "gpu_memory_utilization",
        "load_format",
        "max_model_len",
        "max_num_batched_tokens",
        "max_num_seqs",
        "pipeline_parallel_size",
        "quantization",
        "served_model_name",
        "tensor_parallel_size",
        "tokenizer",
        "trust_remote_code",
    }
)


@dataclass(frozen=True, slots=True)
class Engine:
    """The vLLM engine a replica starts. `model`: what is loaded; `served`: the name requests ask for; `gpus`: over how
    many it is spread; `memory_share`: of each, for weights and cache; `max_model_len`: None is the model's own.
    """

    model: str
    served: str
    enforce_eager: bool = False
    load_format: str = "auto"
    gpus: float = 1.0
    memory_share: float = 0.9
    max_model_len: int | None = None
    dtype: str = "auto"
    optimization_level: int | None = None
    """0 to 3 since vLLM 0.12; None is the default, 2. Older releases do not know the argument."""
    mode: str | None = None
    graph_mode: str | None = None
    """What the compilation configuration sets by itself; it outweighs the level."""

    @property
    def compilation(self) -> str:
        """What is compiled, as vLLM names it."""
        by_level = "NONE" if self.optimization_level == 0 else "VLLM_COMPILE"
        return "NONE" if self.enforce_eager else self.mode or by_level

    @property
    def graphs(self) -> str:
        """Which CUDA graphs are captured, as vLLM names it."""
        by_level = {0: "NONE", 1: "PIECEWISE"}.get(2 if self.optimization_level is None else self.optimization_level)
        return "NONE" if self.enforce_eager else self.graph_mode or by_level or "FULL_AND_PIECEWISE"

    concurrency: int = 16
    """Reads at once of Run:ai's streamer, which takes 16 by itself."""

    @property
    def streams(self) -> bool:
        """Whether Run:ai's streamer reads the weights."""
        return self.load_format == "runai_streamer"

    @property
    def in_bucket(self) -> bool:
        """Whether the weights lie in a bucket."""
        return "://" in self.model

    @property
    def in_folder(self) -> bool:
        """Whether the weights lie in a folder of the container."""
        return self.model.startswith("/")

    @property
    def shown(self) -> str:
        """The model as the engine's lines name it: what is in a bucket by the folder of its small files (vllm,
        transformers_utils/runai_utils.py).
        """
        if not self.in_bucket:
            return self.model
        return f"/home/ray/.cache/vllm/assets/model_streamer/{hashlib.sha256(self.model.encode()).hexdigest()[:8]}"

    @property
    def random_weights(self) -> bool:
        """Whether the weights are made up in memory instead of being read (vLLM's `dummy` loader)."""
        return self.load_format == "dummy"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment. `resources`: of a whole replica, its placement group included; `replicas`: how many at first."""

    name: str
    resources: Mapping[str, float]
    actor_options: Mapping[str, float]
    engine: Engine | None = None
    ingress: bool = True
    replicas: int = 1

    @property
    def needs_gpu(self) -> bool:
        """Whether a replica fits on GPU nodes only."""
        return self.resources.get("GPU", 0.0) > 0


@dataclass(frozen=True, slots=True)
class Application:
    """One Serve application. `config`: its entry as the REST API gives it back."""

    name: str
    route_prefix: str
    import_path: str
    config: Mapping[str, Any] = field(repr=False)
    runtime_env: RuntimeEnv
    deployments: tuple[Deployment, ...]

    @property
    def engine(self) -> Engine | None:
        """The engine behind it, or None for an application without one."""
        return next((item.engine for item in self.deployments if item.engine), None)

    def import_error(self, packages: Mapping[str, str]) -> str | None:
        """Return the exception with which importing it ends where these packages are all there is, or None."""
        if self.engine is None:
            return None
        if "vllm" not in packages:
            return "ModuleNotFoundError: No module named 'vllm'"
        return _broken_stack(packages)


def applications(config: Mapping[str, Any]) -> tuple[Application, ...]:
    """Read a Serve configuration (the multi-application format of `serveConfigV2`)."""
    return tuple(_application(entry) for entry in config.get("applications") or ())


def _application(entry: Mapping[str, Any]) -> Application:
    shown = {"name": entry.get("name", "default"), "route_prefix": entry.get("route_prefix", "/")}
    shown |= {key: value for key, value in entry.items() if key not in shown}
    if "deployments" in shown:
        shown["deployments"] = [_shown(item) for item in shown["deployments"]]
    return Application(
        name=shown["name"],
        route_prefix=shown["route_prefix"],
        import_path=entry.get("import_path", ""),
        config=shown,
        runtime_env=RuntimeEnv.from_config(entry.get("runtime_env")),
        deployments=_deployments(entry),
    )


def _shown(deployment: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: _number(key, value) for key, value in (deployment.get("ray_actor_options") or {}).items()}
    return {**deployment, **({"ray_actor_options": options} if options else {})}


def _number(key: str, value: Any) -> Any:
    # Serve's schema holds both as floats, but keeps a whole num_cpus as it was written (recorded: 0.1 and 1.0).
    return float(value) if key == "num_gpus" else value


def _deployments(entry: Mapping[str, Any]) -> tuple[Deployment, ...]:
    args = entry.get("args") or {}
    if "llm_configs" in args:
        return tuple(_ray_llm(args))
    written = entry.get("deployments") or [{"name": "Deployment"}]
    engine, gpus = _own_engine(entry)
    holder = next((item for item in written if (item.get("ray_actor_options") or {}).get("num_gpus")), written[-1])
    return tuple(
        _deployment(item, engine if item is holder else None, gpus, last=item is written[-1]) for item in written
    )


def _own_engine(entry: Mapping[str, Any]) -> tuple[Engine | None, float]:
    """Return the engine that an application's own code starts, and its GPUs, as far as its configuration says so."""
    args = {str(key).replace("-", "_"): value for key, value in (entry.get("args") or {}).items()}
    variables = (entry.get("runtime_env") or {}).get("env_vars") or {}
    if "model" in args and (entry.get("import_path") == ORIGIN_BUILDER or args.keys() & ENGINE_ARGS):
        return _engine(str(args["model"]), args), _gpus(args)
    if "MODEL_ID" in variables:
        sizes = {"tensor_parallel_size": variables.get("TENSOR_PARALLELISM", 1)}
        return _engine(str(variables["MODEL_ID"]), {}), _gpus(sizes)
    return None, 0.0


def _engine(model: str, options: Mapping[str, Any], served: str | None = None) -> Engine:
    # A flag is given by its name alone; only an explicit false is none.
    eager = options.get("enforce_eager", False) is not False
    length = options.get("max_model_len")
    return Engine(
        model,
        served or str(options.get("served_model_name") or model),
        eager,
        str(options.get("load_format", "auto")),
        gpus=_gpus(options),
        memory_share=float(options.get("gpu_memory_utilization", 0.9)),
        max_model_len=int(str(length)) if str(length).isdigit() else None,
        dtype=str(options.get("dtype", "auto")),
        concurrency=_concurrency(options.get("model_loader_extra_config")),
        **_compilation(options),
    )


def _compilation(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the arguments say of compilation (vllm/config/vllm.py and compilation.py, 0.12 to 0.33)."""
    given = str(options.get("optimization_level", ""))
    config = options.get("compilation_config") or {}
    explicit = json.loads(config) if isinstance(config, str) else config
    mode = {"0": "NONE", "3": "VLLM_COMPILE"}.get(str(explicit.get("mode")), explicit.get("mode"))
    return {
        "optimization_level": int(given) if given in ("0", "1", "2", "3") else None,
        "mode": mode,
        "graph_mode": explicit.get("cudagraph_mode"),
    }


def _concurrency(extra: Any) -> int:
    """Return the streamer's `concurrency`; a command line has its configuration as JSON."""
    try:
        told = json.loads(extra) if isinstance(extra, str) else extra or {}
        return int(told.get("concurrency", 16))
    except (ValueError, AttributeError):
        return 16


def _gpus(options: Mapping[str, Any]) -> float:
    return float(options.get("tensor_parallel_size", 1)) * float(options.get("pipeline_parallel_size", 1))


def _deployment(item: Mapping[str, Any], engine: Engine | None, gpus: float, *, last: bool) -> Deployment:
    options = item.get("ray_actor_options") or {}
    actor = {"CPU": float(options.get("num_cpus", 1)), "GPU": float(options.get("num_gpus", 0))}
    whole = dict(actor)
    if engine is not None and not actor["GPU"]:
        # The origin's placement group: {CPU: 1} and one {CPU: 1, GPU: 1} for each GPU (elotl/skyray llm.py).
        whole = {"CPU": actor["CPU"] + gpus, "GPU": gpus}
    return Deployment(item["name"], _positive(whole), _positive(actor), engine, last, _replicas(item))


def _replicas(config: Mapping[str, Any]) -> int:
    """Return how many replicas a deployment begins with; `auto` and an autoscaling configuration begin with their
    minimum.
    """
    scaling = config.get("autoscaling_config") or {}
    wanted = config.get("num_replicas")
    if isinstance(wanted, int) and not scaling:
        return wanted
    return int(scaling.get("initial_replicas") or scaling.get("min_replicas", 1))


def _ray_llm(args: Mapping[str, Any]) -> list[Deployment]:
    deployments = []
    for config in args.get("llm_configs") or ():
        loading = config.get("model_loading_config") or {}
        served = str(loading.get("model_id", ""))
        options = config.get("engine_kwargs") or {}
        source = loading.get("model_source") or served
        if isinstance(source, Mapping):
            source = source.get("bucket_uri", "")
        engine, gpus = _engine(str(source), options, served), _gpus(options)
        name = f"LLMServer:{served.replace('/', '--').replace('.', '_')}"
        whole = {"CPU": 1.0 + gpus, "GPU": gpus}
        count = _replicas(config.get("deployment_config") or {})
        deployments.append(Deployment(name, whole, {"CPU": 1.0}, engine, ingress=False, replicas=count))
    return [*deployments, Deployment("OpenAiIngress", {"CPU": 1.0}, {"CPU": 1.0}, None, ingress=True)]


def _positive(resources: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in resources.items() if value}


def _broken_stack(packages: Mapping[str, str]) -> str | None:
    """Return the import error of a stack that resolved to releases which do not go together, or None.

    Measured 2026-11-22: `pip install vllm==0.5.4` without pins resolves to a set that cannot be imported.
    """
    if not packages["vllm"].startswith("0.5."):
        return None
    if _major(packages, "transformers") >= 5:
        return "ImportError: transformers 5 disables torch 2.4: cannot import name 'PreTrainedModel'"
    if _major(packages, "pyarrow") >= 26 and _major(packages, "numpy") < 2:
        return "ImportError: pyarrow requires numpy >= 2, numpy 1.26.4 is installed"
    return None


def _major(packages: Mapping[str, str], name: str) -> int:
    try:
        return Version(packages.get(name, "0")).major
    except InvalidVersion:
        return 0
