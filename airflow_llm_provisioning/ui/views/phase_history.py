"""The history of every phase of one cell: which of them have a new level, also where the total does not tell it. It is
loaded after the page, because each phase is watched by itself.
"""

from typing import Final

from airflow_llm_provisioning.core.alarm import Change, Watch, nights_that_tell, watch_phases
from airflow_llm_provisioning.core.nights import seconds_of
from airflow_llm_provisioning.decisions.changes import CellHistory, histories
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection
from airflow_llm_provisioning.report.markup import Markup, element, html
from airflow_llm_provisioning.report.series_chart import Point, series_chart
from airflow_llm_provisioning.ui.views.history import SHOWN_NIGHTS, levels

MOST_SHOWN: Final = 8


def phases_view(store: ResultsStore, selection: Selection) -> Markup | None:
    """Return the phases of a selection's cell that have a new level, the largest change first; None without a night."""
    found = histories(store.queries.history(selection), store.level_notes())
    return html([_cell(each) for each in found]) if found else None


def _cell(found: CellHistory) -> Markup:
    watched = watch_phases(found.nights, expected=found.expected)
    changed = sorted((item for item in watched.items() if item[1].changes), key=_largest, reverse=True)
    if not changed:
        return element("p", f"None of {len(watched)} phases has a new level.")
    more = len(changed) - MOST_SHOWN
    told = [element("p", f"And {more} more phases have a new level.")] if more > 0 else []
    return html([*(_phase(found, name, seen) for name, seen in changed[:MOST_SHOWN]), *told])


def _phase(found: CellHistory, name: str, seen: Watch) -> Markup:
    nights = nights_that_tell(found.nights, name)
    first = max(len(nights) - SHOWN_NIGHTS, 0)
    points = [
        Point(night.at, seconds, f"{night.at:%Y-%m-%d}: {seconds:.1f} s, n={night.n}, {night.run_id}")
        for night in nights[first:]
        if (seconds := seconds_of(night.phases, name)) is not None
    ]
    chart = series_chart(points, levels(seen.changes, len(nights) - 1, first), f"{name}: median seconds, by night")
    return html([chart, element("ul", [element("li", _sentence(change)) for change in reversed(seen.changes)])])


def _sentence(change: Change) -> str:
    how = "back to the level before" if change.recovered else "slower" if change.change_pct > 0 else "faster"
    since = f"Since {change.at:%Y-%m-%d} ({change.run_id}) {how}"
    return f"{since}: {change.before_s:.1f} to {change.after_s:.1f} s ({change.change_pct:+.1f} %)."


def _largest(item: tuple[str, Watch]) -> float:
    return max(abs(change.after_s - change.before_s) for change in item[1].changes)
