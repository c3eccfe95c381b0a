"""How much starts differ from run to run, told by few trials. Pure."""

import math
import random
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Final

from airflow_llm_provisioning.core.statistics import MIN_FOR_INTERVAL
from airflow_llm_provisioning.core.what_if.starts import MeasuredStart

# Phases from here on tell how much a phase differs from run to run; shorter ones are mostly poll intervals.
_LONG_S: Final = 10.0


def run_to_run(starts: Sequence[MeasuredStart]) -> float:
    """Return the relative standard deviation of a long phase from run to run, pooled over the phases of an arm."""
    if len(starts) < MIN_FOR_INTERVAL:
        return 0.0
    relative = []
    for milestone in starts[0].spans:
        each = [start.spans.get(milestone, 0.0) for start in starts]
        if min(each) >= _LONG_S:
            relative.append((stdev(each) / fmean(each)) ** 2)
    return math.sqrt(fmean(relative)) if relative else 0.0


def shuffled(trials: Sequence[Mapping[str, float]], rng: random.Random) -> list[dict[str, float]]:
    """Return trials mixed of these ones' spans: each span's seconds are dealt out to the trials anew.

    Spans are different machines' work one after the other (a boot, a pull, a download). That a long one of them met a
    short one of another in three trials does not make the fourth trial's total as steady.
    """
    mixed: list[dict[str, float]] = [{} for _ in trials]
    for milestone in dict.fromkeys(name for spans in trials for name in spans):
        having = [at for at, spans in enumerate(trials) if milestone in spans]
        for to, of in zip(having, rng.sample(having, len(having)), strict=True):
            mixed[to][milestone] = trials[of][milestone]
    return mixed
