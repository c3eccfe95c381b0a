"""Whether the trials that an arm still has to come can change what its gate says.

The verdict's bounds are order statistics: they grow with every single time. So of all ways in which the rest may end,
the two in which all of it is without end fast, or slow, are the outermost; each is tried with every number of trials
that may count. What is the same in all of them is settled.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Final

from airflow_llm_provisioning.core.arm import image_digest
from airflow_llm_provisioning.core.comparison import ArmTrials
from airflow_llm_provisioning.core.gate import Outcome, verdict_against, verdict_within
from airflow_llm_provisioning.core.gate_limit import Case, GateLimit, case_of
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.serving_guard import serving_verdict
from airflow_llm_provisioning.core.serving_speed import ServingSpeed, median_speed

# Beyond any duration in seconds and any speed in tokens a second, and still a number that has a logarithm.
_EXTREMES: Final = (1e-100, 1e100)


def settled(
    trials: Iterable[Measured], limit: GateLimit, *, run: tuple[str, str], left: int, baseline_left: int
) -> Outcome | None:
    """Return `passes` or `slower` if up to `left` further trials of the arm, and `baseline_left` of its baseline,
    cannot change it: however fast, slow or few they are, and with any image. None while they can.

    `trials`: as for `core.gate_limit.judged`; `run`: DAG and id of the run that is not complete. A reference counts
    only if the last trial of its run was opened before the first of this one.
    """
    case = case_of(trials, limit, run_id=run[1], dag_id=run[0])
    if isinstance(case, str) or not _image_stays(case.arm, left) or _overlapped(case, limit):
        return None
    timed = _timed(case, limit, left)
    if timed is Outcome.SLOWER or limit.max_serving_slower_pct is None:
        return timed
    # A pass in time is one as long as the other limit holds as well; without a limit of time only that one counts.
    no_time = limit.max_seconds is None and limit.against is None
    serves = _serves(case, limit.max_serving_slower_pct, left, baseline_left)
    return serves if no_time or timed is Outcome.PASSES else None


def settled_within(totals: Sequence[float], left: int, most_s: float) -> Outcome | None:
    """Return what up to `left` further times cannot change of a limit in seconds."""
    return _same(verdict_within(rest, most_s)[0] for rest in _endings(totals, left))


def settled_against(
    totals: Sequence[float], reference: Sequence[float], left: int, most_slower_pct: float
) -> Outcome | None:
    """Return what up to `left` further times cannot change of a limit against a reference's times."""
    return _same(verdict_against(rest, reference, most_slower_pct)[0] for rest in _endings(totals, left))


def settled_serving(
    own: Sequence[ServingSpeed], other: Sequence[ServingSpeed], left: int, baseline_left: int, most_slower_pct: float
) -> Outcome | None:
    """Return `passes` if no further speeds of an arm and of its baseline can change it. Slower is settled only without
    further trials of the arm, because one of them may have no upper bound.
    """
    ways = product(_speeds(own, left), _speeds(other, baseline_left))
    return _same(
        Outcome.UNDECIDED if ours is None or theirs is None else serving_verdict(ours, theirs, most_slower_pct)[0]
        for ours, theirs in ways
    )


def _timed(case: Case, limit: GateLimit, left: int) -> Outcome | None:
    if limit.max_seconds is not None:
        return settled_within(case.arm.totals, left, limit.max_seconds)
    if isinstance(case.reference, ArmTrials):
        return settled_against(case.arm.totals, case.reference.totals, left, limit.max_slower_pct)
    return None


def _serves(case: Case, most_slower_pct: float, left: int, baseline_left: int) -> Outcome | None:
    if case.baseline is None or not _image_stays(case.baseline, baseline_left):
        return None
    own, other = (
        [ServingSpeed.from_dict(trial.speed) for trial in arm.pooled if trial.speed]
        for arm in (case.arm, case.baseline)
    )
    return settled_serving(own, other, left, baseline_left, most_slower_pct)


def _endings(totals: Sequence[float], left: int) -> Iterable[list[float]]:
    return ([*totals, *[extreme] * counting] for counting in range(max(left, 0) + 1) for extreme in _EXTREMES)


def _speeds(known: Sequence[ServingSpeed], left: int) -> Iterable[ServingSpeed | None]:
    for counting in range(max(left, 0) + 1):
        for extreme in _EXTREMES:
            further = ServingSpeed(extreme, extreme, None)
            yield median_speed([*known, *[further] * counting])


def _same(outcomes: Iterable[Outcome]) -> Outcome | None:
    found: set[Outcome] = set()
    for outcome in outcomes:
        found.add(outcome)
        if len(found) > 1 or outcome not in (Outcome.PASSES, Outcome.SLOWER):
            return None
    return found.pop() if found else None


def _image_stays(arm: ArmTrials, left: int) -> bool:
    """Return whether the trials that are left cannot make another image the usual one of the arm, whose trials are
    then set aside (`core.comparison`).
    """
    seen = Counter(image_digest(trial.environment) for trial in arm.trials if trial.exclusion is None)
    pooled = {image_digest(trial.environment) for trial in arm.pooled} - {None}
    usual = max((seen[digest] for digest in pooled), default=math.inf)
    others = (count for digest, count in seen.items() if digest is not None and digest not in pooled)
    return usual > max(others, default=0) + left


def _overlapped(case: Case, limit: GateLimit) -> bool:
    """Return whether a run that is or may become the reference was not over when the judged one began."""
    if limit.against is None:
        return False
    began = min(trial.opened_at for trial in case.runs[case.own])
    others = (members for key, members in case.runs.items() if key != case.own)
    return any(trial.opened_at >= began for members in others for trial in members)
