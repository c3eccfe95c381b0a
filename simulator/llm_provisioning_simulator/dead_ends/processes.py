"""Containers that end, or are ended, again and again: processes that cannot start, too little memory, probes."""

from typing import Any, Final

from llm_provisioning_simulator.dead_ends.scene import OTHER_IMAGE, DeadEnd, Says, Scene
from llm_provisioning_simulator.dead_ends.stage import an_image

_CRASH_LOOP: Final = Says("Pod", "container", "CrashLoopBackOff", "restarting failed container=ray-")


def _image(scene: Scene, role: Any, **changes: Any) -> None:
    scene.world.push(an_image(OTHER_IMAGE, **changes))
    scene.container(role)["image"] = OTHER_IMAGE


def _params(scene: Scene, role: Any, **params: str) -> None:
    scene.group(role)["rayStartParams"].update({key.replace("_", "-"): value for key, value in params.items()})


def _probe(scene: Scene, role: Any, kind: str, **probe: Any) -> None:
    scene.container(role)[f"{kind}Probe"] = {"periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3, **probe}


def _other_version(scene: Scene) -> None:
    packages = {"ray": "2.59.0", "vllm": "0.33.0"}
    _image(scene, "worker", packages=packages)


_AGENT: Final = {"httpGet": {"path": "/api/healthz", "port": 52365}}
_WRONG_PORT: Final = {"httpGet": {"path": "/healthz", "port": 9999}, "initialDelaySeconds": 10}

ENDS: Final = (
    DeadEnd(
        "head-image-without-shell",
        "the head's image holds no /bin/bash, which KubeRay's command needs",
        lambda scene: _image(scene, "head", shell=False),
        Says("Pod", "container", "RunContainerError", 'exec: "/bin/bash": stat /bin/bash: no such file or directory'),
    ),
    DeadEnd(
        "worker-image-without-shell",
        "the worker's image holds no /bin/bash: its init container cannot start",
        lambda scene: _image(scene, "worker", shell=False),
        Says("Pod", "container", "StartError", "no such file or directory"),
    ),
    DeadEnd(
        "head-image-without-ray",
        "the head's image holds no `ray`: bash ends with 127",
        lambda scene: _image(scene, "head", without=("ray",)),
        Says("Pod", "container", "Error", "exit code 127"),
    ),
    DeadEnd(
        "worker-image-without-ray",
        "the worker's image holds no `ray`: its init container waits for the GCS without end",
        lambda scene: _image(scene, "worker", without=("ray",)),
        Says("Pod", "condition", "ContainersNotInitialized", "wait-gcs-ready"),
    ),
    DeadEnd(
        "head-unknown-flag",
        "the head's rayStartParams name an option that `ray start` does not have",
        lambda scene: _params(scene, "head", no_such_option="1"),
        _CRASH_LOOP,
    ),
    DeadEnd(
        "worker-unknown-flag",
        "the worker's rayStartParams name an option that `ray start` does not have",
        lambda scene: _params(scene, "worker", no_such_option="1"),
        _CRASH_LOOP,
    ),
    DeadEnd(
        "head-flag-of-wrong-type",
        "the head's rayStartParams give num-gpus as a word",
        lambda scene: _params(scene, "head", num_gpus="one"),
        Says("Pod", "container", "Error", "exit code 2"),
    ),
    DeadEnd(
        "head-object-store-too-small",
        "the head's object store is below Ray's minimum",
        lambda scene: _params(scene, "head", object_store_memory="1000000"),
        Says("Pod", "container", "Error", "exit code 1"),
    ),
    DeadEnd(
        "worker-of-another-ray",
        "the worker's image holds another Ray version than the head's",
        _other_version,
        _CRASH_LOOP,
    ),
    DeadEnd(
        "head-command-exits",
        "the head's own command ends before Ray starts",
        lambda scene: scene.container("head").update(command=["/bin/sh", "-c", "--"], args=["exit 3"]),
        Says("Pod", "container", "Error", "exit code 3"),
    ),
    DeadEnd(
        "head-command-never-ends",
        "the head's own command waits without end, so that Ray never starts until a probe kills it",
        lambda scene: scene.container("head").update(command=["sleep"], args=["infinity"]),
        Says("Pod", "event", "Killing", "Container ray-head failed liveness probe, will be restarted"),
    ),
    DeadEnd(
        "head-out-of-memory",
        "the head's memory limit is below what Ray needs",
        lambda scene: scene.amounts("head", memory="256Mi"),
        Says("Pod", "container", "OOMKilled", "exit code 137"),
    ),
    DeadEnd(
        "worker-out-of-memory",
        "the worker's memory limit is below what Ray needs",
        lambda scene: scene.amounts("worker", memory="200Mi"),
        _CRASH_LOOP,
    ),
    DeadEnd(
        "engine-out-of-memory",
        "the worker's memory limit is below what vLLM's process needs on the host",
        lambda scene: scene.amounts("worker", memory="3Gi"),
        Says("Pod", "container", "OOMKilled", "exit code 137"),
    ),
    DeadEnd(
        "head-liveness-on-wrong-port",
        "the head's own liveness probe asks a port on which nothing listens",
        lambda scene: _probe(scene, "head", "liveness", **_WRONG_PORT),
        Says("Pod", "event", "Killing", "failed liveness probe, will be restarted"),
    ),
    DeadEnd(
        "worker-liveness-too-early",
        "the worker's own liveness probe gives Ray no time to start",
        lambda scene: _probe(scene, "worker", "liveness", **_AGENT, periodSeconds=1, failureThreshold=1),
        _CRASH_LOOP,
    ),
    DeadEnd(
        "head-readiness-on-wrong-path",
        "the head's own readiness probe asks a path that its agent does not have",
        lambda scene: _probe(scene, "head", "readiness", httpGet={"path": "/ready", "port": 52365}),
        Says("Pod", "event", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404"),
    ),
    DeadEnd(
        "worker-startup-probe-fails",
        "the worker's own startup probe never succeeds",
        lambda scene: _probe(scene, "worker", "startup", exec={"command": ["false"]}),
        Says("Pod", "event", "Killing", "failed startup probe, will be restarted"),
    ),
    DeadEnd(
        "agent-silent",
        "fault: Ray's dashboard agents answer no probe",
        lambda scene: scene.fault("agent_silent", True),
        Says("Pod", "event", "Unhealthy", "/api/healthz"),
    ),
    DeadEnd(
        "gpu-driver-mismatch",
        "fault: driver and library of the node's GPU do not fit",
        lambda scene: scene.fault("gpu_driver_mismatch", True),
        Says("Pod", "container", "RunContainerError", "driver/library version mismatch"),
    ),
)
