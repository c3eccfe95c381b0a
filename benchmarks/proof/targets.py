"""The targets of the proofs: every cloud with every node autoscaler that the simulator has for it."""

from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import resolved, treated_nodes
from proof.variants import VARIANTS

_REGIONS: Final[dict[str, str]] = {"eks": "us-west-2", "gke": "us-central1", "aks": "eastus"}
# The weights as an OCI artifact in a registry of the target's region.
ARTIFACT: Final = "registry.example/weights/phi-3-mini@sha256:" + "a1" * 32
_SHARED: Final[dict[str, str]] = {"eks": "efs-sc", "gke": "standard-rwx", "aks": "azurefile-csi-premium"}
_SCHEMES: Final[dict[str, str]] = {"eks": "s3", "gke": "gs", "aks": "az"}
_REGISTRIES: Final[dict[str, str | None]] = {
    "eks": None,
    "gke": "us-central1-docker.pkg.dev/proof",
    "aks": "proofregistry",
}
_NODES: Final[dict[tuple[str, str], dict[str, Any]]] = {
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
PLAIN: Final = ("baseline", "fast_download", "baked_image", "fast_baked")
FAST: Final = ("image_delivery", "improved")


def target(cloud: str, kind: str = "plain", autoscaler: str = "luna", **nodes: Any) -> Target:
    """Return a target: `plain` for variants that pull the image, `fast` for variants with a delivered image, else for
    the variant of this name. `nodes`: other fields of its node profile.
    """
    variants = {"plain": PLAIN, "fast": FAST}.get(kind, (kind,))
    profile: dict[str, Any] = {"gpu_skus": ("A10",) if cloud == "aks" else ("L4",), **_NODES[cloud, autoscaler]}
    name = f"{cloud}-{autoscaler}-{kind.replace('_', '-')}"
    made: Any = {"name": name, "cloud": cloud, "autoscaler": autoscaler, "kubernetes_minor": "1.34"}
    untreated = NodeProfile(**{**made, **profile, **nodes})
    region = _REGIONS[cloud]
    bucket = {"source": f"{_SCHEMES[cloud]}://proof-weights/phi-3-mini", "region": region}
    bucket |= {"account": "proofweights"} if cloud == "aks" else {}
    found = Target(
        name=name,
        cluster=name,
        conn_id="proof",
        nodes=untreated,
        variants=variants,
        cloud_conn_id="proof",
        cluster_name=name,
        region=region,
        options={
            "treatments": {
                "weights_stream": bucket,
                "image_volume": {"reference": ARTIFACT},
                "shared_weights": {"storage_class": _SHARED[cloud]},
                "compile_cache": {"storage_class": _SHARED[cloud]},
                "peer_to_peer": {"scheduler_tag": "v2.5.0"},
            }
        },
        registry=_REGISTRIES[cloud],
    )
    return found.treated(treated_nodes(untreated, resolved(VARIANTS[variants[0]], cloud)))


def with_other_nodes(of: Target, *, without: str | None = None, **fields: Any) -> Target:
    """Return a target with other nodes than planned. `without`: a feature that they do not have."""
    nodes = replace(of.nodes, **fields)
    features = {name: value for name, value in nodes.features.items() if name != without}
    return replace(of, nodes=replace(nodes, features=features))
