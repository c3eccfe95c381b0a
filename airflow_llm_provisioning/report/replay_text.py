"""A computed trial as text for a terminal: every number with its bounds and its source.

It knows the result of an analysis as plain values (`core.judging.Judgement.as_dict`), and no traces or stores.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.origin import shown_origin
from airflow_llm_provisioning.core.replay import Difference

Document = Mapping[str, Any]

_MISSING: Final = "-"


def result_lines(document: Document) -> Iterator[str]:
    """Yield a whole result: outcome, total, phases, milestones, verdicts, flags, clocks."""
    yield from _summary(document)
    yield from _phases(document)
    yield from _milestones(document)
    yield from _verdicts(document)
    yield from _listed("FLAGS", document.get("flags") or ["none"])
    yield from _clocks(document)


def difference_lines(found: Sequence[Difference]) -> Iterator[str]:
    """Yield the differences, one per line, below the part of the result they belong to."""
    part = ""
    for item in found:
        if item.path[0] != part:
            part = item.path[0]
            yield f"  {part}"
        yield f"    {_difference(item)}"


def total_text(document: Document) -> str:
    """Return a total with its bounds: `47.623 s (47.500 to 47.712)`, or `no total`."""
    if document.get("total_s") is None:
        return "no total"
    return f"{document['total_s']:.3f} s ({document['total_low_s']:.3f} to {document['total_high_s']:.3f})"


def _summary(document: Document) -> Iterator[str]:
    origin = document.get("origin") or "not stated"
    yield f"ORIGIN    {shown_origin(origin)}"
    reason = f": {document['reason']}" if document.get("reason") else ""
    yield f"OUTCOME   {document.get('outcome')}{reason}"
    yield f"TOTAL     {total_text(document)}, submission to the first ready endpoint"
    if document.get("completion_s") is not None:
        yield f"ANSWERED  {document['completion_s']:.3f} s, submission to the first valid completion"
    yield f"SET-UP    {document.get('setup') or 'unknown'}; start {document.get('start')}"
    yield f"TREATED   {document.get('applied', _MISSING)}"
    yield from _environment(document.get("environment") or {})


def _environment(environment: Document) -> Iterator[str]:
    told = [f"KubeRay {environment['kuberay']}"] if environment.get("kuberay") else []
    told += [f"Ray {environment['ray']}"] if environment.get("ray") else []
    told += [
        f"{role} on {environment[role].get('instance_type') or environment[role].get('node')}"
        for role in ("head", "worker")
        if environment.get(role)
    ]
    if told:
        yield f"RAN       {', '.join(told)}"


def _phases(document: Document) -> Iterator[str]:
    phases = document.get("phases") or ()
    if not phases:
        return
    yield ""
    yield "PHASES of the deciding path; they sum to the total"
    yield f"  {'seconds':>9} {'at least':>9} {'at most':>9}  phase"
    for phase in phases:
        figures = " ".join(f"{phase[key]:>9.3f}" for key in ("duration_s", "shortest_s", "longest_s"))
        yield f"  {figures}  {phase['name']}  [{phase['start']} -> {phase['end']}]"


def _milestones(document: Document) -> Iterator[str]:
    milestones = document.get("milestones") or ()
    if not milestones:
        return
    zero = zero_at(document)
    yield ""
    yield f"MILESTONES in seconds after {'the submission' if document.get('submitted_at') else 'the first milestone'}"
    yield f"  {'at':>9} {'earliest':>9} {'latest':>9}  {'milestone':<26} source"
    for milestone in sorted(milestones, key=lambda item: str(item["at"])):
        figures = " ".join(_after(milestone[key], zero) for key in ("at", "earliest_at", "latest_at"))
        yield f"  {figures}  {milestone['name']:<26} {milestone['source']}"


def zero_at(document: Document) -> datetime | None:
    """Return the zero of a result's milestones: the submission, else the first milestone."""
    submitted = parse_instant(document.get("submitted_at"))
    instants = [at for item in document.get("milestones") or () if (at := parse_instant(item["at"]))]
    return submitted or min(instants, default=None)


def _verdicts(document: Document) -> Iterator[str]:
    found = [*(document.get("verdicts") or ()), *(document.get("treatments") or ())]
    if not found:
        return
    yield ""
    yield "VERDICTS"
    for verdict in found:
        yield f"  {verdict['claim']}: {verdict['value']}"
        yield from (f"    {sentence}" for sentence in verdict["evidence"])


def _listed(title: str, entries: Sequence[str]) -> Iterator[str]:
    yield ""
    yield title
    yield from (f"  {entry}" for entry in entries)


def _clocks(document: Document) -> Iterator[str]:
    clocks = document.get("clocks") or {}
    if clocks:
        rows = [
            f"{name}: {offset['likely_s']:+.3f} s (between {offset['low_s']:+.3f} and {offset['high_s']:+.3f})"
            for name, offset in clocks.items()
        ]
        yield from _listed("CLOCKS, offset from the recorder's clock (positive: ahead)", rows)


def _difference(item: Difference) -> str:
    where = " ".join(item.path[1:]) or item.path[0]
    if item.change == "changed":
        return f"{where}: {_value(item.old)} -> {_value(item.new)}"
    sign, value = ("+", item.new) if item.change == "appeared" else ("-", item.old)
    return f"{sign} {where}" if value is None else f"{sign} {where}: {_value(value)}"


def _value(value: Any) -> str:
    return "none" if value is None else str(value)


def _after(text: Any, zero: datetime | None) -> str:
    at = parse_instant(text)
    return f"{_MISSING:>9}" if at is None or zero is None else f"{(at - zero).total_seconds():>9.3f}"
