"""Silent no-ops: accelerations that were declared and had no effect, each caused by its real mechanism.

Nothing here writes a trace. Each entry changes a cause (a package, a switch, a node pool, a registry's tag, the time of
a conversion), and the simulator produces the consequence.

`truth` is the correct verdict. `not applied`: the treatment had no effect. `excluded`: the fault is not in a treatment
but in the trial (its start was warm, or its image differs from its replicates'). `unknown`: no client of a real cluster
can see more, as `why_unseen` explains; then unknown is correct, and it excludes the trial too. An entry is caught if
its row has this verdict and cannot enter a comparison.
"""

from typing import Final

from proof.catalogue.buffer_objects import BUFFER_OBJECTS
from proof.catalogue.buffer_static import BUFFER_STATIC
from proof.catalogue.capacity_buffers import CAPACITY_BUFFERS, LEFTOVER
from proof.catalogue.compile_cache import COMPILE_CACHES
from proof.catalogue.deliveries import DELIVERIES
from proof.catalogue.direct_loader import DIRECT_LOADERS
from proof.catalogue.downloads import DOWNLOADS
from proof.catalogue.early_nodes import EARLY_NODES
from proof.catalogue.entry import NoOp
from proof.catalogue.image_volume import IMAGE_VOLUMES
from proof.catalogue.optimization_level import OPTIMIZATION_LEVELS
from proof.catalogue.parallel_pulls import PARALLEL_PULLS
from proof.catalogue.peer_to_peer import PEERS
from proof.catalogue.preloaded_disks import PRELOADED_DISKS
from proof.catalogue.ray_start_trim import RAY_START_TRIM
from proof.catalogue.shared_weights import SHARED_WEIGHTS
from proof.catalogue.trials import TRIALS
from proof.catalogue.weights_stream import STREAMS

__all__ = ["CATALOGUE", "NoOp"]

CATALOGUE: Final = (
    *DOWNLOADS,
    *DELIVERIES,
    *TRIALS,
    *PARALLEL_PULLS,
    *PRELOADED_DISKS,
    *EARLY_NODES,
    *CAPACITY_BUFFERS,
    LEFTOVER,
    *BUFFER_OBJECTS,
    *BUFFER_STATIC,
    *RAY_START_TRIM,
    *OPTIMIZATION_LEVELS,
    *DIRECT_LOADERS,
    *STREAMS,
    *IMAGE_VOLUMES,
    *SHARED_WEIGHTS,
    *COMPILE_CACHES,
    *PEERS,
)
