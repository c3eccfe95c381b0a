"""Whether the pods of a RayService fit on the nodes that are there: what they ask for, against what nodes give.

Compared with what a node can give to pods altogether (allocatable), not with what is free: preflight runs while others
use the nodes. Rules as the scheduler's: requests, node selector, taints (Kubernetes docs, "Assigning Pods to Nodes",
"Taints and Tolerations"). Affinity is not looked at.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.devices import is_size
from airflow_llm_provisioning.core.fields import dig, mapping, objects, text
from airflow_llm_provisioning.core.manifests.groups import is_accelerator, pod_template, ray_groups
from airflow_llm_provisioning.core.quantity import quantity

_BARRING: Final = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a pod of one group asks of its node. `requests`: resource -> amount in its base unit (cores, bytes)."""

    group: str
    requests: Mapping[str, float]
    selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, Any]]

    @property
    def accelerators(self) -> tuple[str, ...]:
        """The extended resources it asks for; sizes of a shared device are not its node's."""
        names = [name for name, amount in self.requests.items() if is_accelerator(name) and amount]
        return tuple(name for name in names if not is_size(name)) or tuple(names)


def demands(manifest: Mapping[str, Any]) -> list[Demand]:
    """Return what each group of a RayService asks for, the head's first."""
    found = []
    for group in ray_groups(manifest):
        spec = mapping(pod_template(dict(manifest), group).get("spec"))
        selector = {key: str(value) for key, value in mapping(spec.get("nodeSelector")).items()}
        found.append(Demand(group.name, _requests(spec), selector, objects(spec, "tolerations")))
    return found


def misfit(demand: Demand, nodes: Iterable[Mapping[str, Any]]) -> str | None:
    """Return why a pod fits on none of the nodes, None if it fits on one."""
    barred: Counter[str] = Counter()
    most: dict[str, float] = {}
    count = small = 0
    for count, node in enumerate(nodes, 1):  # noqa: B007 - the last value is the number of nodes
        bar = next(_bars(demand, node), None)
        if bar is not None:
            barred[bar] += 1
            continue
        short = [name for name, asked in demand.requests.items() if asked > _allocatable(node, name)]
        short = [name for name in short if name in demand.accelerators or not is_size(name)]
        if not short:
            return None
        small += 1
        most |= {name: max(most.get(name, 0.0), _allocatable(node, name)) for name in short}
    if not count:
        return "there is no node"
    told = [f"{number} {why}" for why, number in barred.items()] + ([f"{small} too small"] if small else [])
    sizes = [f"{name}: {_amount(demand.requests[name])} asked, at most {_amount(most[name])} there" for name in most]
    return f"of {count} nodes {', '.join(told)}" + (f" ({'; '.join(sizes)})" if sizes else "")


def _bars(demand: Demand, node: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps a pod off a node of any size."""
    labels = mapping(dig(node, "metadata", "labels"))
    for key, value in demand.selector.items():
        if labels.get(key) != value:
            yield f"without the label {key}={value}"
    if dig(node, "spec", "unschedulable") is True:
        yield "cordoned"
    for taint in objects(node, "spec", "taints"):
        if taint.get("effect") in _BARRING and not any(tolerates(item, taint) for item in demand.tolerations):
            yield f"with the taint {text(taint.get('key'))}, which the pod does not tolerate"
    if not any(item.get("type") == "Ready" and item.get("status") == "True" for item in _conditions(node)):
        yield "not ready"


def _conditions(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return objects(node, "status", "conditions")


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Return whether a toleration matches a taint."""
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    same_key = toleration.get("key") == taint.get("key")
    return same_key and (toleration.get("value") or "") == (taint.get("value") or "")


def _requests(spec: Mapping[str, Any]) -> dict[str, float]:
    """Return the sum of the containers' requests; a limit is the request where there is none."""
    total: dict[str, float] = {}
    for container in objects(spec, "containers"):
        resources = mapping(container.get("resources"))
        asked = {**mapping(resources.get("limits")), **mapping(resources.get("requests"))}
        for name, value in asked.items():
            amount = quantity(value)
            if amount is not None:
                total[name] = total.get(name, 0.0) + amount
    return total


def _allocatable(node: Mapping[str, Any], name: str) -> float:
    return quantity(dig(node, "status", "allocatable", name)) or 0.0


def _amount(value: float) -> str:
    return f"{value / 1024**3:.1f} Gi" if value >= 1024**2 else f"{value:g}"
