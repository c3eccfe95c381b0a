"""Applications that are never served: imports, environments, constructors, engines, and a silent operator."""

from typing import Any, Final

from llm_provisioning_simulator.dead_ends.scene import IMAGE, DeadEnd, Says, Scene
from llm_provisioning_simulator.dead_ends.stage import an_image


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


def _timeout(scene: Scene) -> None:
    scene.manifest["metadata"]["annotations"] = {"ray.io/initializing-timeout": "75s"}
    _without_vllm(scene)


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
)
