"""Applications that are never served: imports, environments, constructors, engines, and a silent operator."""

from typing import Any, Final

from llm_provisioning_simulator.dead_ends.scene import IMAGE, DeadEnd, Says, Scene
from llm_provisioning_simulator.dead_ends.stage import an_image
from llm_provisioning_simulator.hub_models import HubModel


def _failed(text: str) -> Says:
    return Says("RayService", "deployment", "DEPLOY_FAILED", text)


def _without_vllm(scene: Scene) -> None:
    scene.world.push(an_image(IMAGE, without=("vllm",)))


def _pip(scene: Scene) -> None:
    def change(application: dict[str, Any]) -> None:
        application["runtime_env"] = {"pip": ["not a requirement!"]}

    scene.serve(change)


def _no_gpu(scene: Scene) -> None:
    for part in scene.container("worker")["resources"].values():
        part.pop("nvidia.com/gpu")


def _model(name: str, weight_bytes: int, **more: Any) -> HubModel:
    return HubModel(name, "0" * 40, {"config.json": 1_000, "model.safetensors": weight_bytes}, **more)


def _gated(scene: Scene) -> None:
    scene.world.models["acme/gated"] = _model("acme/gated", 5_000_000_000, gated=True)
    scene.llm(model="acme/gated")


def _large(scene: Scene) -> None:
    scene.world.models["acme/large"] = _model("acme/large", 140_000_000_000)
    scene.llm(model="acme/large")


def _tight(scene: Scene) -> None:
    scene.world.models["acme/tight"] = _model("acme/tight", 20_000_000_000)
    scene.llm(model="acme/tight")


def _engine(name: str, changed: str) -> DeadEnd:
    return DeadEnd(
        f"engine-{name.replace('_', '-')}",
        f"fault: {changed}",
        lambda scene: scene.fault("engine_error", name),
        _ENGINE,
    )


def _timeout(scene: Scene) -> None:
    scene.manifest["metadata"]["annotations"] = {"ray.io/initializing-timeout": "75s"}
    _without_vllm(scene)


_ENGINE: Final = Says(
    "RayService", "deployment", "DEPLOY_FAILED", "Engine core initialization failed. See root cause above."
)

ENDS: Final = (
    DeadEnd(
        "application-without-its-package",
        "the image holds no vLLM: the application's import fails",
        _without_vllm,
        Says("RayService", "application", "DEPLOY_FAILED", "No module named 'vllm'"),
    ),
    DeadEnd(
        "import-error",
        "fault: the application's module does not import",
        lambda scene: scene.fault("deploy_failed", True),
        Says("RayService", "application", "DEPLOY_FAILED", "ModuleNotFoundError"),
    ),
    DeadEnd(
        "environment-of-no-package",
        "the application's runtime environment asks for what is no requirement",
        _pip,
        Says("RayService", "application", "DEPLOY_FAILED", "Failed to set up runtime environment"),
    ),
    DeadEnd(
        "constructor-raises",
        "fault: the constructor of the deployment raises",
        lambda scene: scene.fault("replica_crash", True),
        _failed("RuntimeError: the constructor was made to fail"),
    ),
    DeadEnd(
        "model-missing",
        "the hub does not have the model",
        lambda scene: scene.llm(model="acme/no-such-model"),
        _failed("acme/no-such-model"),
    ),
    DeadEnd(
        "initializing-timeout",
        "the RayService's own timeout passes",
        _timeout,
        Says("RayService", "condition", "InitializingTimeout"),
    ),
    DeadEnd(
        "no-gpu-for-replica",
        "the worker has no GPU, and the engine's replica needs one",
        _no_gpu,
        Says("RayService", "deployment", "UPDATING", "replicas that have taken more than 30s to be scheduled"),
    ),
    DeadEnd(
        "model-gated",
        "the model is gated, and no token is given",
        _gated,
        _failed("GatedRepoError: 401 Client Error"),
    ),
    DeadEnd("model-larger-than-gpu", "the model's weights are larger than the GPU's memory", _large, _ENGINE),
    DeadEnd("no-memory-for-cache", "the weights leave no memory for the KV cache", _tight, _ENGINE),
    DeadEnd(
        "context-larger-than-cache",
        "one request of the longest context asked for needs more KV cache than there is",
        lambda scene: scene.llm(max_model_len=131072),
        _ENGINE,
    ),
    _engine("no_kernel_image", "the image's CUDA kernels are of other GPUs"),
    _engine("driver_too_old", "the node's driver is older than the image's CUDA needs"),
    _engine("unsupported_architecture", "vLLM does not know the model's architecture"),
    _engine("trust_remote_code", "the model brings code of its own, which is not allowed to run"),
    _engine("nccl", "the GPUs cannot reach each other"),
    DeadEnd(
        "operator-silent",
        "fault: the KubeRay operator does nothing at all",
        lambda scene: scene.fault("operator_silent", True),
        Says("RayService", "silence", ""),
    ),
)
