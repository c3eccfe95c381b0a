"""Decides which RayCluster serves the generation that was applied, and whether an endpoint belongs to it.

A changed RayService keeps its old RayCluster, its serve Service and its condition Ready until a second, pending
RayCluster has taken over (recorded with KubeRay 1.7: 40 s; ray-project/kuberay #5088: without end). "Ready" then is the
old deployment's. The status tells them apart: `observedGeneration`, the names of the active and the pending RayCluster,
the conditions UpgradeInProgress and RollbackInProgress (KubeRay 1.3 and later). With the upgrade strategy None the
operator sees a change of the pods and starts no RayCluster for it, and so it does without a strategy if its own
environment says ENABLE_ZERO_DOWNTIME=false (kuberay 1.7, rayservice_controller.go, isZeroDowntimeUpgradeEnabled): then
the RayCluster's own templates tell. This module knows no time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, number, objects, text
from airflow_llm_provisioning.core.likeness import holds
from airflow_llm_provisioning.core.trace.objects import condition_true

_CLUSTER: Final = "ray.io/cluster"
_CHANGING: Final = ("UpgradeInProgress", "RollbackInProgress")
# An application without a state says nothing.
_SERVING: Final = frozenset({"RUNNING", ""})
# Upgrade strategies that start a RayCluster for changed pods. Without one the operator's environment decides.
_STARTING: Final = frozenset({"NewCluster", "NewClusterWithIncrementalUpgrade"})
_BY_ENVIRONMENT: Final = "the operator's ENABLE_ZERO_DOWNTIME=false"


@dataclass(frozen=True, slots=True)
class ReadyEndpoints:
    """The ready endpoints of one EndpointSlice: (uid, name) of each endpoint's pod, empty where it names none; the uids
    of the Services that own the slice.
    """

    pods: tuple[tuple[str, str], ...]
    owners: tuple[str, ...]


def ready_endpoints(endpoint_slice: Any) -> ReadyEndpoints:
    """Return the ready endpoints of an EndpointSlice; an absent `ready` means ready (discovery.k8s.io/v1)."""
    pods = tuple(
        (text(dig(endpoint, "targetRef", "uid")), text(dig(endpoint, "targetRef", "name")))
        for endpoint in objects(endpoint_slice, "endpoints")
        if items(endpoint.get("addresses")) and mapping(endpoint.get("conditions")).get("ready") is not False
    )
    owners = items(dig(endpoint_slice, "metadata", "ownerReferences"))
    return ReadyEndpoints(pods, tuple(text(mapping(owner).get("uid")) for owner in owners))


class ServedGeneration:
    """What the cluster says about the applied generation of one RayService.

    `applied`: `metadata.generation` in the reply to the apply; the operator may raise it by one when it adds its
    finalizer, so it is a minimum. None: the generation of the first version that is read.
    """

    def __init__(self, applied: int | None = None) -> None:
        self._applied = applied
        self._least = applied
        self._observed: int | None = None
        self._active = self._pending = self._named = ""
        self._changing = False
        self._redeploying = ""
        self._keeper = ""
        self._wanted: Mapping[str, Any] = {}
        self._specs: dict[str, Mapping[str, Any]] = {}
        self._known: set[str] = set()
        self._pods: dict[str, str] = {}
        self._selected: dict[str, str] = {}

    @property
    def cluster(self) -> str:
        """The RayCluster of the applied generation; empty if the operator has not named one yet."""
        return self._named if self._is_observed() else ""

    @property
    def waiting_for(self) -> str | None:
        """What still separates the RayService from the applied generation, in words; None if nothing does."""
        if not self._is_observed():
            return f"the operator has not seen generation {self._least} yet (observed: {self._observed})"
        if self._changing or (self._active and self._pending and self._active != self._pending):
            return f"RayCluster {self._pending or 'of the new generation'} has not taken over from {self._active} yet"
        if self._redeploying and not self._pending:
            # A change of serveConfigV2 alone keeps the RayCluster, and its endpoints stay ready meanwhile.
            return f"RayCluster {self._active} is not serving the new configuration yet ({self._redeploying})"
        if self._keeps_older_pods:
            return (
                f"RayCluster {self._active} keeps the pods of an older generation, because {self._keeper} starts no "
                "new RayCluster; delete this RayCluster or set upgradeStrategy.type to NewCluster"
            )
        return None

    @property
    def _keeps_older_pods(self) -> bool:
        """Whether the active RayCluster lacks something that the RayService asks of its pods, and gets no successor: an
        operator that makes one names it in the same status in which it says that it has seen the generation.
        """
        spec = self._specs.get(self._active)
        if self._keeper == _BY_ENVIRONMENT and (self._least or 0) <= 1:
            return False
        return bool(self._keeper and spec) and not holds(_pods_of(spec), _pods_of(self._wanted))

    def take_rayservice(self, obj: Any) -> None:
        """Process a version of the RayService."""
        generation = number(dig(obj, "metadata", "generation"))
        if self._least is None and generation is not None:
            self._least = int(generation)
        observed = number(dig(obj, "status", "observedGeneration"))
        # A status may vanish for moments (recorded with KubeRay 1.7); what it said stays true.
        self._observed = self._observed if observed is None else int(observed)
        self._active = text(dig(obj, "status", "activeServiceStatus", "rayClusterName"))
        self._pending = text(dig(obj, "status", "pendingServiceStatus", "rayClusterName"))
        self._named = self._pending or self._active or self._named
        self._changing = any(condition_true(obj, kind) for kind in _CHANGING)
        states = mapping(dig(obj, "status", "activeServiceStatus", "applicationStatuses"))
        self._redeploying = ", ".join(
            f"{name} {state}" for name, told in states.items() if (state := text(dig(told, "status"))) not in _SERVING
        )
        self._known |= {self._active, self._pending} - {""}
        kind = text(dig(obj, "spec", "upgradeStrategy", "type"))
        by = f"upgradeStrategy {kind}" if kind else _BY_ENVIRONMENT
        self._keeper = "" if kind in _STARTING else by
        self._wanted = mapping(dig(obj, "spec", "rayClusterConfig"))

    def take_raycluster(self, obj: Any) -> None:
        """Remember what a RayCluster asks of its pods."""
        self._specs[text(dig(obj, "metadata", "name"))] = mapping(dig(obj, "spec"))

    def take_pod(self, obj: Any) -> None:
        """Remember the RayCluster of a pod, by its label."""
        cluster = text(dig(obj, "metadata", "labels", _CLUSTER))
        for key in (text(dig(obj, "metadata", "uid")), text(dig(obj, "metadata", "name"))):
            if key and cluster:
                self._pods[key] = cluster

    def take_service(self, obj: Any) -> None:
        """Remember the RayCluster that a Service selects."""
        cluster = text(dig(obj, "spec", "selector", _CLUSTER))
        for key in (text(dig(obj, "metadata", "uid")), text(dig(obj, "metadata", "name"))):
            if key:
                self._selected[key] = cluster

    def cluster_of_service(self, name: str) -> str:
        """Return the RayCluster that a Service selects; empty if the Service is unknown."""
        return self._selected.get(name, "")

    def serves(self, ready: ReadyEndpoints) -> bool:
        """Return whether one of these endpoints serves the applied generation, and no change is under way."""
        return bool(ready.pods) and self.waiting_for is None and any(self._is_of(pod, ready) for pod in ready.pods)

    def elsewhere(self, ready: ReadyEndpoints) -> set[str]:
        """Return the other RayClusters whose pods these endpoints are."""
        found = {self._cluster_of(pod, ready) for pod in ready.pods}
        return {told for told in found if told and self.cluster and told != self.cluster}

    def _cluster_of(self, pod: tuple[str, str], ready: ReadyEndpoints) -> str | None:
        uid, name = pod
        told = self._pods.get(uid) if uid else self._pods.get(name)
        return told or next((self._selected[owner] for owner in ready.owners if self._selected.get(owner)), None)

    def _is_of(self, pod: tuple[str, str], ready: ReadyEndpoints) -> bool:
        told = self._cluster_of(pod, ready)
        if told and self.cluster:
            return told == self.cluster
        # Of a single RayCluster nothing else can be meant.
        return len(self._known) <= 1

    def _is_observed(self) -> bool:
        if self._least is None or (self._observed is not None and self._observed >= self._least):
            return True
        # The first generation has no predecessor. Without a minimum from an apply, an operator that reports no
        # generation cannot be checked.
        return self._observed is None and (self._least <= 1 or self._applied is None)


def _pods_of(spec: Any) -> dict[str, Any]:
    """Return what a RayCluster's specification asks of its pods: for each group its template and start parameters."""
    groups = {"head": mapping(dig(spec, "headGroupSpec"))}
    groups |= {f"worker {text(group.get('groupName'))}": group for group in objects(spec, "workerGroupSpecs")}
    return {name: {key: group.get(key) for key in ("template", "rayStartParams")} for name, group in groups.items()}
