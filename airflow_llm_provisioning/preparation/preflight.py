"""What preflight looks at beyond the clusters: the results store, the models, the images; every target side by side.

An answer from outside is not waited for long: what did not come in time is said not to have been checked.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import Treatment, ignored_treatments
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ConfigurationError, ProvisioningError
from airflow_llm_provisioning.gateways.bounded import within

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.preflight import Finding
    from airflow_llm_provisioning.gateways.preflight_nodes import Level

# Real seconds. A results database on another continent, a hub and a registry answer within a few.
STORE_LIMIT_S: Final = 20.0
HUB_LIMIT_S: Final = 10.0
REGISTRY_LIMIT_S: Final = 10.0
CLOUD_LIMIT_S: Final = 20.0


async def check_experiment(
    experiment: Experiment, *, only: Collection[str] | None = None, results_conn_id: str | None = None
) -> "list[Finding]":
    """Return every finding about an experiment's targets, its model, its base image and, where it is named, its results
    store. `only`: names of targets; a ConfigurationError names the nearest to one that is unknown.
    """
    from airflow_llm_provisioning.gateways.preflight import Finding

    targets = [target for target in experiment.targets if not only or target.name in only]
    if unknown := sorted(set(only or ()) - {target.name for target in experiment.targets}):
        known = nearest(unknown[0], [target.name for target in experiment.targets])
        raise ConfigurationError(f"Target {unknown[0]!r} is not in experiment {experiment.name!r}{known}.")
    per_target = await asyncio.gather(
        *(_check(target, experiment.workloads_on(target), _treatments(experiment, target)) for target in targets)
    )
    general: list[tuple[Level, str] | None] = await asyncio.gather(
        _store(results_conn_id),
        *(_model(experiment, workload) for workload in experiment.workloads),
        *(_base_image(image) for image in dict.fromkeys(i for w in experiment.workloads for i in w.images)),
    )
    named = {name for names in experiment.variants.values() for name in names}
    general += [("note", told) for name, told in ignored_treatments().items() if name in named]
    general += [("note", others) for workload in experiment.workloads if (others := workload.left_to_the_user)]
    told = [Finding(experiment.name, level, sentence) for level, sentence in filter(None, general)]
    return [finding for findings in per_target for finding in findings] + told


def _treatments(experiment: Experiment, target: Target) -> dict[str, Sequence[Treatment]]:
    return {variant: experiment.treatments(variant, target.cloud) for variant in target.variants}


async def _check(
    target: Target,
    workloads: Sequence[Workload] = (),
    treatments: Mapping[str, Sequence[Treatment]] = MappingProxyType({}),
) -> "list[Finding]":
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.preflight import Finding, check_target

    findings = [Finding(target.name, "error", told) for told in [await asyncio.to_thread(_cloud, target)] if told]
    if not findings:
        findings += [Finding(target.name, level, told) for level, told in await _asked(target, treatments)]
    try:
        async with open_cluster(target.cluster_reference()) as cluster:
            return findings + await check_target(cluster, target, workloads, treatments)
    except ProvisioningError as error:
        return [*findings, Finding(target.name, "error", str(error))]


def _cloud(target: Target) -> str | None:
    """Say what is missing of the cloud's connection, or of the packages for it; the cloud itself is not asked."""
    from airflow_llm_provisioning.connections import opened_cloud

    reference = target.cloud_reference()
    try:
        if reference is not None:
            with opened_cloud(reference):
                pass
    except ProvisioningError as error:
        return str(error)
    return None


async def _asked(target: Target, treatments: Mapping[str, Sequence[Treatment]]) -> "list[tuple[Level, str]]":
    """Ask the cloud what a target's treatments want to know of it: what it denies is an error."""
    from airflow_llm_provisioning.connections import opened_cloud

    named = {item.name: item for items in treatments.values() for item in items}
    told = {name: ask(target) for name, item in named.items() if (ask := getattr(item, "asks_cloud", None))}
    asks = [(name, claim, facts) for name, claims in told.items() for claim, facts in claims.items()]
    reference = target.cloud_reference()
    if reference is None or not asks:
        return []

    def answers() -> "Iterator[tuple[Level, str]]":
        with opened_cloud(reference) as cloud:
            for name, claim, facts in asks:
                (evidence,) = cloud.verify([claim], facts)
                if evidence.holds is False:
                    yield "error", f"{name}: {evidence.detail}"
                elif evidence.holds is None:
                    yield "note", f"not checked: {claim} of {name}. {evidence.detail}"

    unasked = f"not checked: what {', '.join(dict.fromkeys(name for name, *_ in asks))} asks of the cloud."
    try:
        return await within(CLOUD_LIMIT_S, lambda: list(answers()))
    except TimeoutError:
        return [("note", f"{unasked} (It did not answer within {CLOUD_LIMIT_S:g} s.)")]
    except ProvisioningError as error:
        return [("note", f"{unasked} ({error})")]


async def _store(conn_id: str | None) -> "tuple[Level, str] | None":
    """Open the store as every task does: created if need be, its schema brought up to date, a newer one refused."""
    from airflow_llm_provisioning.connections import open_store

    if conn_id is None:
        return None
    try:
        await within(STORE_LIMIT_S, lambda: open_store(conn_id).close())
    except TimeoutError:
        return "error", f"The results store behind {conn_id!r} did not answer within {STORE_LIMIT_S:g} s."
    except ProvisioningError as error:
        return "error", str(error)
    return None


async def _model(experiment: Experiment, workload: Workload) -> "tuple[Level, str] | None":
    """Ask the hub for a workload's model, and say whether the variants are possible with the files that it has."""
    from airflow_llm_provisioning.gateways.hub import resolve_model

    model = workload.model
    if model is None:
        return None
    served = f"what the experiment says of it is used for workload {workload.name!r}."
    asked = f"not checked: whether the hub knows {model.model_id}; {served}"
    try:
        found = await within(HUB_LIMIT_S, lambda: resolve_model(model.model_id, model.revision))
    except TimeoutError:
        return "note", f"{asked} (The hub could not be asked within {HUB_LIMIT_S:g} s.)"
    except ProvisioningError as error:
        return "note", f"{asked} (The hub could not be asked: {error})"
    try:
        experiment.with_workload(workload.with_model(replace(found, revision=model.revision)))
    except ConfigurationError as error:
        return "error", str(error)
    return None


async def _base_image(image: str) -> "tuple[Level, str] | None":
    from airflow_llm_provisioning.gateways.registry import image_exists

    asked = f"not checked: whether the base image {image} can be pulled"
    try:
        found = await within(REGISTRY_LIMIT_S, lambda: asyncio.run(image_exists(image)))
    except TimeoutError:
        return "note", f"{asked}; its registry did not answer within {REGISTRY_LIMIT_S:g} s."
    except ProvisioningError as error:
        return "note", f"{asked}; {error}"
    if found:
        return None
    return "error", f"The base image {image} is not in its registry: trials that pull it will fail. {_INSTEAD}"


# Docker Hub is deleting the tags of the rayproject/ray-ml family.
_INSTEAD: Final = "Mirror it, or name another: the built-in profile phi3-current uses today's."
