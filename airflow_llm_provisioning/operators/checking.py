"""What preflight looks at beyond the clusters: the model, the base image, and every target side by side."""

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from airflow_llm_provisioning.core.experiment import Experiment, Target
from airflow_llm_provisioning.exceptions import ProvisioningError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.preflight import Finding


async def check_experiment(experiment: Experiment, *, only: Collection[str] | None = None) -> "list[Finding]":
    """Return every finding about an experiment's targets, its model and its base image."""
    from airflow_llm_provisioning.gateways.preflight import Finding

    targets = [target for target in experiment.targets if not only or target.name in only]
    per_target = await asyncio.gather(*(_check(target) for target in targets))
    general = await asyncio.gather(asyncio.to_thread(_model, experiment), _base_image(experiment))
    everything = [Finding(experiment.name, "note", sentence) for sentence in general if sentence]
    return [finding for findings in per_target for finding in findings] + everything


async def _check(target: Target) -> "list[Finding]":
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.preflight import Finding, check_target

    try:
        async with open_cluster(target.cluster_reference()) as cluster:
            return await check_target(cluster, target)
    except ProvisioningError as error:
        return [Finding(target.name, "error", str(error))]


def _model(experiment: Experiment) -> str | None:
    from airflow_llm_provisioning.core.workload import workload
    from airflow_llm_provisioning.gateways.hub import resolve_model

    model = workload(experiment.profile).model
    try:
        resolve_model(model.model_id, model.revision)
    except ProvisioningError as error:
        return f"The hub could not be asked for {model.model_id}; the profile's pinned revision would serve. ({error})"
    return None


async def _base_image(experiment: Experiment) -> str | None:
    from airflow_llm_provisioning.core.workload import workload
    from airflow_llm_provisioning.gateways.registry import image_exists

    image = workload(experiment.profile).image.base_reference
    try:
        found = await image_exists(image)
    except ProvisioningError as error:
        return f"Whether the base image {image} can be pulled is not known: {error}"
    if found:
        return None
    return (
        f"The base image {image} is not in its registry any more (tags of this family are being deleted): trials that "
        "pull it will fail. Mirror it, or use the profile phi3-current."
    )
