"""Proof of the verdicts: every silent no-op of the catalogue is caught. `proof.valid` is the other half.

The simulator produces them in virtual time, and they are judged from the shipped recorder's trace
(`proof.recorded_trial`). Some entries cannot be observed on any cluster. They count as caught if the verdict is
unknown; `unseen` names them with the reason. All other entries need their verdict.
"""

from collections.abc import Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.comparison import excluded
from airflow_llm_provisioning.core.result import TrialResult
from proof import Size
from proof.catalogue import CATALOGUE, NoOp
from proof.recorded_trial import run
from proof.workers import report, workers

_VERDICT_OF: Final = {"not applied": "no", "excluded": None, "unknown": "unknown"}


def prove(size: Size) -> dict[str, Any]:
    """Run the catalogue; return the figures and {missed: {name: why}, unseen: {name: why}}."""
    chosen = tried(size)
    with workers(size.processes) as pool:
        found = {
            CATALOGUE[place].name: why for place, why in zip(chosen, pool.map(_missed, chosen), strict=True) if why
        }
    report(f"noops: {len(chosen) - len(found)} of {len(chosen)} caught")
    return {
        "noops_total": len(chosen),
        "noops_caught": len(chosen) - len(found),
        "missed": found,
        "unseen": {entry.name: entry.why_unseen for entry in CATALOGUE if entry.truth == "unknown"},
    }


def tried(size: Size) -> tuple[int, ...]:
    """Return the tested entries of the catalogue: all, or in a short run one for each verdict on each cloud, so that
    no treatment's verdict is left out. Another seed takes other ones.
    """
    if size.valid_trials >= len(CATALOGUE):
        return tuple(range(len(CATALOGUE)))
    of_kind: dict[tuple[str, str, str], list[int]] = {}
    for place, entry in enumerate(CATALOGUE):
        of_kind.setdefault((entry.claim, entry.scenario.target.cloud, entry.truth), []).append(place)
    return tuple(places[size.seed % len(places)] for places in of_kind.values())


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
