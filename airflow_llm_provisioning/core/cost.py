"""What a trial cost: which machines it had, for how long, and at which price. Estimates from prices, no bill.

A machine counts from its request until its node was seen to be gone, head and workers alike, also while it is idle: a
cloud charges for all of it. Where the request was not seen, the machine counts from the moment its pod had no node.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, number, text
from airflow_llm_provisioning.core.instants import parse_stamp
from airflow_llm_provisioning.core.prices import HOURS_A_MONTH, PriceBook
from airflow_llm_provisioning.core.trace.objects import History, condition
from airflow_llm_provisioning.core.trace.view import TraceView

# Labels that say that a node is a spot node: Karpenter, EKS node groups, GKE, AKS.
_SPOT: Final = (
    ("karpenter.sh/capacity-type", "spot"),
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("cloud.google.com/gke-spot", "true"),
    ("cloud.google.com/gke-preemptible", "true"),
    ("kubernetes.azure.com/scalesetpriority", "spot"),
)
_TYPES: Final = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_ACCELERATORS: Final = ("/gpu", "/tpu", "/neuron", "/neurondevice")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUse:
    """One machine of a trial. `began_at`: when it was requested, or when the trial was submitted if it was there
    before; `registered_at`: when its Node was created, the latest instant at which it can have begun. `gone_at`: None
    where it was not seen to go: then it counts until the trial was closed, and no upper bound is known.
    """

    name: str
    instance_type: str | None
    region: str | None
    zone: str | None
    spot: bool
    gpus: int
    began_at: datetime
    registered_at: datetime
    gone_at: datetime | None

    def seconds(self, closed_at: datetime) -> tuple[float, float, float | None]:
        """Return its seconds: as counted, at least, at most (None: unknown)."""
        end = self.gone_at or closed_at
        counted = max(0.0, (end - self.began_at).total_seconds())
        fewest = max(0.0, (end - self.registered_at).total_seconds())
        return counted, min(fewest, counted), None if self.gone_at is None else counted


def nodes_used(view: TraceView, gone_at: Mapping[str, datetime]) -> tuple[NodeUse, ...]:
    """Return the machines that pods of the trial were on, in the order of their names. `gone_at`: node -> when it was
    seen to be gone.
    """
    pods: dict[str, list[History]] = {}
    for pod in view.pods:
        if name := view.node_name_of(pod):
            pods.setdefault(name, []).append(pod)
    found = (_use(view, name, of_node, gone_at.get(name)) for name, of_node in sorted(pods.items()))
    return tuple(use for use in found if use is not None)


def priced(
    uses: Sequence[NodeUse],
    book: PriceBook,
    cloud: str,
    *,
    closed_at: datetime,
    disk_gib: float | None = None,
    late: Sequence[str] = (),
) -> dict[str, Any]:
    """Return {amount, low, high, currency, gpu_hours, dated, nodes: [..], unknown: [..]}.

    `amount` is None as soon as the price of one machine is unknown: `unknown` names it. `high` is None where a machine
    was not seen to go. `disk_gib`: of every machine, where the target says it; its price is added where it is known.
    `late`: machines that came after their pods were deleted; nothing else is known of them. A trial without machines
    cost nothing.
    """
    rows, dates = [], set()
    unknown = [f"{name}, which came after the delete" for name in late]
    for use in uses:
        hour = book.node_hour(cloud, use.region, use.instance_type, spot=use.spot)
        disk = book.price(cloud, "disk", "gp3", use.region) if disk_gib else None
        counted, fewest, most = use.seconds(closed_at)
        each = (hour.amount if hour else 0.0) + (disk.amount * (disk_gib or 0) / HOURS_A_MONTH if disk else 0.0)
        if hour is None:
            kind = "a spot node" if use.spot else "a node"
            unknown.append(f"{kind} {use.instance_type or 'of unknown type'} in {use.region or 'an unknown region'}")
        dates |= {price.dated for price in (hour, disk) if price}
        rows.append(_row(use, counted, fewest, most, each if hour else None))
    sums = {} if unknown else {key: _sum(row[key] for row in rows) for key in ("amount", "low", "high")}
    return {
        "amount": sums.get("amount"),
        "low": sums.get("low"),
        "high": sums.get("high"),
        "currency": book.currency,
        "gpu_hours": round(sum(row["seconds"] * row["gpus"] for row in rows) / 3600, 6),
        "dated": min(dates, default=None),
        "nodes": rows,
        "unknown": sorted(set(unknown)),
    }


def _row(use: NodeUse, counted: float, fewest: float, most: float | None, hour: float | None) -> dict[str, Any]:
    def amount(seconds: float | None) -> float | None:
        return None if hour is None or seconds is None else round(hour * seconds / 3600, 6)

    return {
        "node": use.name,
        "instance_type": use.instance_type,
        "zone": use.zone,
        "spot": use.spot,
        "gpus": use.gpus,
        "seconds": round(counted, 3),
        "gone": use.gone_at is not None,
        "hour": None if hour is None else round(hour, 6),
        "amount": amount(counted),
        "low": amount(fewest),
        "high": amount(most),
    }


def _sum(amounts: Iterable[float | None]) -> float | None:
    """Return a sum; None as soon as one part is unknown."""
    known = list(amounts)
    return None if None in known else round(sum(amount for amount in known if amount is not None), 6)


def _use(view: TraceView, name: str, pods: Sequence[History], gone_at: datetime | None) -> NodeUse | None:
    node = next((item for item in reversed(view.objects("nodes")) if item.name == name), None)
    if node is None or node.created is None:
        return None
    submitted = view.rayservice.created.at if view.rayservice and view.rayservice.created else node.created.at
    new = node.created.at >= submitted
    labels = node.labels
    capacity = mapping(dig(node.last, "status", "capacity"))
    gpus = sum(int(number_of(value)) for key, value in capacity.items() if text(key).endswith(_ACCELERATORS))
    return NodeUse(
        name=name,
        instance_type=next((text(labels[key]) for key in _TYPES if key in labels), None),
        region=text(labels.get("topology.kubernetes.io/region")) or None,
        zone=text(labels.get("topology.kubernetes.io/zone")) or None,
        spot=any(text(labels.get(key)) == value for key, value in _SPOT),
        gpus=gpus,
        began_at=_requested_at(view, name, pods, node.created.at) if new else submitted,
        registered_at=node.created.at if new else submitted,
        gone_at=gone_at,
    )


def number_of(value: Any) -> float:
    """Return a quantity of whole things, as `1` or "1"; 0 for anything else."""
    found = number(value)
    return found if found is not None else float(value) if isinstance(value, str) and value.isdigit() else 0.0


def _requested_at(view: TraceView, node: str, pods: Sequence[History], registered_at: datetime) -> datetime:
    """Return when a machine was requested: its NodeClaim was launched, a node group was asked to grow, or, where the
    autoscaler says nothing of it, its first pod was created.
    """
    for claim in view.objects("nodeclaims"):
        if text(dig(claim.last, "status", "nodeName")) == node:
            launched = parse_stamp(condition(claim.last, "Launched").get("lastTransitionTime"))
            if launched is not None:
                return min(launched.at, registered_at)
    asked = [
        event.last.at
        for pod in pods
        for event in view.events_of(pod, "TriggeredScaleUp")
        if event.last is not None and event.last.at <= registered_at
    ]
    created = [pod.created.at for pod in pods if pod.created]
    return min(max(asked) if asked else min(created, default=registered_at), registered_at)
