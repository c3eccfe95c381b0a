"""A Serve configuration as the controller understands it: applications, deployments, what each replica needs.

It knows the two applications of the workload profiles and takes any other for a trivial one. It must not know variants.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from llm_provisioning_simulator.app.packages import RuntimeEnv

ORIGIN_BUILDER: Final = "luna-llm-serve.llm:build_app"
RAY_LLM_BUILDER: Final = "ray.serve.llm:build_openai_app"


@dataclass(frozen=True, slots=True)
class Engine:
    """The vLLM engine a replica starts. `model`: what is loaded; `served`: the name requests ask for."""

    model: str
    served: str
    enforce_eager: bool = False
    load_format: str = "auto"

    @property
    def random_weights(self) -> bool:
        """Whether the weights are made up in memory instead of being read (vLLM's `dummy` loader)."""
        return self.load_format == "dummy"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment; `resources` are those of a whole replica, its placement group included."""

    name: str
    resources: Mapping[str, float]
    actor_options: Mapping[str, float]
    engine: Engine | None = None
    ingress: bool = True

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
    if entry.get("import_path") == RAY_LLM_BUILDER:
        return tuple(_ray_llm(args))
    written = entry.get("deployments") or [{"name": "Deployment"}]
    engine = None
    if entry.get("import_path") == ORIGIN_BUILDER:
        model = str(args.get("model", ""))
        engine = Engine(model, model, "enforce-eager" in args, str(args.get("load-format", "auto")))
    gpus = float(args.get("tensor-parallel-size", 1)) if engine else 0.0
    return tuple(_deployment(item, engine, gpus, last=item is written[-1]) for item in written)


def _deployment(item: Mapping[str, Any], engine: Engine | None, gpus: float, *, last: bool) -> Deployment:
    options = item.get("ray_actor_options") or {}
    actor = {"CPU": float(options.get("num_cpus", 1)), "GPU": float(options.get("num_gpus", 0))}
    whole = dict(actor)
    if engine is not None:
        # The origin's placement group: {CPU: 1} and one {CPU: 1, GPU: 1} for each GPU (elotl/skyray llm.py).
        whole = {"CPU": actor["CPU"] + gpus, "GPU": max(actor["GPU"], gpus)}
    return Deployment(item["name"], _positive(whole), _positive(actor), engine, ingress=last)


def _ray_llm(args: Mapping[str, Any]) -> list[Deployment]:
    deployments = []
    for config in args.get("llm_configs") or ():
        loading = config.get("model_loading_config") or {}
        served = str(loading.get("model_id", ""))
        options = config.get("engine_kwargs") or {}
        source = loading.get("model_source")
        engine = Engine(
            source if isinstance(source, str) else served,
            served,
            bool(options.get("enforce_eager", False)),
            str(options.get("load_format", "auto")),
        )
        gpus = float(options.get("tensor_parallel_size", 1))
        name = f"LLMServer:{served.replace('/', '--').replace('.', '_')}"
        deployments.append(Deployment(name, {"CPU": 1.0 + gpus, "GPU": gpus}, {"CPU": 1.0}, engine, ingress=False))
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
