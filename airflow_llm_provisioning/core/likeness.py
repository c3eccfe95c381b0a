"""Whether two specifications ask for the same, although different writers wrote them.

The first write of KubeRay's operator, which adds a finalizer, writes the whole RayService anew: Go leaves empty fields
out or adds them, and writes quantities in its own form (recorded with KubeRay 1.7: `metadata: {}`, `1000m` as `1`).
"""

from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.core.fields import items, mapping
from airflow_llm_provisioning.core.quantity import quantity


def holds(have: Any, wanted: Any) -> bool:
    """Return whether everything that is wanted is there; more may be: admission plug-ins and defaults add to it."""
    if isinstance(wanted, Mapping):
        return all(holds(mapping(have).get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        there = items(have)
        return len(there) >= len(wanted) and all(map(holds, there, wanted))
    if not wanted or have == wanted:
        return True
    return quantity(wanted) is not None and quantity(have) == quantity(wanted)


def alike(one: Any, other: Any) -> bool:
    """Return whether two specifications ask for the same."""
    return holds(one, other) and holds(other, one)
