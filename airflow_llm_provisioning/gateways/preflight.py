"""Checks a target before a trial costs money, and lists all findings as sentences.

The checks only read. A check that could not be made is a finding too, so an empty list means that all checks passed.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.exceptions import ClusterError, ProvisioningError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.lock import LOCK_NAME, expiry

# The permissions that the operators and the recorder need: verb, resource, cluster-wide?
RIGHTS: Final[tuple[tuple[str, str, bool], ...]] = (
    *((verb, "rayservices", False) for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(
        (verb, resource, False)
        for resource in ("rayclusters", "pods", "services", "events", "endpointslices")
        for verb in ("list", "watch")
    ),
    *((verb, "leases", False) for verb in ("get", "create", "update", "delete")),
    ("get", "pods/log", False),
    # A GET and a POST through the proxy: Ray's state and the first completion.
    ("get", "services/proxy", False),
    ("create", "services/proxy", False),
    *((verb, "nodes", True) for verb in ("get", "list", "watch")),
)
# The phases are read from events and conditions of KubeRay 1.3 and later; the origin's 1.1 is supported with wider
# bounds.
OLDEST_KUBERAY: Final = (1, 1)
GPU_PLUGIN_WORDS: Final = ("nvidia-device-plugin", "nvidia-gpu-device-plugin", "gpu-operator")

Level = Literal["error", "note"]


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


async def check_target(cluster: Cluster, target: Target) -> list[Finding]:
    """Return every finding about a target on its (entered) cluster. A failed check does not prevent the others."""
    checks: tuple[Callable[[Cluster, Target], AsyncIterator[tuple[Level, str]]], ...] = (
        _rights,
        _kuberay,
        _gpu_plugin,
        _autoscaler,
        _lock,
        _left_over,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += [Finding(target.name, level, sentence) async for level, sentence in check(cluster, target)]
        except ProvisioningError as error:
            findings.append(Finding(target.name, "error", str(error)))
    return findings


async def _rights(cluster: Cluster, target: Target) -> AsyncIterator[tuple[Level, str]]:
    missing = [
        f"{verb} {resource}"
        for verb, resource, wide in RIGHTS
        if not await cluster.can_i(verb, resource, None if wide else target.namespace)
    ]
    if missing:
        refused = ", ".join(missing)
        where = f"(namespace {target.namespace}; nodes cluster-wide) on {cluster.name}"
        yield "error", f"The connection's user may not {refused} {where}: bind a role that allows it."


async def _kuberay(cluster: Cluster, target: Target) -> AsyncIterator[tuple[Level, str]]:
    try:
        await cluster.list("rayservices", target.namespace)
    except ClusterError as error:
        yield "error", f"RayServices cannot be listed on {cluster.name}: install KubeRay and its CRDs. ({error})"
        return
    found = await _deployments(cluster, "kuberay-operator")
    if not found:
        yield (
            "note",
            f"No deployment kuberay-operator was found on {cluster.name}; without an operator no RayService starts.",
        )
        return
    version = _tag_version(found[0])
    if version is None:
        yield "note", "KubeRay's version cannot be read from its image tag."
    elif version < OLDEST_KUBERAY:
        yield (
            "error",
            f"KubeRay {'.'.join(map(str, version))} is older than 1.1, the oldest supported version.",
        )


async def _gpu_plugin(cluster: Cluster, _target: Target) -> AsyncIterator[tuple[Level, str]]:
    items, _ = await cluster.list("daemonsets")
    names = [item["metadata"]["name"] for item in items]
    if not any(word in name for name in names for word in GPU_PLUGIN_WORDS):
        missing = f"No DaemonSet of a GPU device plugin was found on {cluster.name}"
        fine = "this is correct if the node image contains it (Bottlerocket -nvidia, EKS Auto Mode)"
        yield "note", f"{missing}; {fine}; otherwise no GPU becomes allocatable."


async def _autoscaler(cluster: Cluster, target: Target) -> AsyncIterator[tuple[Level, str]]:
    autoscaler = AUTOSCALERS[target.nodes.autoscaler]
    for problem in autoscaler.check(target.nodes):
        yield "error", problem
    signs = autoscaler.presence()
    if "deployment" in signs:
        namespace, _, name = signs["deployment"].partition("/")
        if await cluster.get("deployments", name, namespace) is None:
            yield (
                "error",
                f"Node autoscaler {autoscaler.name} was not found: there is no deployment {signs['deployment']}.",
            )
    if "crd" in signs and await cluster.get("customresourcedefinitions", signs["crd"]) is None:
        yield "error", f"Node autoscaler {autoscaler.name} was not found: there is no resource {signs['crd']}."


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


async def _deployments(cluster: Cluster, name: str) -> list[Mapping[str, Any]]:
    items, _ = await cluster.list("deployments")
    return [item for item in items if name in item["metadata"]["name"]]


def _tag_version(deployment: Mapping[str, Any]) -> tuple[int, int] | None:
    containers = deployment.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or [{}]
    tag = str(containers[0].get("image", "")).rpartition(":")[2].lstrip("v")
    parts = tag.split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdigit() for part in parts) else None
