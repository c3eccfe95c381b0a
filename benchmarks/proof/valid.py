"""Proof of the other half: no valid trial raises an alarm, and the wait for none of them ends early.

The trials are those of `proof.valid_trials`, recorded and judged by what is shipped. Each is run once and held against
both claims.
"""

from functools import cache
from itertools import repeat
from typing import Any

from proof import Size
from proof.recorded_trial import Scenario
from proof.valid_trials import Told, scenarios, told
from proof.workers import report, workers


def prove(size: Size) -> dict[str, Any]:
    """Run valid trials; return the figures and {alarms: [what was said wrongly], early: [why a wait ended]}."""
    alarms: list[str] = []
    early: list[str] = []
    places = range(size.valid_trials)
    with workers(size.processes) as pool:
        found = pool.map(_told, places, repeat(size.valid_trials), repeat(size.seed), chunksize=5)
        for done, one in enumerate(found, start=1):
            alarms += [one.alarm] if one.alarm else []
            early += [one.early] if one.early else []
            if done % 100 == 0:
                report(f"valid: {done} of {size.valid_trials} trials, {len(alarms)} alarms, {len(early)} ended early")
    return {
        "valid_trials": size.valid_trials,
        "false_alarms": len(alarms),
        "false_early_ends": len(early),
        "alarms": alarms[:20],
        "early": early[:20],
    }


def _told(position: int, number: int, seed: int) -> Told:
    return told(_scenarios(number, seed)[position])


@cache
def _scenarios(number: int, seed: int) -> list[Scenario]:
    return list(scenarios(number, seed))
