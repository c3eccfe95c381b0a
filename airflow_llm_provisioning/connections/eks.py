"""EKS behind an `aws` connection."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.connections.clock import utc_now
from airflow_llm_provisioning.connections.typed import typed_connection
from airflow_llm_provisioning.exceptions import ConnectionConfigError, MissingExtraError
from airflow_llm_provisioning.gateways.ledger import ReadOnlyLedger

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.clouds.eks import EksCloud
    from airflow_llm_provisioning.gateways.ledger import Ledger


def eks_cloud(
    reference: Mapping[str, Any], *, ledger: "Ledger | None" = None, clock: Callable[[], datetime] | None = None
) -> "EksCloud":
    """Return the gateway of an `aws` connection: docs/eks.md says which fields it reads.

    `reference` (JSON): `conn_id`; `region` and the names of docs/eks.md (`codebuild_role_arn`, ...) override the
    extras. The official hook makes the session, and a new one when its token has expired.
    """
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        from airflow_llm_provisioning.gateways.clouds.eks import EksCloud
        from airflow_llm_provisioning.gateways.clouds.eks.names import EksNames
    except ImportError as error:
        raise MissingExtraError(
            f"EKS needs packages that are not installed ({error.name}): pip install 'airflow-llm-provisioning[amazon]'."
        ) from error
    conn_id = str(reference.get("conn_id") or "aws_default")
    extra: dict[str, Any] = typed_connection(conn_id, "aws", "docs/eks.md").extra_dejson
    region = reference.get("region") or extra.get("region_name")
    if not region:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} lacks the extra region_name: add it (docs/eks.md)."
        )

    def named(name: str) -> Any:
        return reference.get(name) or extra.get(name) or None

    groups = named("security_group_ids") or ()
    defaults = EksNames()
    return EksCloud(
        # A hook keeps its session; a fresh hook reads the connection again.
        lambda: AwsBaseHook(aws_conn_id=conn_id, region_name=str(region)).get_session(),
        region=str(region),
        endpoint_url=extra.get("endpoint_url"),
        ledger=ledger or ReadOnlyLedger(),
        clock=clock or utc_now,
        names=EksNames(
            codebuild_role_arn=named("codebuild_role_arn"),
            builder_instance_profile=named("builder_instance_profile"),
            source_bucket=named("source_bucket"),
            subnet_id=named("subnet_id"),
            security_group_ids=tuple([groups] if isinstance(groups, str) else groups),
            build_compute_type=named("build_compute_type") or defaults.build_compute_type,
            build_image=named("build_image") or defaults.build_image,
            builder_instance_type=named("builder_instance_type") or defaults.builder_instance_type,
        ),
    )
