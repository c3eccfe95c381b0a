"""One trial as a figure: its phases in a staircase from submission to ready endpoint, and every milestone with bounds.

The figure is a separate file with its own background; the report's charts use the page's. This module knows the result
of an analysis as plain values (`core.judging.Judgement.as_dict`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.origin import shown_origin
from airflow_llm_provisioning.exceptions import TraceError
from airflow_llm_provisioning.report.charts import staircase_chart
from airflow_llm_provisioning.report.phase_groups import group_of
from airflow_llm_provisioning.report.replay_text import total_text, zero_at

Document = Mapping[str, Any]
Row = dict[str, Any]

_PAPER: Final = "#ffffff"
_INK: Final = "#1c1d21"


def trace_figure(document: Document, name: str) -> str:
    """Return the figure as an SVG document.

    Raises TraceError if there is nothing to draw, MissingExtraError without [report].
    """
    zero = zero_at(document)
    if zero is None:
        raise TraceError(f"The figure of {name} cannot be drawn: the trial has no milestone.")
    origin = str(document.get("origin") or "not stated")
    ending = {phase["end"] for phase in document.get("phases") or ()}
    svg = staircase_chart(
        [_phase(phase, zero) for phase in document.get("phases") or ()],
        [_milestone(item, zero, ending) for item in _ordered(document)],
        title=f"{name}: {total_text(document)}, {document.get('setup') or 'set-up unknown'}, {document.get('start')}",
        subtitle=f"origin: {shown_origin(origin)}",
    )
    return svg.replace("<svg ", f'<svg style="background:{_PAPER};color:{_INK}" ', 1) + "\n"


def _ordered(document: Document) -> list[Mapping[str, Any]]:
    return sorted(document.get("milestones") or (), key=lambda item: (str(item["at"]), str(item["name"])))


def _phase(phase: Mapping[str, Any], zero: datetime) -> Row:
    bounds = f"{phase['shortest_s']:.1f} to {phase['longest_s']:.1f}"
    return {
        "name": phase["name"],
        "group": group_of(phase["name"]).title,
        "start_s": _after(phase["start_at"], zero),
        "end_s": _after(phase["end_at"], zero),
        "label": f"{phase['duration_s']:.2f} s ({bounds})",
    }


def _milestone(item: Mapping[str, Any], zero: datetime, ending: set[str]) -> Row:
    decided = item["name"] in ending or item["name"] == "submitted"
    return {
        "name": item["name"],
        "at_s": _after(item["at"], zero),
        "earliest_s": _after(item["earliest_at"], zero),
        "latest_s": _after(item["latest_at"], zero),
        "where": "on the deciding path" if decided else "off the path",
        "label": f"{item['name']}: {item['source']}",
    }


def _after(text: Any, zero: datetime) -> float:
    at = parse_instant(text)
    return 0.0 if at is None else (at - zero).total_seconds()
