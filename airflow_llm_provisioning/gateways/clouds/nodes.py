"""What the node autoscalers ask of a cloud: how its nodes are described to each of them, and what cannot work.

One object per cloud and autoscaler, in the cloud's folder. Pure: it renders and checks a node profile only.
An autoscaler that does not run in a cloud has no object there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.manifests import Placement


class LunaNodes(Protocol):
    """How a cloud's nodes are told to Elotl Luna."""

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        ...

    def values(self, profile: NodeProfile, *, planned: bool = False) -> dict[str, str]:
        """Return Luna's settings, by the dotted names of its Helm values.

        `planned`: only to compare profiles; what a preparation has not made yet is written as a placeholder instead of
        raising a ConfigurationError.
        """
        ...


class KarpenterNodes(Protocol):
    """How a cloud's nodes are told to Karpenter."""

    @property
    def kind(self) -> str:
        """Kind of the cloud's node class."""
        ...

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        ...

    def node_class(self, profile: NodeProfile, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the node class as a Kubernetes object with this metadata."""
        ...

    def requirements(self, profile: NodeProfile, *, gpu: bool) -> list[dict[str, Any]]:
        """Return the requirements that choose nodes with the profile's GPUs, or nodes without one."""
        ...


@dataclass(frozen=True, slots=True)
class NativeSetup:
    """Nodes by the cloud itself. `pools`: requests of its `set_up_node_pool`; `files`: name -> text for the user."""

    pools: Sequence[Mapping[str, Any]] = ()
    files: Mapping[str, str] | None = None


class NativeNodes(Protocol):
    """Nodes by the cloud's own autoscaler, or nodes that are simply there.

    `removes_nodes`: whether empty nodes go, or may go. Without that none is waited for after a trial, and every start
    is warm.
    """

    @property
    def removes_nodes(self) -> bool:
        """Whether empty nodes are removed."""
        ...

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        ...

    def setup(self, profile: NodeProfile) -> NativeSetup:
        """Return the pools to set up, or what the user sets up."""
        ...

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the marks that a pod of `group` (`head` or `worker`) needs; used where the user named no selector."""
        ...


class CloudNodes(Protocol):
    """A cloud's nodes. None: that autoscaler does not run there."""

    @property
    def luna(self) -> LunaNodes | None:
        """How they are told to Luna."""
        ...

    @property
    def karpenter(self) -> KarpenterNodes | None:
        """How they are told to Karpenter."""
        ...

    @property
    def native(self) -> NativeNodes:
        """How the cloud itself makes them, or that they are simply there."""
        ...

    def shared_cluster_problems(self, targets: Sequence[Target]) -> list[str]:
        """Return a sentence for every cluster whose one setting two of these targets want different."""
        ...


class ExistingNodes:
    """Nodes that are simply there: nothing is set up, and every pod may land anywhere."""

    luna = None
    karpenter = None
    removes_nodes = False

    @property
    def native(self) -> NativeNodes:
        """The same: such nodes are used as they are."""
        return self

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return why settings that only Bottlerocket reads cannot work."""
        return not_bottlerocket(profile)

    def setup(self, profile: NodeProfile) -> NativeSetup:
        """Return nothing to set up."""
        return NativeSetup()

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return no marks."""
        return Placement()

    def shared_cluster_problems(self, targets: Sequence[Target]) -> list[str]:
        """Return nothing: there is no setting to share."""
        return []


def not_bottlerocket(profile: NodeProfile) -> list[str]:
    """Return why the option `user_data_settings` cannot work on nodes that do not run Bottlerocket."""
    if not profile.options.get("user_data_settings"):
        return []
    return [f"user_data_settings are settings of Bottlerocket, which nodes on {profile.cloud!r} do not run: leave out."]
