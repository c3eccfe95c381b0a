"""The environment of a trial, from its trace: nodes, versions, zone, images. Unknown values are absent."""

from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.image_arrival import image_digest, images_of
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.trace.view import TraceView

_NODE_LABELS: Final = (
    ("instance_type", ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")),
    ("zone", ("topology.kubernetes.io/zone",)),
    ("region", ("topology.kubernetes.io/region",)),
    (
        "gpu",
        (
            *("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "karpenter.k8s.aws/instance-gpu-name"),
            *("cloud.google.com/gke-tpu-accelerator", "karpenter.k8s.aws/instance-accelerator-name"),
            *("amd.com/gpu.product-name", "gpu.intel.com/product"),
        ),
    ),
)
_NODE_INFO: Final = (
    ("kubelet", "kubeletVersion"),
    ("os_image", "osImage"),
    ("container_runtime", "containerRuntimeVersion"),
)


def environment_of(view: TraceView) -> dict[str, Any]:
    """Return {cluster: {...}, kuberay, ray, exclude_head_pod, head: {...}, worker: {...}}.

    A role has node, provider_id, instance_type, zone, region, gpu, kubelet, os_image, container_runtime, image and
    image_digest. `gpu`: the accelerator of any vendor, as the node's labels name it.
    """
    spec = view.rayservice.first.get("spec") if view.rayservice else None
    found: dict[str, Any] = {
        "cluster": dict(view.header.get("cluster") or {}) if isinstance(view.header.get("cluster"), dict) else {},
        "kuberay": _kuberay(view),
        "ray": text(dig(view.ray_answer("ray-version"), "ray_version"))
        or text(dig(spec, "rayClusterConfig", "rayVersion")),
        "exclude_head_pod": dig(spec, "excludeHeadPodFromServeSvc") is True if view.rayservice else None,
    }
    for role, pod in (("head", view.head), ("worker", view.worker)):
        if pod is not None:
            found[role] = _role(view, pod)
    return {key: value for key, value in found.items() if value not in (None, "", {})}


def accelerator_of(node: History) -> str | None:
    """Return the accelerator of a node as its labels name it, None where none does."""
    labels = dict(_NODE_LABELS)["gpu"]
    return next((node.labels[label] for label in labels if node.labels.get(label)), None)


def _kuberay(view: TraceView) -> str:
    owners = [item for item in (view.raycluster, view.head) if item]
    return next((text(v) for item in owners if (v := item.annotations.get("ray.io/kuberay-version"))), "")


def _role(view: TraceView, pod: History) -> dict[str, Any]:
    node = view.node_of(pod)
    found: dict[str, Any] = {"node": view.node_name_of(pod), "image_digest": image_digest(pod)}
    found["image"] = next(iter(images_of(pod)), None)
    if node is not None:
        found["provider_id"] = dig(node.last, "spec", "providerID")
        found |= {key: dig(node.last, "status", "nodeInfo", name) for key, name in _NODE_INFO}
        for key, labels in _NODE_LABELS:
            found[key] = next((node.labels[label] for label in labels if label in node.labels), None)
    return {key: value for key, value in found.items() if isinstance(value, str) and value}
