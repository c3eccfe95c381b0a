"""Every way in which a simulated deployment never gets ready: what is changed, and what says so.

`ALL` is the table; `produce(name)` runs one in virtual time and returns the recording, in the format of real ones. Each
follows from the manifest, from objects that are missing, or from the state of images, nodes and models; a named fault
is used only where no such thing can cause it.
"""

from typing import Final

from llm_provisioning_simulator.dead_ends import creation, images, nodes, processes, serving, starting, validation
from llm_provisioning_simulator.dead_ends.scene import DeadEnd, Says, Scene
from llm_provisioning_simulator.dead_ends.stage import Line, produce_end, says

__all__ = ["ALL", "DeadEnd", "Line", "Says", "Scene", "produce", "says"]

ALL: Final[tuple[DeadEnd, ...]] = (
    *processes.ENDS,
    *starting.ENDS,
    *creation.ENDS,
    *validation.ENDS,
    *nodes.ENDS,
    *images.ENDS,
    *serving.ENDS,
)
_BY_NAME: Final = {end.name: end for end in ALL}


def produce(name: str, *, limit_s: float = 1800.0, after_s: float = 0.0, seed: int = 1) -> list[Line]:
    """Run a dead end until it has said what it says, and `after_s` virtual seconds more; return what a watch saw.

    Lines are {"received_at", "type", "resource", "object"} in the order of their receipt, with the resources of the
    recordings and `serve-rest`. Raises KeyError for an unknown name, TimeoutError when it says nothing in `limit_s`.
    """
    return produce_end(_BY_NAME[name], limit_s=limit_s, after_s=after_s, seed=seed)
