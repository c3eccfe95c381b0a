"""What preflight looks at beyond the clusters: the model, the base image, and every target side by side."""

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from airflow_llm_provisioning.core.experiment import Experiment, Target
from airflow_llm_provisioning.exceptions import ProvisioningError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.preflight import Finding, Level


async def check_experiment(
    experiment: Experiment, *, only: Collection[str] | None = None, results_conn_id: str | None = None
) -> "list[Finding]":
    """Return every finding about an experiment's targets, its model, its base image and, where it is named, its results
    store.
    """
    from airflow_llm_provisioning.gateways.preflight import Finding

    targets = [target for target in experiment.targets if not only or target.name in only]
    per_target = await asyncio.gather(*(_check(target) for target in targets))
    general = await asyncio.gather(
        asyncio.to_thread(_store, results_conn_id), asyncio.to_thread(_model, experiment), _base_image(experiment)
    )
    told = [Finding(experiment.name, level, sentence) for level, sentence in filter(None, general)]
    return [finding for findings in per_target for finding in findings] + told


async def _check(target: Target) -> "list[Finding]":
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.preflight import Finding, check_target

    findings = [Finding(target.name, "error", told) for told in [await asyncio.to_thread(_cloud, target)] if told]
    try:
        async with open_cluster(target.cluster_reference()) as cluster:
            return findings + await check_target(cluster, target)
    except ProvisioningError as error:
        return [*findings, Finding(target.name, "error", str(error))]


def _cloud(target: Target) -> str | None:
    """Say what is missing of the cloud's connection, or of the packages for it; the cloud itself is not asked."""
    from airflow_llm_provisioning.connections import open_cloud

    reference = target.cloud_reference()
    try:
        if reference is not None:
            open_cloud(reference)
    except ProvisioningError as error:
        return str(error)
    return None


def _store(conn_id: str | None) -> "tuple[Level, str] | None":
    from airflow_llm_provisioning.connections import open_store

    try:
        if conn_id is not None:
            open_store(conn_id).close()
    except ProvisioningError as error:
        return "error", str(error)
    return None


def _model(experiment: Experiment) -> "tuple[Level, str] | None":
    from airflow_llm_provisioning.core.workload import workload
    from airflow_llm_provisioning.gateways.hub import resolve_model

    model = workload(experiment.profile).model
    try:
        resolve_model(model.model_id, model.revision)
    except ProvisioningError as error:
        asked = f"The hub could not be asked for {model.model_id}; the profile's pinned revision would serve."
        return "note", f"{asked} ({error})"
    return None


async def _base_image(experiment: Experiment) -> "tuple[Level, str] | None":
    from airflow_llm_provisioning.core.workload import workload
    from airflow_llm_provisioning.gateways.registry import image_exists

    image = workload(experiment.profile).image.base_reference
    try:
        found = await image_exists(image)
    except ProvisioningError as error:
        return "note", f"Whether the base image {image} can be pulled is not known: {error}"
    if found:
        return None
    gone = f"The base image {image} is not in its registry any more (tags of this family are being deleted)"
    return "error", f"{gone}: trials that pull it will fail. Mirror it, or use the profile phi3-current."
