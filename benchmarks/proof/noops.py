"""Proof of the verdicts: every silent no-op of the catalogue is caught, and no valid trial raises an alarm.

The simulator produces both in virtual time, and they are judged from the shipped recorder's trace
(`proof.recorded_trial`). Some entries cannot be observed on any cluster. They count as caught if the verdict is
unknown; `unseen` names them with the reason. All other entries need their verdict.
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

_VERDICT_OF: Final = {"not applied": "no", "excluded": None, "unknown": "unknown"}


def prove(size: Size) -> dict[str, Any]:
    """Run catalogue and valid trials; return the figures and {missed: {name: why}, unseen: {name: why}, alarms}."""
    chosen = tried(size)
    with _workers(size.processes) as pool:
        found = {
            CATALOGUE[place].name: why for place, why in zip(chosen, pool.map(_missed, chosen), strict=True) if why
        }
        _report(f"noops: {len(chosen) - len(found)} of {len(chosen)} caught")
        alarms = []
        places = range(size.valid_trials)
        raised = pool.map(_alarm, places, repeat(size.valid_trials), repeat(size.seed), chunksize=5)
        for done, told in enumerate(raised, start=1):
            alarms += [told] if told else []
            if done % 100 == 0:
                _report(f"noops: {done} of {size.valid_trials} valid trials, {len(alarms)} alarms")
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
    """Return the tested entries of the catalogue: all, or in a short run every fifth."""
    return range(len(CATALOGUE)) if size.valid_trials >= len(CATALOGUE) else range(size.seed % 5, len(CATALOGUE), 5)


def missed(entry: NoOp) -> str | None:
    """Run a no-op; return how its verdict is wrong, or None if it was caught."""
    rows = [finished.row for finished in run(entry.scenario)]
    row = rows[-1]
    reasons = excluded(rows)
    reason = reasons.get(row.trial_id)
    if reason is None:
        return f"it counts: {row.applied}, start {row.start}"
    wanted = _VERDICT_OF[entry.truth]
    if wanted is None:
        return None if reason == entry.reason else f"it is excluded as {reason!r} instead of {entry.reason!r}"
    value, evidence = _told(row, entry.claim)
    if value != wanted:
        return f"{entry.claim} says {value}: {evidence}"
    return None if evidence else f"{entry.claim} says {value} without evidence"


def _told(row: TrialResult, claim: str) -> tuple[str, Sequence[str]]:
    found = [item for item in row.verdicts if item["claim"] == claim]
    return (str(found[0]["value"]), found[0]["evidence"]) if found else ("nothing", ())


def _missed(position: int) -> str | None:
    # By position, because an entry contains functions, which cannot be passed between processes.
    return missed(CATALOGUE[position])


def _alarm(position: int, number: int, seed: int) -> str | None:
    return alarm(_scenarios(number, seed)[position])


@cache
def _scenarios(number: int, seed: int) -> list[Scenario]:
    return list(scenarios(number, seed))


def _workers(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_collect_less)


def _collect_less() -> None:
    """Make garbage collections in a worker rare: a trial creates many small objects and few cycles."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _report(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
