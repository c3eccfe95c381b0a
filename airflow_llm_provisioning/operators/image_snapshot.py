"""The serving image on a disk of the nodes: a snapshot of Bottlerocket's data volume (EKS), a disk image (GKE)."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.operators.cloud_step import CloudStep


class SnapshotImage(CloudStep):
    """EKS, GKE: put an image onto a disk and keep a snapshot (EKS) or a disk image (GKE) of it, or find the one that
    holds it.

    Returns {snapshot_id, volume_gib, volume_initialization_rate_mib_s, reused, seconds, price_usd, price_basis,
    phases}; on GKE {disk_image, disk_digest, volume_gib, ...}.

    :param image: {image, digest, size_bytes} as `BuildServingImage` returns it.
    :param kubernetes_minor: of the cluster whose nodes will use it, e.g. "1.34"; GKE's disks do not depend on it.
    :param options: {volume_gib, cluster, ...}; EKS: {volume_initialization_rate_mib_s, subnet_id, instance_type,
        parameter}; GKE: {zone, machine_type, service_account, network, subnetwork, public_ip}.
    """

    verb = "snapshot_image"
    template_fields: Sequence[str] = (*CloudStep.template_fields, "image", "kubernetes_minor", "options")
    template_fields_renderers = CloudStep.template_fields_renderers | {"image": "json"}

    def __init__(
        self,
        *,
        image: Mapping[str, Any],
        kubernetes_minor: str,
        options: Mapping[str, Any] | None = None,
        keep_days: int = KEEP_DAYS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.kubernetes_minor = kubernetes_minor
        self.options = options or {}
        self.keep_days = keep_days

    def request(self) -> dict[str, Any]:
        """Return {image, digest, size_bytes, kubernetes_minor, keep_days, ...options}."""
        image = {key: self.image.get(key) for key in ("image", "digest", "size_bytes")}
        return {**self.options, **image, "kubernetes_minor": self.kubernetes_minor, "keep_days": self.keep_days}
