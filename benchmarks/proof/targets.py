"""The targets of the proofs: every cloud with every node autoscaler that the simulator has for it."""

from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import CloudName, NodeProfile, Target

_REGIONS: Final[dict[str, str]] = {"eks": "us-west-2", "gke": "us-central1", "aks": "eastus"}
_REGISTRIES: Final[dict[str, str | None]] = {
    "eks": None,
    "gke": "us-central1-docker.pkg.dev/proof",
    "aks": "proofregistry",
}
_NODES: Final[dict[tuple[CloudName, str], dict[str, Any]]] = {
    ("eks", "luna"): {"options": {"api_server": "https://proof", "cluster_certificate": "c2ltdWxhdGVk"}},
    ("eks", "karpenter"): {"options": {"role": "nodes", "discovery": "proof"}},
    ("gke", "luna"): {"options": {"node_service_account": "nodes@proof.iam.gserviceaccount.com"}},
    ("gke", "native"): {
        "gpu_instance_type": "g2-standard-12",
        "cpu_instance_type": "e2-standard-4",
        "options": {"node_service_account": "nodes@proof.iam.gserviceaccount.com"},
    },
    ("aks", "luna"): {},
    ("aks", "karpenter"): {},
    ("aks", "native"): {
        "gpu_instance_type": "Standard_NV36ads_A10_v5",
        "cpu_instance_type": "Standard_D4s_v5",
    },
}
KINDS: Final = tuple(_NODES)
# The clusters' streaming and the snapshot exist for these variants only.
PLAIN: Final = ("baseline", "fast_download", "baked_image")
FAST: Final = ("image_delivery", "improved")


def target(cloud: CloudName, kind: str = "plain", autoscaler: str = "luna", **nodes: Any) -> Target:
    """Return a target: `plain` for variants that pull the image, `fast` for variants with a delivered image. `nodes`:
    other fields of its node profile.
    """
    fast = kind == "fast"
    delivered = {"snapshot": fast and cloud == "eks", "streaming": fast and cloud != "eks"}
    profile: dict[str, Any] = {"gpu_skus": ("A10",) if cloud == "aks" else ("L4",), **_NODES[cloud, autoscaler]}
    name = f"{cloud}-{autoscaler}-{kind}"
    made: Any = {"name": name, "cloud": cloud, "autoscaler": autoscaler, "kubernetes_minor": "1.34"}
    return Target(
        name=name,
        cluster=name,
        conn_id="proof",
        nodes=NodeProfile(**{**made, **profile, **delivered, **nodes}),
        variants=FAST if fast else PLAIN,
        cloud_conn_id="proof",
        cluster_name=name,
        region=_REGIONS[cloud],
        registry=_REGISTRIES[cloud],
    )


def with_other_nodes(of: Target, **fields: Any) -> Target:
    """Return a target with other nodes than planned."""
    return replace(of, nodes=replace(of.nodes, **fields))
