"""Elotl Luna: one configuration for a whole cluster, so one node profile per cluster.

Luna reads a ConfigMap whose keys are the Helm values' dotted names, and reads it only when its deployments start. Pods
are marked by a label and annotations. The values of a cloud's nodes are that cloud's
(`gateways/clouds/<cloud>/nodes.py`). Sources: docs.elotl.co/luna (Configuration, v1.4 to v1.5), elotl/skyray at 49c25bb
(marks). Luna is closed source and has no custom resources.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.autoscalers import patches
from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup, no_marks, not_offered
from airflow_llm_provisioning.gateways.clouds.registry import cloud_named, each_cloud

NAMESPACE: Final = "elotl"
CONFIG_MAP: Final = "elotl-luna"
DEPLOYMENTS: Final = ("elotl-luna-manager", "elotl-luna-webhook")
# Its documentation (Configuration, v1.5) names no way to choose a zone for a pod.
_NO_ZONE: Final = "Luna is not told in which zone it makes a node: leave `zone` out, or use other nodes as a fallback."
_FILES: Final = {"aws.blockDeviceMappings": "block-device-mappings.json", "aws.userData": "user-data.toml"}


class Luna:
    """Nodes by Luna."""

    name = "luna"

    def check(self, profile: NodeProfile) -> Sequence[str]:
        """Return every reason why this profile cannot work here, in sentences; empty when it can."""
        nodes = cloud_named(profile.cloud).nodes.luna
        if nodes is None:
            return [_not_offered(profile)]
        zone = [_NO_ZONE] if profile.zone is not None else []
        return [*zone, *nodes.problems(profile), *no_marks("Luna", profile), *patches.problems(profile, ("ConfigMap",))]

    def setup(self, profile: NodeProfile) -> NodeSetup:
        """Return the ConfigMap, the deployments that must start again to read it, and the same as Helm values."""
        (config_map,) = patches.patched(profile, [_config_map(_values(profile))])
        return NodeSetup(
            manifests=[config_map],
            restarts=[(NAMESPACE, deployment) for deployment in DEPLOYMENTS],
            files=_files(config_map.get("data") or {}),
        )

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the label by which Luna takes a pod, and the annotations that choose its instance type."""
        annotations: dict[str, str] = {}
        instance_type = profile.gpu_instance_type if group == "worker" else profile.cpu_instance_type
        if group == "worker" and profile.gpu_skus:
            annotations["node.elotl.co/instance-gpu-skus"] = ",".join(profile.gpu_skus)
        if instance_type:
            annotations["node.elotl.co/instance-type-regexp"] = f"^{instance_type}$"
        return Placement(labels={"elotl-luna": "true"}, annotations=annotations)

    def node_selector(self, profile: NodeProfile) -> str:
        """Return the mark of every node that Luna makes, for any target (elotl's thrifty-nova manifests use it)."""
        return "node.elotl.co/created-by=luna"

    def removes_nodes(self, profile: NodeProfile) -> bool:
        """Return that it does."""
        return True

    def presence(self) -> Mapping[str, str]:
        """Return the deployment that proves Luna is installed."""
        return {"deployment": f"{NAMESPACE}/{DEPLOYMENTS[0]}"}


def shared_cluster_problems(targets: Iterable[Target]) -> list[str]:
    """Return a sentence for each cluster that two different Luna profiles share: its configuration is cluster-wide."""
    configurations: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for target in targets:
        if target.nodes.autoscaler == "luna":
            configurations[target.cluster][_wanted(target.nodes)].append(target.name)
    return [
        f"Luna has one configuration per cluster, but targets {' and '.join(names[0] for names in found.values())} "
        f"want different ones on cluster {cluster!r}: give each a cluster of its own, or use Karpenter."
        for cluster, found in configurations.items()
        if len(found) > 1
    ]


def _wanted(profile: NodeProfile) -> str:
    """Return the configuration as text to compare, patches included."""
    (config_map,) = patches.patched(profile, [_config_map(_values(profile, planned=True))])
    return json.dumps(config_map, sort_keys=True)


def _values(profile: NodeProfile, *, planned: bool = False) -> dict[str, str]:
    nodes = cloud_named(profile.cloud).nodes.luna
    if nodes is None:
        raise ConfigurationError(_not_offered(profile))
    return nodes.values(profile, planned=planned)


def _not_offered(profile: NodeProfile) -> str:
    return not_offered("Luna", [cloud.title for cloud in each_cloud() if cloud.nodes.luna], profile.cloud)


def _config_map(values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
        "data": dict(values),
    }


def _files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the Helm values, with the long ones as files of their own (`--set-file`)."""
    settings = [
        f"--set-file {key}={_FILES[key]}" if key in _FILES else f"--set {key}={value}" for key, value in values.items()
    ]
    long = {_FILES[key]: value for key, value in values.items() if key in _FILES}
    return {**long, "additional-helm-values.txt": " ".join(settings) + "\n"}
