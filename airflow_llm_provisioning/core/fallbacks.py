"""Other places for a trial that got no capacity: other zones or other nodes on the same cluster, in a fixed order.

A fallback is a target of its own, prepared like any other. Its trials are of a stratum of their own, because they run
only while the place before has no capacity: they are pooled with no other trials, also not with those of a target with
equal nodes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.target import Target, with_role_options


def fallback_targets(target: Target, listed: Iterable[str | Mapping[str, Any]]) -> tuple[Target, ...]:
    """Return a target's fallbacks as targets called `TARGET-NAME`, in their order.

    `listed`: a zone, or {name, nodes: keys of a node profile that differ from the target's}. Raises ConfigurationError
    for options that are given twice.
    """
    return tuple(
        _fallback(target, one, {"zone": one}) if isinstance(one, str) else _fallback(target, one["name"], one["nodes"])
        for one in listed
    )


def in_order(targets: Iterable[Target], of: str) -> tuple[Target, ...]:
    """Return the fallbacks of a target, the first one first."""
    return tuple(target for target in targets if target.fallback_of == of)


def told(targets: Sequence[Target]) -> tuple[str, ...]:
    """Return a sentence for each target with fallbacks: where its trials are tried in turn."""
    found = {target.name: [other.name for other in in_order(targets, target.name)] for target in targets}
    return tuple(
        f"A trial of {name} that gets no capacity is tried on {', then on '.join(others)}, in a stratum of its own."
        for name, others in found.items()
        if others
    )


def _fallback(target: Target, own: str, nodes: Mapping[str, Any]) -> Target:
    changed = with_role_options(nodes)
    if "gpu_skus" in changed:
        changed["gpu_skus"] = tuple(changed["gpu_skus"])
    name, options = f"{target.name}-{own}", {**target.nodes.options, **changed.get("options", {})}
    made = replace(target.nodes, **{**changed, "options": options, "name": name})
    apart = fingerprint({"nodes": made.content, "fallback": own})
    return replace(target, name=name, nodes=made, nodes_content=apart, fallback_of=target.name)
