"""EKS: the serving image on a snapshot of a Bottlerocket data volume."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.operators.cloud_step import CloudStep


class SnapshotImage(CloudStep):
    """EKS: put an image onto a Bottlerocket data volume and snapshot it, or find the snapshot that holds it.

    Returns {snapshot_id, volume_gib, volume_initialization_rate_mib_s, reused, seconds, price_usd, price_basis,
    phases}.

    :param image: {image, digest, size_bytes} as `BuildServingImage` returns it.
    :param kubernetes_minor: of the cluster whose nodes will use it, e.g. "1.34".
    :param options: {volume_gib, volume_initialization_rate_mib_s, subnet_id, instance_type, cluster, parameter, ...}.
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
