"""Node profiles, one for each pair of node autoscaler and cloud that is offered."""

from typing import Any, Final

import pytest

from airflow_llm_provisioning.core.experiment import NodeProfile

OPTIONS: Final = {
    "api_server": "https://x.eks.amazonaws.com",
    "cluster_certificate": "Q0E=",
    "role": "node-role",
    "discovery": "my-cluster",
    "node_service_account": "luna@project.iam.gserviceaccount.com",
}
# (autoscaler, cloud) -> what its profile needs besides.
_OFFERED: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("luna", "eks"): {"gpu_skus": ("L4",)},
    ("luna", "gke"): {"gpu_skus": ("L4",), "features": {"image_streaming": True}},
    ("luna", "aks"): {"gpu_skus": ("A10",), "features": {"image_streaming": True}},
    ("karpenter", "eks"): {"gpu_skus": ("L4",)},
    ("karpenter", "aks"): {"gpu_skus": ("A10",), "features": {"image_streaming": True}},
    ("native", "eks"): {"options": {"node_selector": {"pool": "trials"}}},
    ("native", "gke"): {"gpu_instance_type": "g2-standard-12", "cpu_instance_type": "e2-standard-8"},
    ("native", "aks"): {"gpu_instance_type": "Standard_NV36ads_A10_v5", "cpu_instance_type": "Standard_D8s_v5"},
}


def profile(cloud: str = "eks", autoscaler: str = "luna", **fields: Any) -> NodeProfile:
    """Return a profile; `options` beside those that every cloud may need."""
    options = {**OPTIONS, **fields.pop("options", {})}
    return NodeProfile("eks-improved", cloud, autoscaler, "1.31", options=options, **fields)  # type: ignore[arg-type]


def offered() -> list[Any]:
    """Return every pair that is offered, with its profile, as parameters of a test."""
    pairs = [
        pytest.param(autoscaler, profile(cloud, autoscaler, **fields), id=f"{autoscaler}-{cloud}")
        for (autoscaler, cloud), fields in _OFFERED.items()
    ]
    provisioned = profile("gke", "native", gpu_skus=("L4",), options={"auto_provisioning": True})
    return [*pairs, pytest.param("native", provisioned, id="native-gke-auto-provisioning")]
