"""Workers that wait for the head by `ray health-check` all the same, or start trimmed without declaring it."""

from collections.abc import Callable
from typing import Any, Final

from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.instant_trial import Stage
from llm_provisioning_simulator.prepared import Prepared
from proof.catalogue.entry import NoOp
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_2025, SERVED_CURRENT

SWITCH: Final = "ENABLE_INIT_CONTAINER_INJECTION"


def operator_set_to(value: str, **spec: Any) -> Callable[[Stage, Prepared], None]:
    """Set the switch on the KubeRay operator's container, as `helm upgrade` does. `spec`: of the Deployment."""

    def change(item: dict[str, Any]) -> None:
        container = item["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [*container.get("env", ()), {"name": SWITCH, "value": value}]
        item["spec"] |= spec

    return lambda on, _prepared: _edit_operator(on, change)


def set_on_a_sidecar(on: Stage, _prepared: Prepared) -> None:
    """Set the switch on another container of the operator's pod."""

    def change(item: dict[str, Any]) -> None:
        sidecar = {"name": "proxy", "image": "proxy:1", "env": [{"name": SWITCH, "value": "false"}]}
        item["spec"]["template"]["spec"]["containers"].append(sidecar)

    _edit_operator(on, change)


def waiting_of_their_own(manifest: Manifest) -> None:
    """Give the workers an init container that waits as KubeRay's does, as a policy of the cluster may."""
    for group in manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        spec = group["template"]["spec"]
        wait = "until ray health-check --address $FQ_RAY_IP:6379; do sleep 5; done"
        image = spec["containers"][0]["image"]
        spec["initContainers"] = [{"name": "gcs", "image": image, "command": ["bash", "-c"], "args": [wait]}]


def _edit_operator(on: Stage, change: Callable[[dict[str, Any]], None]) -> None:
    on.cluster.store.mutate("deployments", "kuberay-operator", "kuberay-operator", change, manager="helm")


def _trim(name: str, claim: str = "ray_start_trim", **fields: Any) -> NoOp:
    fields = {"target": target("eks"), "declared": SERVED_CURRENT, "variant": "ray_start_trim", **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim=claim)


RAY_START_TRIM: Final = (
    _trim("the operator's switch was never set"),
    _trim("the operator's switch is 0, which KubeRay does not know", after_preparation=operator_set_to("0")),
    _trim(
        "the operator's Deployment is paused, and the old one runs",
        target=target("gke", autoscaler="native"),
        after_preparation=operator_set_to("false", paused=True),
        setup=ScalingSetup.DYNAMIC,
    ),
    _trim("the switch is set on a sidecar", target=target("aks"), after_preparation=set_on_a_sidecar),
    _trim(
        "a policy gives the workers the same wait under another name",
        after_preparation=operator_set_to("false"),
        manifest=waiting_of_their_own,
    ),
    _trim(
        "the baseline's workers start trimmed, and it was not declared",
        claim="nothing_undeclared",
        declared=SERVED_2025,
        variant="baseline",
        after_preparation=operator_set_to("FALSE"),
    ),
)
