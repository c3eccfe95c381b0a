"""Results as texts for the log of a task: a trial, a comparison, a judgement."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.report.tables import written
from airflow_llm_provisioning.report.text_table import text_table, wrapped

# What Airflow's log view shows without a line break on a usual screen.
WIDTH: Final = 130
_PHASES: Final = {"phase": "phase", "seconds": "time (s)", "share": "share (%)", "bounds": "bounds (s)"}
_VERDICTS: Final = {"claim": "verdict", "value": "is", "evidence": "because"}
_GATES: Final = {"arm": "gate", "outcome": "outcome", "sentence": "because"}
_EVIDENCE_CHARACTERS: Final = 160


def told_trial(row: TrialResult) -> str:
    """Return a trial's result: total with bounds, phases of the deciding path, verdicts, and why it does not count."""
    parts = ["", *_head(row)]
    if row.phases:
        phases = [
            {
                "phase": phase.name,
                "seconds": phase.duration_s,
                "share": 100 * phase.duration_s / row.total_s if row.total_s else None,
                "bounds": f"{phase.low_s:.1f} to {phase.high_s:.1f}",
            }
            for phase in row.phases
        ]
        parts.append(text_table("Phases of the deciding path", phases, _PHASES, WIDTH))
    if row.verdicts:
        verdicts = [_verdict(one) for one in row.verdicts]
        parts.append(text_table("Verdicts", verdicts, _VERDICTS, WIDTH))
    parts += [wrapped(f"Flag: {flag}", WIDTH) for flag in row.flags]
    return "\n".join(parts)


def told_comparison(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a comparison's rows as a table."""
    return f"\n{written([{**row, 'reasons': ''} for row in rows], 'table', WIDTH)}"


def told_judgement(judged: Mapping[str, Any]) -> str:
    """Return what was judged of a DAG run (`decisions.judge.judge_run`) as a table."""
    counted = f"{judged['trials']} trials, none of them failed; {judged['not_needed']} were not needed."
    refused = [wrapped(f"No capacity: {sentence}", WIDTH) for sentence in judged.get("no_capacity") or ()]
    slower = [wrapped(f"Serves slower: {sentence}", WIDTH) for sentence in judged.get("serves_slower") or ()]
    gates = judged.get("gates") or ()
    table = [text_table("Gates", [dict(gate) for gate in gates], _GATES, WIDTH)] if gates else []
    return "\n".join(["", counted, *refused, *slower, *table])


def _head(row: TrialResult) -> list[str]:
    low, high = row.total_low_s, row.total_high_s
    bounds = f" ({low:.1f} to {high:.1f} s)" if low is not None and high is not None else ""
    total = "no total" if row.total_s is None else f"{row.total_s:.1f} s from submission to the ready endpoint{bounds}"
    completion = "" if row.completion_s is None else f"; first valid completion at {row.completion_s:.1f} s"
    counts = "It counts in comparisons." if row.comparable else f"It does not count in comparisons: {row.exclusion}."
    told = [f"Trial {row.trial_id}, {row.arm.label}, {row.origin}: {row.status}, {total}{completion}.", counts]
    return [wrapped(line, WIDTH) for line in [*told, *([f"Reason: {row.reason}"] if row.reason else [])]]


def _verdict(verdict: Mapping[str, Any]) -> dict[str, Any]:
    evidence = " ".join(map(str, list(verdict.get("evidence") or ())[:2]))
    short = evidence if len(evidence) <= _EVIDENCE_CHARACTERS else f"{evidence[:_EVIDENCE_CHARACTERS]} ..."
    return {"claim": verdict.get("claim"), "value": verdict.get("value"), "evidence": short}
