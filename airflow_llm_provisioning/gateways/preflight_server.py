"""Preflight's look at the API server: its version against what the target says, and what it drops silently."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from airflow_llm_provisioning.core.cluster_version import as_served, told_version, version_problem
from airflow_llm_provisioning.core.dropped_fields import dropped
from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.core.treatments import Treatment, impossible
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.preflight_nodes import Level


async def check_version(
    cluster: Cluster,
    target: Target,
    *,
    variants: Mapping[str, Sequence[Treatment]],
    workloads: Sequence[Workload],
) -> AsyncIterator[tuple[Level, str]]:
    """Yield that the target says another version than its API server, and which treatments that makes impossible."""
    version = told_version(cluster.version())
    problem = version_problem(target, version, cluster.name)
    if problem is not None:
        yield problem
    older = as_served(target, version)
    if older is None:
        return
    for item, workload in _pairs(target, variants, workloads):
        known = impossible([item], target, workload)
        for sentence in impossible([item], older, workload):
            if sentence not in known:
                yield "error", f"{sentence} The API server of {cluster.name} runs {version}."


async def check_dropped(
    cluster: Cluster,
    target: Target,
    *,
    variants: Mapping[str, Sequence[Treatment]],
    workloads: Sequence[Workload],
) -> AsyncIterator[tuple[Level, str]]:
    """Yield the fields that treatments need and this API server would drop without a word. Nothing is stored."""
    for item, workload in _pairs(target, variants, workloads):
        tried = getattr(item, "dry_runs", None)
        if tried is None or impossible([item], target, workload):
            continue
        for manifest in tried(target, workload):
            if told := await _tried(cluster, target, item.name, manifest, workload):
                yield told


async def _tried(
    cluster: Cluster, target: Target, name: str, manifest: Mapping[str, Any], workload: Workload
) -> tuple[Level, str] | None:
    kind = manifest["kind"]
    sent = {**manifest, "metadata": {**manifest["metadata"], "namespace": target.namespace}}
    try:
        answer = await cluster.create(sent, dry_run=True)
    except ClusterError as error:
        return "note", f"not checked: whether {cluster.name} keeps every field that {name} gives to a {kind}. ({error})"
    without = workload.manifest if kind == workload.manifest["kind"] else {}
    lost = dropped(manifest, answer, without)
    if not lost:
        return None
    told = f"{name}: the API server of {cluster.name} drops {', '.join(lost)} of a {kind} without a word"
    return "error", f"{told}: switch on the feature gate, or upgrade the CRD, that this field belongs to."


def _pairs(
    target: Target, variants: Mapping[str, Sequence[Treatment]], workloads: Sequence[Workload]
) -> Iterator[tuple[Treatment, Workload]]:
    """Yield every treatment of a target's variants with every workload that runs there."""
    named = {item.name: item for items in variants.values() for item in items}
    for item in named.values():
        yield from ((item, workload) for workload in workloads if target.serves(workload.name))
