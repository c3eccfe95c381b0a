"""What every node autoscaler can be asked: how a target's nodes are described to it, and how a pod asks for them.

One node autoscaler is one file beside this one. It renders Kubernetes objects and marks; the cluster gateway applies
them, and pools that live in a cloud's API are set up by that cloud (`set_up_node_pool`). What only one cloud's nodes
need is asked of that cloud (`gateways/clouds/nodes.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from airflow_llm_provisioning.core import role_marks
from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.core.manifests import Placement

ZONE_LABEL: Final = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """What must be applied for a node profile.

    `manifests`: Kubernetes objects, server-side applied in this order. `restarts`: (namespace, deployment) to restart
    afterwards, where the autoscaler reads its configuration only at start. `files`: name -> text, for those who
    manage the cluster another way (Helm values, block device mappings, user data). `cloud_pools`: pools that are the
    cloud's objects, as its `set_up_node_pool` takes them.
    """

    manifests: Sequence[Mapping[str, Any]] = ()
    restarts: Sequence[tuple[str, str]] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    cloud_pools: Sequence[Mapping[str, Any]] = ()


class NodeAutoscaler(Protocol):
    """One node autoscaler: Luna, Karpenter, or the cloud's own (native)."""

    name: str

    def check(self, profile: NodeProfile) -> Sequence[str]:
        """Return every reason why this profile cannot work here, in sentences; empty when it can."""
        ...

    def setup(self, profile: NodeProfile) -> NodeSetup:
        """Return what must be applied so that pods placed with `placement` get nodes of this profile."""
        ...

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the marks a pod of `group` (`head` or `worker`) needs to land on this profile's nodes."""
        ...

    def node_selector(self, profile: NodeProfile) -> str | None:
        """Return the label selector of the nodes it makes for this profile.

        It finds nodes of other profiles too where all are marked alike. None where no label tells them.
        """
        ...

    def removes_nodes(self, profile: NodeProfile) -> bool:
        """Return whether it removes this profile's nodes when they are empty; else every start is warm."""
        ...

    def presence(self) -> Mapping[str, str]:
        """Return what proves that it is installed.

        {"deployment": "<namespace>/<name>"} or {"crd": "<name>"}, or {} where nothing does.
        """
        ...


def in_zone(profile: NodeProfile, marks: Placement) -> Placement:
    """Return a pod's marks with the profile's zone, where it has one (Kubernetes' well-known label)."""
    if profile.zone is None:
        return marks
    return replace(marks, node_selector={**marks.node_selector, ZONE_LABEL: profile.zone})


def no_marks(title: str, profile: NodeProfile) -> list[str]:
    """Return why options that name nodes cannot work where the autoscaler's own marks choose them."""
    given = [name for name in (role_marks.SELECTOR, role_marks.TOLERATIONS) if name in profile.options]
    return [f"{name} names nodes that are there, and {title} makes its own: leave it out." for name in given]


def not_offered(title: str, offered: Iterable[str], cloud: str) -> str:
    """Return the sentence by which an autoscaler refuses a cloud. `offered`: titles of the clouds where it runs."""
    *others, last = offered
    known = f"{', '.join(others)} and {last}" if others else last
    return f"{title} makes nodes on {known}, not on {cloud!r}."
