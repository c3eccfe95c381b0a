"""The places where something of an experiment's targets can be: namespaces, whole clusters, accounts of clouds.

A place is JSON, so that it can be the argument of a task:
`{kind: "namespace", name, cluster: {..}, namespace, targets: [..]}`, `{kind: "cluster", name, cluster: {..},
namespaces: [..], targets: [..], nodes: {label value: [cloud, stays]}}` and `{kind: "cloud", name, clouds: [..],
locks: [{cluster, namespace}], targets: [..]}`. References are as `connections.open_cluster` and `open_cloud` take them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from airflow_llm_provisioning.core.names import label_value
from airflow_llm_provisioning.core.target import Target

Place = dict[str, Any]


def places_of(targets: Sequence[Target], recorded: Collection[str] = (), *, gone: Collection[str] = ()) -> list[Place]:
    """Return every place of these targets, clouds last: nothing there is deleted before its clusters were looked at.

    `recorded`: places that the ledger names; a namespace of a known cluster that is only there is one too. `gone`:
    names of clusters that do not exist any more, as the caller says: nothing is in them, and no trial runs there.
    """
    clusters: dict[str, list[Target]] = {}
    for target in targets:
        clusters.setdefault(target.cluster, []).append(target)
    found: list[Place] = []
    for name, members in clusters.items():
        places = list(_of_cluster(name, members, recorded))
        found += [{**place, "kind": "gone"} for place in places] if name in gone else places
    return [*found, *_of_clouds(targets, gone)]


def _of_cluster(name: str, members: Sequence[Target], recorded: Collection[str]) -> Iterator[Place]:
    reference = members[0].cluster_reference()
    namespaces = dict.fromkeys(target.namespace for target in members)
    namespaces |= dict.fromkeys(_namespaces_in(recorded, name))
    targets = sorted(target.name for target in members)
    for namespace in namespaces:
        yield {
            "kind": "namespace",
            "name": f"cluster:{name}/{namespace}",
            "cluster": reference,
            "namespace": namespace,
            "targets": targets,
        }
    yield {
        "kind": "cluster",
        "name": f"cluster:{name}",
        "cluster": reference,
        "namespaces": list(namespaces),
        "targets": targets,
        "nodes": {label_value(target.name): [target.cloud, _stays(target)] for target in members},
    }


def _namespaces_in(recorded: Iterable[str], cluster: str) -> list[str]:
    begin = f"cluster:{cluster}/"
    return sorted({place.removeprefix(begin) for place in recorded if place.startswith(begin)})


def _of_clouds(targets: Sequence[Target], gone: Collection[str]) -> Iterator[Place]:
    """Yield one place for each cloud: accounts whose places have one name in the ledger are looked at together."""
    clouds: dict[str, list[tuple[Target, dict[str, Any]]]] = {}
    for target in targets:
        if (reference := target.cloud_reference()) is not None:
            clouds.setdefault(target.cloud, []).append((target, reference))
    for cloud, members in clouds.items():
        living = [target for target, _ in members if target.cluster not in gone]
        locks = [{"cluster": one.cluster_reference(), "namespace": one.namespace} for one in living]
        yield {
            "kind": "cloud",
            "name": f"cloud:{cloud}",
            "clouds": _distinct(reference for _, reference in members),
            "locks": _distinct(locks),
            "targets": sorted(target.name for target, _ in members),
        }


def _stays(target: Target) -> bool:
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS

    removes = AUTOSCALERS[target.nodes.autoscaler].removes_nodes(target.nodes)
    return not removes or target.nodes_gone_s == 0


def _distinct(references: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json_value for _, json_value in sorted({repr(item): item for item in references}.items())]
