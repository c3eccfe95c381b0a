"""Can the pods of a trial run on a pool's nodes, or do its taints keep them away?

AKS's own examples taint GPU pools with `sku=gpu`, and the origin's manifests tolerate `nvidia.com/gpu`: a pool taken
from one and pods from the other never meet, and the autoscaler makes nothing. Matching is that of the Kubernetes
scheduler (core/v1, Toleration.ToleratesTaint). It asks Azure nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.manifests import GPU_TOLERATION

# Sizes of the N family have GPUs (Azure VM naming conventions).
_GPU_FAMILY: Final = "Standard_N"


def untolerated(taints: Iterable[str], machine_type: str, tolerations: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Return, in clauses, the taints that keep a trial's pods away.

    `taints`: `key=value:effect` as AKS writes them; `machine_type`: a GPU size serves the worker, another one the head;
    `tolerations`: what the pods tolerate beyond what every worker does.
    """
    gpu = machine_type.startswith(_GPU_FAMILY)
    known: list[Mapping[str, Any]] = [*([GPU_TOLERATION] if gpu else []), *tolerations]
    pod = "worker" if gpu else "head"
    tolerated = ", ".join(sorted({str(item.get("key") or "everything") for item in known})) or "nothing"
    return [
        f"its taint {taint!r} is not tolerated by the {pod}, which tolerates {tolerated}"
        for taint in taints
        if not taint.endswith(":PreferNoSchedule") and not any(_matches(taint, item) for item in known)
    ]


def as_aks_writes(taint: Mapping[str, str] | str) -> str:
    """Return a taint as `key=value:effect`."""
    if isinstance(taint, str):
        return taint
    return f"{taint['key']}={taint.get('value') or ''}:{taint['effect']}"


def _matches(taint: str, toleration: Mapping[str, Any]) -> bool:
    pair, _, effect = taint.rpartition(":")
    key, _, value = pair.partition("=")
    if toleration.get("effect") not in (None, "", effect):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", key)
    return (toleration.get("key"), toleration.get("value") or "") == (key, value)
