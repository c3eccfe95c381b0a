"""Preflight's look at what treatments need of a cluster: a controller, a switch of the operator, a driver."""

from collections.abc import AsyncIterator, Mapping, Sequence

from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.core.treatments import Treatment, not_declared
from airflow_llm_provisioning.core.treatments.base import Found
from airflow_llm_provisioning.core.treatments.wanted_objects import WantedObject, wanted_objects
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ClusterError, ConfigurationError, ForbiddenError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.errors import NotFoundError
from airflow_llm_provisioning.gateways.kubernetes.resources import resource_named
from airflow_llm_provisioning.gateways.preflight_nodes import Level


async def check_treatments(
    cluster: Cluster, target: Target, *, variants: Mapping[str, Sequence[Treatment]]
) -> AsyncIterator[tuple[Level, str]]:
    """Yield what the cluster lacks for the treatments of a target's variants, and what it gives to those that do not
    declare it.

    Resources are listed once each. One that the connection's user may not list leaves its treatments unchecked, and
    that is a finding. `variants`: name -> treatments on this cloud.
    """
    declared = {item.name: item for items in variants.values() for item in items}
    foreign = [item for items in variants.values() for item in not_declared([one.name for one in items])]
    objects: dict[str, Sequence[Mapping[str, object]] | None] = {}
    told: dict[tuple[Level, str], None] = {}
    for item, is_declared in (*((one, True) for one in declared.values()), *((one, False) for one in foreign)):
        try:
            found: Found = {name: await _listed(cluster, name, objects) for name in item.looks_at}
        except ForbiddenError as error:
            if is_declared:
                told["note", f"not checked: whether {cluster.name} has what {item.name} needs. ({error})"] = None
            continue
        told |= dict.fromkeys(("error", sentence) for sentence in item.on_cluster(found, declared=is_declared))
        if is_declared:
            for name in (name for name, listed in found.items() if listed is None):
                told |= dict.fromkeys([("error", other) async for other in _in_other_versions(cluster, item, name)])
        if is_declared and (of_target := getattr(item, "on_cluster_of", None)):
            told |= dict.fromkeys(("error", sentence) for sentence in of_target(target, found))
    for finding in told:
        yield finding


async def check_rights_of_treatments(
    cluster: Cluster, target: Target, *, variants: Mapping[str, Sequence[Treatment]], workloads: Sequence[Workload]
) -> AsyncIterator[tuple[Level, str]]:
    """Yield what the connection's user may not do with the objects that the treatments make in the cluster, and the
    kinds that it does not serve.
    """
    try:
        wanted = wanted_objects(target, variants.values(), workloads)
    except ConfigurationError as error:
        # A combination that is not possible; the experiment is refused with the same sentence.
        yield "error", str(error)
        return
    refused: dict[str, None] = {}
    for item in wanted:
        try:
            refused |= dict.fromkeys([told async for told in _refused(cluster, target, item)])
        except ClusterError as error:
            yield "error", str(error)
    if refused:
        remedy = "bind a role that allows it; docs/iam/kubernetes-objects.yaml is one"
        needed = f"as the treatments of {target.name} need"
        yield "error", f"The connection's user may not {', '.join(refused)} on {cluster.name}, {needed}: {remedy}."


async def _in_other_versions(cluster: Cluster, item: Treatment, resource: str) -> AsyncIterator[str]:
    """Yield that a cluster serves what a treatment needs, in another version than the one that is written here."""
    try:
        found = await cluster.other_versions(resource)
    except ClusterError:
        return  # that it is not served is told already
    if found:
        yield (
            f"{item.name}: {cluster.name} serves {resource} as {' and '.join(found)} only, and this package writes "
            f"{resource_named(resource).api}: upgrade its definition, and the controller that acts on it."
        )


async def _refused(cluster: Cluster, target: Target, item: WantedObject) -> AsyncIterator[str]:
    manifest = {"apiVersion": item.api_version, "kind": item.kind}
    namespace = item.namespace or target.namespace
    found = await cluster.resource_for(manifest)
    for verb in item.verbs:
        if not await cluster.may(verb, manifest, namespace):
            yield f"{verb} {found.plural} ({f'namespace {namespace}' if found.namespaced else 'cluster-wide'})"


async def _listed(
    cluster: Cluster, resource: str, known: dict[str, Sequence[Mapping[str, object]] | None]
) -> Sequence[Mapping[str, object]] | None:
    """Return the objects of a resource in all namespaces, listed once; None where the cluster does not have it."""
    if resource not in known:
        try:
            found, version = await cluster.list(resource)
            # An optional resource that is not served is an empty list without a version.
            known[resource] = None if version is None else found
        except NotFoundError:
            known[resource] = None
    return known[resource]
