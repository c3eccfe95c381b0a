"""Silent no-ops: accelerations that were declared and did nothing, each made by the mechanism that makes it for real.

Nothing here writes a trace. Each entry changes what somebody would have changed (a package, a switch, a node pool, a
registry's tag, the hour of a conversion) and lets the simulator draw the consequence.

`truth` says how the trial must be told: `not applied`; `excluded`, where not a treatment but the trial is at fault
(its start was warm, its image is another one than its replicates'); `unknown`, where no client of a real cluster could
see more, and `why_unseen` says why: there unknown is the true answer, and it keeps the trial out as well. An entry is
caught when its row says so and cannot enter a comparison.
"""

from typing import Final

from proof.catalogue.deliveries import DELIVERIES
from proof.catalogue.downloads import DOWNLOADS
from proof.catalogue.entry import NoOp
from proof.catalogue.trials import TRIALS

__all__ = ["CATALOGUE", "NoOp"]

CATALOGUE: Final = (*DOWNLOADS, *DELIVERIES, *TRIALS)
