"""EKS behind an `aws` connection: which fields are read, docs/eks.md describes them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.exceptions import ConnectionConfigError
from airflow_llm_provisioning.gateways.clouds.descriptor import ConnectionReader
from airflow_llm_provisioning.gateways.clouds.eks.cloud import EksCloud
from airflow_llm_provisioning.gateways.clouds.eks.names import DOCS, EksNames
from airflow_llm_provisioning.gateways.store.ledger import Ledger


def open_eks(
    reference: Mapping[str, Any], *, connections: ConnectionReader, ledger: Ledger, clock: Callable[[], datetime]
) -> EksCloud:
    """Return the gateway of an `aws` connection.

    `reference` (JSON): `conn_id`; `region` and the names of docs/eks.md (`codebuild_role_arn`, ...) override the
    extras. The official hook makes the session, and a new one when its token has expired.
    """
    hook = connections.hook_class("airflow.providers.amazon.aws.hooks.base_aws:AwsBaseHook")
    conn_id = str(reference.get("conn_id") or "aws_default")
    extra: dict[str, Any] = connections.typed(conn_id, "aws", DOCS).extra_dejson
    region = reference.get("region") or extra.get("region_name")
    if not region:
        raise ConnectionConfigError(f"Airflow connection {conn_id!r} lacks the extra region_name: add it ({DOCS}).")

    def named(name: str) -> Any:
        return reference.get(name) or extra.get(name) or None

    groups = named("security_group_ids") or ()
    public = reference.get("builder_public_ip", extra.get("builder_public_ip"))
    if public not in (None, True, False):
        raise ConnectionConfigError(
            f"The extra builder_public_ip of Airflow connection {conn_id!r} is {public!r}: give true or false, or "
            f"leave it out ({DOCS})."
        )
    defaults = EksNames()
    return EksCloud(
        # A hook keeps its session; a fresh hook reads the connection again.
        lambda: hook(aws_conn_id=conn_id, region_name=str(region)).get_session(),
        region=str(region),
        endpoint_url=extra.get("endpoint_url"),
        ledger=ledger,
        clock=clock,
        names=EksNames(
            codebuild_role_arn=named("codebuild_role_arn"),
            builder_instance_profile=named("builder_instance_profile"),
            source_bucket=named("source_bucket"),
            subnet_id=named("subnet_id"),
            security_group_ids=tuple(groups.replace(",", " ").split() if isinstance(groups, str) else groups),
            builder_public_ip=public,
            build_compute_type=named("build_compute_type") or defaults.build_compute_type,
            build_image=named("build_image") or defaults.build_image,
            builder_instance_type=named("builder_instance_type") or defaults.builder_instance_type,
        ),
    )
