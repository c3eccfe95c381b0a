"""Whether a worker's node was asked for before the worker, by a placeholder pod of the same shape."""

from collections.abc import Sequence
from typing import Final

from airflow_llm_provisioning.core.fields import dig, mapping
from airflow_llm_provisioning.core.manifests.groups import pod_template, worker_groups
from airflow_llm_provisioning.core.names import label_value
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import Event, History
from airflow_llm_provisioning.core.verdicts import Verdict

NAME: Final = "early_node"
LABEL: Final = "llm-provisioning/placeholder-of"
_ENLARGED: Final = "TriggeredScaleUp"
_TYPE: Final = "node.kubernetes.io/instance-type"


def came_early(node: History, worker: History, asking: History) -> Verdict | None:
    """Say that a node was created before its worker; None where it came later."""
    early_s = _before_s(node, worker)
    if early_s is None or early_s <= 0:
        return None
    told = f"Node {node.name} came {early_s:.0f} s before pod {worker.name}, for placeholder {asking.name}."
    return Verdict(NAME, "yes", (told,))


def asked_for_early(view: TraceView, node: History, worker: History, asking: History) -> Verdict:
    """Say whether a node that came after its worker had been asked for before it. A machine boots for longer than a
    fast head takes, and its Node object appears at the end of that.

    Karpenter's NodeClaim has the instant; the cluster autoscaler says for which pod it enlarged a group
    (`TriggeredScaleUp`). Another node autoscaler tells neither.
    """
    late = f"Node {node.name} was created after pod {worker.name}"
    claim = next((c for c in view.objects("nodeclaims") if dig(c.last, "status", "nodeName") == node.name), None)
    if claim is not None and (early_s := _before_s(claim, worker)) is not None:
        if early_s > 0 and _before(asking, claim):
            told = f"NodeClaim {claim.name} asked for it {early_s:.0f} s before that pod was there"
            return Verdict(NAME, "yes", (f"{late}; {told}, for placeholder {asking.name}.",))
        return Verdict(NAME, "no", (f"{late}, which asked for it itself (NodeClaim {claim.name}).",))
    if lacking := _lacking_marks(view, asking):
        told = f"placeholder {asking.name} lacks what the worker group asks for: {', '.join(lacking)}"
        return Verdict(NAME, "no", (f"{late}, and {told}.",))
    enlarged, own = view.events_of(asking, _ENLARGED), view.events_of(worker, _ENLARGED)
    if enlarged and _before_pod(enlarged[0], worker) and _first_of_its_kind(view, node, enlarged[0]):
        told = f"Pod {asking.name}: {enlarged[0].message}; no other node of its kind came before."
        return Verdict(NAME, "yes", (f"{late}, and it was asked for before.", told))
    if own and not enlarged:
        return Verdict(NAME, "no", (f"{late}, which asked for it itself.", f"{own[0].message}"))
    return Verdict(NAME, "unknown", (f"{late}, and nothing tells for which pod it was made.",))


def _first_of_its_kind(view: TraceView, node: History, enlarged: Event) -> bool:
    """Return whether a node is the first of its machine type since its group was enlarged. A group that was enlarged
    for the worker too gives two nodes, and the worker takes the first that comes.
    """
    same = [
        other
        for other in view.objects("nodes")
        if other.labels.get(_TYPE) == node.labels.get(_TYPE)
        and other.created is not None
        and enlarged.first is not None
        and other.created.at >= enlarged.first.at
    ]
    return node in same and all(_before(node, other) for other in same)


def _lacking_marks(view: TraceView, asking: History) -> list[str]:
    """Return the labels and annotations of its worker group that a placeholder lacks: Luna takes pods by them."""
    manifest = mapping(view.rayservice.last if view.rayservice else None)
    for group in worker_groups(manifest):
        if label_value(group.name) == asking.labels.get(LABEL):
            wanted = mapping(pod_template(manifest, group).get("metadata"))
            pairs = [(key, *item) for key in ("labels", "annotations") for item in mapping(wanted.get(key)).items()]
            has = mapping(dig(asking.last, "metadata"))
            return [f"{name}={value}" for key, name, value in pairs if mapping(has.get(key)).get(name) != value]
    return []


def placeholder_of(view: TraceView, worker: History, placeholders: Sequence[History]) -> History | None:
    """Return the placeholder that was on a worker's node. Where the worker, which is more important, came before the
    node was ready, it took the node that a placeholder had asked for: that one went on waiting, and may have got a
    later node.
    """
    node = view.node_of(worker)
    if node is None:
        return None
    on_it = [pod for pod in placeholders if view.node_name_of(pod) == node.name]
    waited = [pod for pod in placeholders if _before(pod, node) and _got_a_later_one(view, pod, node)]
    return next(iter([*on_it, *waited]), None)


def _got_a_later_one(view: TraceView, pod: History, node: History) -> bool:
    if not view.node_name_of(pod):
        return True
    own = view.node_of(pod)
    return own is not None and _before(node, own)


def _before(one: History, other: History) -> bool:
    return one.created is not None and other.created is not None and one.created.at <= other.created.at


def _before_pod(event: Event, pod: History) -> bool:
    return event.first is not None and pod.created is not None and event.first.at < pod.created.at


def _before_s(one: History, other: History) -> float | None:
    """Return by how many seconds one object was created before another; None where that is not known."""
    if one.created is None or other.created is None:
        return None
    return (other.created.at - one.created.at).total_seconds()
