"""Images that no node gets: references, registries, networks, disks."""

from typing import Final

from llm_provisioning_simulator.dead_ends.scene import OTHER_IMAGE, DeadEnd, Says, Scene
from llm_provisioning_simulator.dead_ends.stage import an_image


def _reference(scene: Scene, reference: str) -> None:
    scene.container("worker")["image"] = reference


def _never(scene: Scene) -> None:
    scene.container("worker")["imagePullPolicy"] = "Never"


def _other_platform(scene: Scene) -> None:
    scene.world.push(an_image(OTHER_IMAGE, architecture="arm64"))
    _reference(scene, OTHER_IMAGE)


def _trouble(name: str, text: str, changed: str, reason: str = "ErrImagePull") -> DeadEnd:
    return DeadEnd(
        f"pull-{name.replace('_', '-')}",
        f"fault: {changed}",
        lambda scene: scene.fault("pull_trouble", name),
        Says("Pod", "container", reason, text),
    )


ENDS: Final = (
    DeadEnd(
        "tag-missing",
        "the registry does not hold the worker's tag",
        lambda scene: _reference(scene, "registry.example.com/acme/ray-llm:no-such-tag"),
        Says("Pod", "container", "ImagePullBackOff", "no-such-tag: not found"),
    ),
    DeadEnd(
        "head-tag-missing",
        "the registry does not hold the head's tag",
        lambda scene: scene.container("head").update(image="registry.example.com/acme/ray-llm:no-such-tag"),
        Says("RayCluster", "condition", "ErrImagePull", "not found"),
    ),
    DeadEnd(
        "registry-of-no-name",
        "the host of the worker's image does not resolve",
        lambda scene: _reference(scene, "regg.azurecr.io/acme/ray-llm:1"),
        Says("Pod", "container", "ErrImagePull", "lookup regg.azurecr.io on 169.254.20.10:53: no such host"),
    ),
    DeadEnd(
        "image-of-another-platform",
        "the worker's image has no linux/amd64",
        _other_platform,
        Says("Pod", "container", "ErrImagePull", "no match for platform in manifest"),
    ),
    DeadEnd(
        "never-pulled",
        "the worker's pull policy is Never, and the node does not hold the image",
        _never,
        Says("Pod", "container", "ErrImageNeverPull", "is not present with pull policy of Never"),
    ),
    DeadEnd(
        "reference-of-no-image",
        "the worker's image is no valid reference",
        lambda scene: _reference(scene, "registry.example.com/ACME/Ray LLM:1"),
        Says("Pod", "container", "InvalidImageName", "invalid reference format"),
    ),
    _trouble("rate_limited", "429 Too Many Requests", "the registry limits anonymous pulls"),
    _trouble("unauthorized", "401 Unauthorized", "the registry refuses the node's credentials"),
    _trouble("denied", "pull access denied", "the registry denies access"),
    _trouble("forbidden", "403 Forbidden", "the registry forbids the pull"),
    _trouble("no_such_host", "no such host", "DNS knows no registry"),
    _trouble("mirror_refused", "127.0.0.1:8578: connect: connection refused", "the node's streaming mirror is down"),
    _trouble("timeout", "i/o timeout", "no packet reaches the registry"),
    _trouble("certificate", "x509: certificate signed by unknown authority", "the registry's certificate is unknown"),
    _trouble("disk_full", "no space left on device", "the nodes' disks are full"),
    _trouble("registry_down", "503 Service Unavailable", "the registry is down"),
    _trouble("digest_mismatch", "unexpected commit digest", "a layer arrives damaged"),
)
