"""The cloud's own node autoscaler, or none: node pools that live in the cloud's API, chosen by a label.

Which pools there are is the cloud's knowledge (`gateways/clouds/<cloud>/nodes.py`); a user may name other nodes, for
head and workers, by the options `node_selector` and `tolerations` (`core/role_marks.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from airflow_llm_provisioning.core import role_marks
from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.gateways.autoscalers import patches
from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup, in_zone
from airflow_llm_provisioning.gateways.clouds.registry import cloud_named


class Native:
    """Nodes by the cloud's own autoscaler."""

    name = "native"

    def check(self, profile: NodeProfile) -> Sequence[str]:
        """Return every reason why this profile cannot work here, in sentences; empty when it can."""
        return [
            *role_marks.problems(profile.options),
            *cloud_named(profile.cloud).nodes.native.problems(profile),
            *patches.problems(profile, ()),
        ]

    def setup(self, profile: NodeProfile) -> NodeSetup:
        """Return the pools for the cloud's `set_up_node_pool`, or the files for what the user sets up."""
        found = cloud_named(profile.cloud).nodes.native.setup(profile)
        return NodeSetup(cloud_pools=found.pools, files=found.files or {})

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the marks of this target's pools, or those of the nodes that the user named."""
        own = cloud_named(profile.cloud).nodes.native.placement(profile, group)
        named = role_marks.role_marks(profile.options, group)
        if role_marks.SELECTOR in profile.options:
            return in_zone(profile, named or Placement())
        return in_zone(profile, replace(own, tolerations=[*own.tolerations, *named.tolerations]) if named else own)

    def removes_nodes(self, profile: NodeProfile) -> bool:
        """Return whether the cloud removes empty nodes, as far as it knows."""
        return cloud_named(profile.cloud).nodes.native.removes_nodes

    def node_selector(self, profile: NodeProfile) -> str | None:
        """Return what both head and worker select, else what the worker does; None where pods select nothing."""
        worker, head = (self.placement(profile, group).node_selector for group in ("worker", "head"))
        labels = {key: value for key, value in worker.items() if head.get(key) == value} or worker
        return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or None

    def presence(self) -> Mapping[str, str]:
        """Return nothing: a cloud's own autoscaler leaves no object to look for."""
        return {}
