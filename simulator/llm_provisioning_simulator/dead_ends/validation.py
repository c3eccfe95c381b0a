"""RayServices that the API server takes and KubeRay refuses."""

from typing import Any, Final

from llm_provisioning_simulator.dead_ends.scene import DeadEnd, Says, Scene

_METADATA: Final = "InvalidRayServiceMetadata"
_SPEC: Final = "InvalidRayServiceSpec"


def _spec(scene: Scene, **fields: Any) -> None:
    scene.manifest["spec"].update(fields)


def _redis(scene: Scene) -> None:
    scene.container("head")["env"] = [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}]


def _autoscaler(scene: Scene) -> None:
    scene.container("head")["env"] = [{"name": "RAY_enable_autoscaler_v2", "value": "1"}]


ENDS: Final = (
    DeadEnd(
        "incremental-upgrade-without-autoscaler",
        "an incremental upgrade is asked for without Ray's autoscaler",
        lambda scene: _spec(scene, upgradeStrategy={"type": "NewClusterWithIncrementalUpgrade"}),
        Says("RayService", "event", _SPEC, "Ray Autoscaler is required for NewClusterWithIncrementalUpgrade"),
    ),
    DeadEnd(
        "redis-without-options",
        "the head's environment names a Redis without gcsFaultToleranceOptions",
        _redis,
        Says("RayService", "condition", "ValidationFailed", "RAY_REDIS_ADDRESS is set"),
    ),
    DeadEnd(
        "resources-given-twice",
        "the head gives its CPUs both in rayStartParams and in resources",
        lambda scene: scene.group("head").update(resources={"CPU": "1"}),
        Says("RayService", "event", _SPEC, "resource fields should not be set in both rayStartParams and Resources"),
    ),
    DeadEnd(
        "head-service-named",
        "the head's Service is given a name",
        lambda scene: scene.group("head").update(headService={"metadata": {"name": "mine"}}),
        Says("RayService", "event", _SPEC, "headService.metadata.name should not be set"),
    ),
    DeadEnd(
        "autoscaler-asked-for-in-vain",
        "the head's environment asks for Ray's autoscaler v2 while autoscaling is off",
        _autoscaler,
        Says("RayService", "event", _SPEC, "RAY_enable_autoscaler_v2 cannot be set to '1'"),
    ),
    DeadEnd(
        "name-begins-with-digit",
        "the RayService's name is no DNS label",
        lambda scene: scene.manifest["metadata"].update(name="7b-model"),
        Says("RayService", "condition", "ValidationFailed", "should be a valid DNS1035 label"),
    ),
    DeadEnd(
        "timeout-of-no-duration",
        "the annotation of the initialising timeout is no duration",
        lambda scene: scene.manifest["metadata"].update(annotations={"ray.io/initializing-timeout": "ten minutes"}),
        Says("RayService", "event", _METADATA, "has invalid format: ten minutes"),
    ),
)
