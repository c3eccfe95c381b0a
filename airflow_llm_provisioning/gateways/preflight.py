"""Checks a target before a trial costs money, and lists all findings as sentences.

The checks only read. A check that could not be made is a finding too, so an empty list means that all checks passed.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.core.remains import operator_problem, operators_among
from airflow_llm_provisioning.core.rights import Rule, looked_at_rules, namespace_of, trial_rules
from airflow_llm_provisioning.core.treatments import Treatment
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ClusterError, ForbiddenError, ProvisioningError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.lock import LOCK_NAME, expiry
from airflow_llm_provisioning.gateways.kubernetes.resources import key_of
from airflow_llm_provisioning.gateways.preflight_nodes import Level, check_nodes
from airflow_llm_provisioning.gateways.preflight_server import check_dropped, check_version
from airflow_llm_provisioning.gateways.preflight_treatments import check_rights_of_treatments, check_treatments

# The phases are read from events and conditions of KubeRay 1.3 and later; the origin's 1.1 is supported with wider
# bounds.
OLDEST_KUBERAY: Final = (1, 1)
GPU_PLUGIN_WORDS: Final = ("nvidia-device-plugin", "nvidia-gpu-device-plugin", "gpu-operator")


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one target. `error`: a trial would fail; `note`: it could not be checked, or may be fine."""

    target: str
    level: Level
    sentence: str

    @property
    def blocks(self) -> bool:
        """Whether no trial should be started."""
        return self.level == "error"

    def __str__(self) -> str:
        return f"{self.level}: {self.target}: {self.sentence}"


