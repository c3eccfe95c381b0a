"""What of a target a treatment needs that its owner chooses: options of the nodes, the cluster's version, its gates.

The search takes the form that a combination needs, so that no treatment is left out for an option of the target. A
treatment that is held against a baseline alone is held against one in the same form.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proof.catalogue import buffer_objects, buffer_static


@dataclass(frozen=True, slots=True)
class Form:
    """Changes to the target of the proofs. `fields`, `options`: of its node profile; `gates`: of cluster and node
    autoscaler.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    gates: frozenset[str] = frozenset()


FORMS: Final[Mapping[str, Form]] = {
    "ami_alias al2023": Form(options={"ami_alias": "al2023@latest"}),
    "Kubernetes 1.35": Form({"kubernetes_minor": "1.35"}),
    "CapacityBuffers": Form(gates=buffer_objects.GATES),
    # A static pool names its types.
    "gate StaticCapacity": Form(
        {"gpu_instance_type": "g6.4xlarge", "cpu_instance_type": "m5.xlarge"}, gates=buffer_static.GATES
    ),
}
# Treatment -> (form, the node autoscaler that needs it, None for every one).
_NEEDS: Final[Mapping[str, tuple[str, tuple[str, str] | None]]] = {
    "peer_to_peer": ("ami_alias al2023", ("eks", "karpenter")),
    "image_volume": ("Kubernetes 1.35", None),
    "capacity_buffer_object": ("CapacityBuffers", None),
    "capacity_buffer_static": ("gate StaticCapacity", ("eks", "karpenter")),
}


def form_of(cloud: str, autoscaler: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the forms that a target has for these treatments."""
    needs = [_NEEDS[name] for name in names if name in _NEEDS]
    return tuple(sorted({form for form, where in needs if where in (None, (cloud, autoscaler))}))
