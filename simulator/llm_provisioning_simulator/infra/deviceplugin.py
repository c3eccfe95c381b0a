"""What makes a GPU known to a kubelet: a driver and a device plugin, in pods where a cloud runs them as pods.

GKE shows its driver installation as an init container of the plugin's pod, with a true start and end. Bottlerocket's
-nvidia image has both built in and no pod. Everywhere else the plugin is a DaemonSet that a user installs.
"""

from typing import Any, Final

from llm_provisioning_simulator.infra.boot import BootPlan
from llm_provisioning_simulator.infra.machines import ClusterContext, Machine
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.world import digest_of

NAMESPACE: Final = "kube-system"
DAEMONSETS: Final = {
    "eks": "nvidia-device-plugin-daemonset",
    "gke": "nvidia-gpu-device-plugin-medium-cos",
    "aks": "nvidia-device-plugin-daemonset",
}
_LABELS: Final = {"name": "nvidia-device-plugin-ds", "k8s-app": "nvidia-gpu-device-plugin"}
_PLUGIN: Final = "nvidia-gpu-device-plugin"
_DRIVER: Final = "nvidia-driver-installer"


class DevicePlugin:
    """The device plugin of one cluster's GPU nodes."""

    def __init__(self, ctx: ClusterContext) -> None:
        self._ctx = ctx
        self._name = DAEMONSETS[ctx.cluster.cloud]

    async def run(self, machine: Machine, plan: BootPlan, *, driver_installed: bool) -> None:
        """Return when the plugin has told the kubelet of its GPUs; never, without a driver."""
        ctx = self._ctx
        if machine.operating_system == "bottlerocket":
            await ctx.clock.sleep(plan.plugin_s)
            return
        pod = self._create_pod(machine)
        if not driver_installed:
            await ctx.clock.sleep(float(10**9))
        started = stamp(ctx.clock.now())
        await ctx.clock.sleep(plan.driver_s)
        driven = stamp(ctx.clock.now())
        await ctx.clock.sleep(plan.plugin_s)
        running = stamp(ctx.clock.now())

        def run(item: dict[str, Any]) -> None:
            item["status"] = _running(machine, started, driven, running, with_driver=plan.driver_s > 0)

        ctx.store.mutate("pods", pod, NAMESPACE, run, subresource="status", manager="kubelet")

    def forget(self, machine: Machine) -> None:
        """Remove the plugin's pod of a machine that is gone."""
        self._ctx.store.remove("pods", self._pod_name(machine), NAMESPACE)

    def _pod_name(self, machine: Machine) -> str:
        # A DaemonSet's pods end in five letters of chance; these follow from the node, so that they can be found again.
        return f"{self._name}-{digest_of(machine.name)[7:12]}"

    def _create_pod(self, machine: Machine) -> str:
        store = self._ctx.store
        owner = store.peek("daemonsets", self._name, NAMESPACE)
        name = self._pod_name(machine)
        metadata: dict[str, Any] = {"name": name, "labels": dict(_LABELS)}
        if owner is not None:
            metadata["ownerReferences"] = [
                {
                    "apiVersion": "apps/v1",
                    "kind": "DaemonSet",
                    "name": self._name,
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ]
        spec: dict[str, Any] = {
            "nodeName": machine.name,
            "containers": [{"name": _PLUGIN, "image": "nvcr.io/nvidia/k8s-device-plugin:v0.18.0"}],
            "tolerations": [{"operator": "Exists"}],
        }
        if machine.spec.cloud == "gke":
            spec["initContainers"] = [{"name": _DRIVER, "image": "gke.gcr.io/nvidia-driver-installer:latest"}]
        pod = {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}
        store.create("pods", pod, namespace=NAMESPACE, manager="kube-controller-manager")
        return name


def daemonset(cloud: str) -> dict[str, Any]:
    """Return the DaemonSet object, which shows that GPUs will be advertised."""
    return {
        "metadata": {"name": DAEMONSETS[cloud], "labels": dict(_LABELS)},
        "spec": {
            "selector": {"matchLabels": dict(_LABELS)},
            "template": {
                "metadata": {"labels": dict(_LABELS)},
                "spec": {
                    "containers": [{"name": _PLUGIN, "image": "nvcr.io/nvidia/k8s-device-plugin:v0.18.0"}],
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                },
            },
        },
        "status": {"desiredNumberScheduled": 0, "currentNumberScheduled": 0, "numberReady": 0, "numberMisscheduled": 0},
    }


def is_plugin(pod: dict[str, Any]) -> bool:
    """Tell whether a pod is a device plugin's: what happens in it is told here, not by a kubelet."""
    return (
        pod["metadata"]["namespace"] == NAMESPACE and _LABELS.items() <= (pod["metadata"].get("labels") or {}).items()
    )


def owned_by_daemonset(pod: dict[str, Any]) -> bool:
    """Tell whether a pod comes and goes with its node."""
    return any(owner.get("kind") == "DaemonSet" for owner in pod["metadata"].get("ownerReferences") or ())


def _running(machine: Machine, started: str, driven: str, running: str, *, with_driver: bool) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": "Running",
        "hostIP": machine.address,
        "podIP": machine.address,
        "startTime": started,
        "conditions": [
            {"type": type_, "status": "True", "lastTransitionTime": running}
            for type_ in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "containerStatuses": [
            {
                "name": _PLUGIN,
                "ready": True,
                "restartCount": 0,
                "image": "nvcr.io/nvidia/k8s-device-plugin:v0.18.0",
                "imageID": "",
                "state": {"running": {"startedAt": driven}},
            }
        ],
    }
    if with_driver:
        status["initContainerStatuses"] = [
            {
                "name": _DRIVER,
                "ready": True,
                "restartCount": 0,
                "image": "gke.gcr.io/nvidia-driver-installer:latest",
                "imageID": "",
                "state": {
                    "terminated": {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": driven}
                },
            }
        ]
    return status
