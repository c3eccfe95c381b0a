"""Feature gates of a Karpenter that runs in the cluster, as its Deployment tells them.

Its chart gives the controller FEATURE_GATES, `Name=true,Other=false` (aws/karpenter-provider-aws, charts/karpenter;
karpenter.sh, "Settings"). CapacityBuffer and StaticCapacity are alpha gates, off by default.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text

_ENV: Final = "FEATURE_GATES"
_ARGUMENT: Final = "--feature-gates="


def gate_is_off(deployments: Sequence[Mapping[str, Any]] | None, gate: str) -> str | None:
    """Return the name (namespace/name) of a Karpenter whose gate is off; None where it is on, or none is seen."""
    for item in deployments or ():
        if text(dig(item, "metadata", "labels", "app.kubernetes.io/name")) == "karpenter":
            if f"{gate}=true" in ",".join(_told(item)).replace(" ", "").split(","):
                return None
            return f"{dig(item, 'metadata', 'namespace')}/{dig(item, 'metadata', 'name')}"
    return None


def _told(deployment: Mapping[str, Any]) -> Iterator[str]:
    for container in map(mapping, items(dig(deployment, "spec", "template", "spec", "containers"))):
        for variable in map(mapping, items(container.get("env"))):
            if variable.get("name") == _ENV:
                yield text(variable.get("value"))
        for argument in (*items(container.get("args")), *items(container.get("command"))):
            if text(argument).startswith(_ARGUMENT):
                yield text(argument).removeprefix(_ARGUMENT)
