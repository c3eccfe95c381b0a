"""The proof of the verdicts: every silent no-op of the catalogue is caught, and no valid trial raises an alarm.

Both sides are made by the simulator's mechanism in virtual time and judged from what the shipped recorder wrote
(`proof.recorded_trial`). An entry that no cluster could show, because its truth cannot be seen from outside, counts as
caught when it is said to be unknown: `unseen` names those, with the reason. Everything else must be said.
"""

import gc
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from typing import Any, Final

from airflow_llm_provisioning.core.comparison import excluded
from airflow_llm_provisioning.core.result import TrialResult
from proof import Size
from proof.catalogue import CATALOGUE, NoOp
from proof.recorded_trial import Scenario, run
from proof.valid_trials import alarm, scenarios

_SAYS: Final = {"not applied": "no", "excluded": None, "unknown": "unknown"}


def prove(size: Size) -> dict[str, Any]:
    """Run catalogue and valid trials; returns the figures, and {missed: {name: why}, unseen: {name: why}, alarms}."""
    chosen = tried(size)
    with _workers(size.processes) as pool:
        found = {
            CATALOGUE[place].name: why for place, why in zip(chosen, pool.map(_missed, chosen), strict=True) if why
        }
        _say(f"noops: {len(chosen) - len(found)} of {len(chosen)} caught")
        alarms = []
        places = range(size.valid_trials)
        raised = pool.map(_alarm, places, repeat(size.valid_trials), repeat(size.seed), chunksize=5)
        for done, told in enumerate(raised, start=1):
            alarms += [told] if told else []
            if done % 100 == 0:
                _say(f"noops: {done} of {size.valid_trials} valid trials, {len(alarms)} alarms")
    return {
        "noops_total": len(chosen),
        "noops_caught": len(chosen) - len(found),
        "valid_trials": size.valid_trials,
        "false_alarms": len(alarms),
        "missed": found,
        "unseen": {entry.name: entry.why_unseen for entry in CATALOGUE if entry.truth == "unknown"},
        "alarms": alarms[:20],
    }


def tried(size: Size) -> range:
    """Return which entries of the catalogue are tried: all, or in a short run every fifth."""
    return range(len(CATALOGUE)) if size.valid_trials >= len(CATALOGUE) else range(size.seed % 5, len(CATALOGUE), 5)


def missed(entry: NoOp) -> str | None:
    """Make a no-op; return how it was told instead of as what it is, or None when it was caught."""
    rows = [finished.row for finished in run(entry.scenario)]
    row = rows[-1]
    reasons = excluded(rows)
    reason = reasons.get(row.trial_id)
    if reason is None:
        return f"it counts: {row.applied}, start {row.start}"
    wanted = _SAYS[entry.truth]
    if wanted is None:
        return None if reason == entry.reason else f"it is left out as {reason!r} instead of {entry.reason!r}"
    value, evidence = _told(row, entry.claim)
    if value != wanted:
        return f"{entry.claim} says {value}: {evidence}"
    return None if evidence else f"{entry.claim} says {value} without evidence"


def _told(row: TrialResult, claim: str) -> tuple[str, Sequence[str]]:
    found = [item for item in row.verdicts if item["claim"] == claim]
    return (str(found[0]["value"]), found[0]["evidence"]) if found else ("nothing", ())


def _missed(position: int) -> str | None:
    # By position: an entry holds functions, which do not travel between processes.
    return missed(CATALOGUE[position])


def _alarm(position: int, number: int, seed: int) -> str | None:
    return alarm(_scenarios(number, seed)[position])


@cache
def _scenarios(number: int, seed: int) -> list[Scenario]:
    return list(scenarios(number, seed))


def _workers(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_collect_less)


def _collect_less() -> None:
    """Let a worker look for garbage rarely: a trial makes many small objects and few cycles."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
