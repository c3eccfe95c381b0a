"""The version that an API server tells, held against what a target says of its nodes.

A kubelet is never newer than its API server, and at most three minor versions older (kubernetes.io, "Version Skew
Policy"). What a target says decides which node images are looked up, which treatments are possible there, and under
which kind of nodes its trials are filed.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.fields import text
from airflow_llm_provisioning.core.target import Target

# v1.34.9-eks-4096722, v1.35.2-gke.1842000, v1.30.0+k3s1, v1.34.9+simulated
_VERSION: Final = re.compile(r"v?1\.(\d{1,3})(?!\d)")
_OLDEST_KUBELET: Final = 3


def minor_of(version: str) -> int | None:
    """Return the minor version of `1.34` or of a `gitVersion`; None where it is none of Kubernetes 1."""
    found = _VERSION.match(version.strip())
    return int(found[1]) if found else None


def told_version(version: Mapping[str, Any]) -> str:
    """Return what an answer of /version says: its `gitVersion`, else `major` and `minor`; empty where it says none."""
    git = text(version.get("gitVersion"))
    if minor_of(git) is not None:
        return git
    parts = [text(version.get(key)).rstrip("+") for key in ("major", "minor")]
    return ".".join(parts) if all(parts) else ""


def version_problem(target: Target, version: str, cluster: str) -> tuple[Literal["error", "note"], str] | None:
    """Return how a target's `kubernetes_minor` does not agree with its API server, or None where both are the same."""
    said, found = minor_of(target.nodes.kubernetes_minor), minor_of(version)
    where = f"nodes.kubernetes_minor of target {target.name!r}"
    if said is None or found is None:
        return "note", f"not checked: {where}. {cluster} tells no version that can be read ({version or 'none'})."
    told = f"{where} is {target.nodes.kubernetes_minor}, and the API server of {cluster} runs {version}"
    if said > found:
        return "error", f"{told}: nodes cannot be newer than their API server. Say 1.{found}, or upgrade the cluster."
    if found - said > _OLDEST_KUBELET:
        oldest = f"1.{found - _OLDEST_KUBELET}"
        return "error", f"{told}, which takes nodes of {oldest} and later only: say the version that its nodes run."
    if said < found:
        return "note", f"{told}: if its nodes do too, say 1.{found}, because trials are filed by it."
    return None


def as_served(target: Target, version: str) -> Target | None:
    """Return the target with its API server's minor version where that is older than the target says, else None."""
    said, found = minor_of(target.nodes.kubernetes_minor), minor_of(version)
    if said is None or found is None or found >= said:
        return None
    return replace(target, nodes=replace(target.nodes, kubernetes_minor=f"1.{found}"))
