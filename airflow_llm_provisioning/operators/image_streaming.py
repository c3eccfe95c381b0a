"""GKE and AKS: streaming of the serving image."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_llm_provisioning.operators.cloud_step import CloudStep


class EnableStreaming(CloudStep):
    """GKE: switch Image Streaming on for a cluster or its pools. AKS: convert the image for Artifact Streaming and
    wait for it.

    Returns {enabled, reused, seconds, price_usd, price_basis, phases}.

    :param image: {image, digest} as `BuildServingImage` returns it.
    :param cluster_name: the cluster in the cloud's words.
    :param pools: GKE: these node pools instead of the whole cluster. AKS: pools without nodes to switch on, one by one.
    :param options: GKE: {node_service_account, auto_provisioning, assume: ["node_roles"], prewarm, prewarm_days}: what
        nodes that are made later will be, checked now; not to check roles; the registry's own prewarming.
        AKS: {register_feature, image_pull_secrets, tolerations, assume: ["registry_attached"], keep_days}: register the
        preview feature (old regions; off by default); secrets the pods would bring (default: those of the namespace's
        service account); what the pods tolerate beyond `nvidia.com/gpu`; not to check who may pull.
    """

    verb = "enable_streaming"
    template_fields: Sequence[str] = (*CloudStep.template_fields, "image", "cluster_name", "pools", "options")
    template_fields_renderers = CloudStep.template_fields_renderers | {"image": "json", "options": "json"}

    def __init__(
        self,
        *,
        image: Mapping[str, Any],
        cluster_name: str,
        pools: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.cluster_name = cluster_name
        self.pools = pools
        self.options = options or {}

    def request(self) -> dict[str, Any]:
        """Return {image, digest, cluster, pools, ...options}."""
        return {
            **self.options,
            "image": self.image["image"],
            "digest": self.image.get("digest"),
            "cluster": self.cluster_name,
            "pools": list(self.pools) if self.pools else None,
        }