async def check_target(
    cluster: Cluster,
    target: Target,
    workloads: Sequence[Workload] = (),
    treatments: Mapping[str, Sequence[Treatment]] = MappingProxyType({}),
) -> list[Finding]:
    """Return every finding about a target on its (entered) cluster. A failed check does not prevent the others.

    `workloads`: what is deployed there, to compare it with the nodes. `treatments`: those of each of its variants, by
    the variant's name.
    """
    checks: tuple[Callable[[Cluster, Target], AsyncIterator[tuple[Level, str]]], ...] = (
        _rights,
        partial(check_version, variants=treatments, workloads=workloads),
        _kuberay,
        partial(check_nodes, workloads=workloads),
        _gpu_plugin,
        _autoscaler,
        _lock,
        _left_over,
        partial(check_treatments, variants=treatments),
        partial(check_dropped, variants=treatments, workloads=workloads),
        partial(check_rights_of_treatments, variants=treatments, workloads=workloads),
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += [Finding(target.name, level, sentence) async for level, sentence in check(cluster, target)]
        except ProvisioningError as error:
            findings.append(Finding(target.name, "error", str(error)))
    return findings


async def _rights(cluster: Cluster, target: Target) -> AsyncIterator[tuple[Level, str]]:
    missing = await _missing(cluster, target, trial_rules(target.nodes.autoscaler))
    if missing:
        refused = ", ".join(missing)
        remedy = "bind a role that allows it; docs/iam/kubernetes.yaml is one"
        yield "error", f"The connection's user may not {refused} on {cluster.name}: {remedy}."
    unseen = await _missing(cluster, target, looked_at_rules(target.nodes.autoscaler))
    if unseen:
        yield (
            "note",
            f"not checked: what needs the right to {', '.join(unseen)} on {cluster.name}. Trials do not need it.",
        )


async def _missing(cluster: Cluster, target: Target, rules: Sequence[Rule]) -> list[str]:
    """Return the rights that the user lacks, each as `verb resource (where)`."""
    found = []
    for rule in rules:
        namespace, resource = namespace_of(rule, target.namespace), key_of(rule.group, rule.resource)
        where = f"namespace {namespace}" if namespace else "cluster-wide"
        found += [
            f"{verb} {resource} ({where})" for verb in rule.verbs if not await cluster.can_i(verb, resource, namespace)
        ]
    return list(dict.fromkeys(found))


async def _kuberay(cluster: Cluster, target: Target) -> AsyncIterator[tuple[Level, str]]:
    try:
        await cluster.list("rayservices", target.namespace)
    except ClusterError as error:
        yield "error", f"RayServices cannot be listed on {cluster.name}: install KubeRay and its CRDs. ({error})"
        return
    try:
        found = operators_among((await cluster.list("deployments"))[0])
    except ForbiddenError as error:
        yield "note", f"not checked: whether a KubeRay operator runs on {cluster.name}. ({error})"
        return
    problem = operator_problem(found)
    if problem:
        remedy = "Without one no RayService starts and none is deleted: install it, or scale it up"
        yield "error", f"No KubeRay operator is ready on {cluster.name}: {problem}. {remedy}."
    version = _tag_version(found[0]) if found else None
    if found and version is None:
        yield "note", "KubeRay's version cannot be read from its image tag."
    elif version is not None and version < OLDEST_KUBERAY:
        yield (
            "error",
            f"KubeRay {'.'.join(map(str, version))} is older than 1.1, the oldest supported version.",
        )


async def _gpu_plugin(cluster: Cluster, _target: Target) -> AsyncIterator[tuple[Level, str]]:
    try:
        items, _ = await cluster.list("daemonsets")
    except ForbiddenError:
        return  # told with the rights
    names = [item["metadata"]["name"] for item in items]
    if not any(word in name for name in names for word in GPU_PLUGIN_WORDS):
        missing = f"No DaemonSet of a GPU device plugin was found on {cluster.name}"
        fine = "this is correct if the node image contains it (Bottlerocket -nvidia, EKS Auto Mode)"
        yield "note", f"{missing}; {fine}; otherwise no GPU becomes allocatable."


async def _autoscaler(cluster: Cluster, target: Target) -> AsyncIterator[tuple[Level, str]]:
    autoscaler = AUTOSCALERS[target.nodes.autoscaler]
    for problem in autoscaler.check(target.nodes):
        yield "error", problem
    try:
        missing = await _sign_missing(cluster, autoscaler.presence())
    except ForbiddenError as error:
        yield "note", f"not checked: whether the node autoscaler {autoscaler.name} runs on {cluster.name}. ({error})"
        return
    if missing:
        yield "error", f"Node autoscaler {autoscaler.name} was not found: there is no {missing}."


async def _sign_missing(cluster: Cluster, signs: Mapping[str, str]) -> str | None:
    """Return which sign of a node autoscaler is not there, None if every one is."""
    if "deployment" in signs:
        namespace, _, name = signs["deployment"].partition("/")
        if await cluster.get("deployments", name, namespace) is None:
            return f"deployment {signs['deployment']}"
    if "crd" in signs and await cluster.get("customresourcedefinitions", signs["crd"]) is None:
        return f"resource {signs['crd']}"
    return None


async def _lock(cluster: Cluster, target: Target) -> AsyncIterator[tuple[Level, str]]:
    # The lock is only read, not acquired: a trial that begins at this moment must not find it held by the preflight.
    lease = await cluster.get("leases", LOCK_NAME, target.namespace)
    holder = ((lease or {}).get("spec") or {}).get("holderIdentity")
    if lease is not None and holder and expiry(lease) > cluster.clock():
        held = f"Lock {target.namespace}/{LOCK_NAME} on {cluster.name} is held by {holder!r} until"
        until = f"{expiry(lease):%Y-%m-%d %H:%M:%S} (cluster time)"
        yield "error", f"{held} {until}: wait for that trial to end, or delete the Lease if it is dead."


async def _left_over(cluster: Cluster, target: Target) -> AsyncIterator[tuple[Level, str]]:
    items, _ = await cluster.list("rayservices", target.namespace)
    for item in items:
        name = item["metadata"]["name"]
        yield (
            "note",
            f"RayService {target.namespace}/{name} already exists; its nodes may make the next trial warm.",
        )


def _tag_version(deployment: Mapping[str, Any]) -> tuple[int, int] | None:
    containers = deployment.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or [{}]
    tag = str(containers[0].get("image", "")).rpartition(":")[2].lstrip("v")
    parts = tag.split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdigit() for part in parts) else None
