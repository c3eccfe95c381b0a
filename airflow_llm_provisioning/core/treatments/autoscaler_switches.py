"""Switches of a node autoscaler that runs in the cluster, as its Deployment tells them.

Karpenter's chart gives the controller FEATURE_GATES, `Name=true,Other=false` (aws/karpenter-provider-aws,
charts/karpenter; karpenter.sh, "Settings"). CapacityBuffer and StaticCapacity are alpha gates, off by default. The
cluster autoscaler has flags (kubernetes/autoscaler, cluster-autoscaler/config/flags/flags.go); a managed one is not
seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text

_ENV: Final = "FEATURE_GATES"
_ARGUMENT: Final = "--feature-gates="
# What Go's flag package takes as true (strconv.ParseBool).
_TRUE: Final = ("", "1", "t", "T", "true", "TRUE", "True")


def gate_is_off(deployments: Sequence[Mapping[str, Any]] | None, gate: str) -> str | None:
    """Return the name (namespace/name) of a Karpenter whose gate is off; None where it is on, or none is seen."""
    for item in deployments or ():
        if text(dig(item, "metadata", "labels", "app.kubernetes.io/name")) == "karpenter":
            if f"{gate}=true" in ",".join(_gates(item)).replace(" ", "").split(","):
                return None
            return _name(item)
    return None


def flags_off(deployments: Sequence[Mapping[str, Any]] | None, flags: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the name (namespace/name) of a cluster autoscaler, and which of these flags are off; empty where they are
    on, or none is seen.
    """
    for item in deployments or ():
        words = [
            text(word) for one in _containers(item) for word in (*items(one.get("command")), *items(one.get("args")))
        ]
        if any(word.rpartition("/")[2] == "cluster-autoscaler" for word in words) or _image_is_its(item):
            return _name(item), tuple(flag for flag in flags if not _is_on(words, flag))
    return "", ()


def _is_on(words: Sequence[str], flag: str) -> bool:
    """Return whether the last mention of a flag, with one dash or two, switches it on."""
    told = [word.lstrip("-").partition("=") for word in words if word.startswith("-")]
    values = [value for name, _, value in told if name == flag]
    return bool(values) and values[-1] in _TRUE


def _image_is_its(deployment: Mapping[str, Any]) -> bool:
    """Return whether a container runs the image of the cluster autoscaler, from any registry."""
    images = [text(one.get("image")).partition("@")[0] for one in _containers(deployment)]
    return any(image.rpartition("/")[2].partition(":")[0].startswith("cluster-autoscaler") for image in images)


def _gates(deployment: Mapping[str, Any]) -> Iterator[str]:
    for container in _containers(deployment):
        for variable in map(mapping, items(container.get("env"))):
            if variable.get("name") == _ENV:
                yield text(variable.get("value"))
        for argument in (*items(container.get("args")), *items(container.get("command"))):
            if text(argument).startswith(_ARGUMENT):
                yield text(argument).removeprefix(_ARGUMENT)


def _containers(deployment: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mapping(item) for item in items(dig(deployment, "spec", "template", "spec", "containers"))]


def _name(deployment: Mapping[str, Any]) -> str:
    return f"{dig(deployment, 'metadata', 'namespace')}/{dig(deployment, 'metadata', 'name')}"
