"""*History*: what each night measured of a cell, when a new level began, why, and who knows of it."""

from collections.abc import Sequence
from typing import Final

from airflow_llm_provisioning.core.alarm import Change
from airflow_llm_provisioning.core.nights import Cell, Night
from airflow_llm_provisioning.decisions.changes import CellHistory, histories
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection
from airflow_llm_provisioning.report.bars import Bar, Segment, bar_chart, legend
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table
from airflow_llm_provisioning.report.phase_groups import GROUPS, UNSEPARATED, group_of, position
from airflow_llm_provisioning.report.results_sections import origin_badge
from airflow_llm_provisioning.report.series_chart import Level, Point, series_chart
from airflow_llm_provisioning.ui.layout import address, choice, later, link, notice, section

LEAD: Final = "What each DAG run measured of a cell, where a new level began, and what changed in that night."
SHOWN_NIGHTS: Final = 90
MOST_CELLS: Final = 60
_BARS: Final = 14


def history_view(store: ResultsStore, selection: Selection, wanted: str | None) -> Markup:
    """Return the view of one cell: the wanted one (`Cell.key`), else the first. Its nights are loaded after it."""
    cells = store.queries.cells(selection)[:MOST_CELLS]
    if not cells:
        return notice("There are no comparable trials that you may see, so there is no history.")
    chosen = next((cell for cell in cells if cell.key == wanted), cells[0])
    form = element(
        "form",
        [
            choice("cell", "Cell", {cell.key: f"{cell.label} ({cell.origin})" for cell in cells}, chosen.key),
            element("button", "Show", type="submit"),
        ],
        method="get",
        action="history",
        class_="filters",
    )
    return html([form, later(address("history/nights", cell=chosen.key), "Reading the nights ...")])


def nights_view(store: ResultsStore, selection: Selection, may_acknowledge: bool) -> Markup | None:
    """Return the nights of a selection's cell; None where there is no such cell.

    `may_acknowledge`: whether the user may acknowledge anything.
    """
    cells = store.queries.cells(selection)
    if not cells:
        return None
    found = histories(store.queries.history(selection), store.level_notes())
    return html([_cell(each, may_acknowledge) for each in found] or _none(cells[0]))


def _none(cell: Cell) -> Markup:
    return notice(f"No night of {cell.label} can be compared.")


def _cell(found: CellHistory, may_acknowledge: bool) -> Markup:
    nights = found.nights[-SHOWN_NIGHTS:]
    first = len(found.nights) - len(nights)
    phases = address("history/phases", cell=found.cell.key)
    title = f"{found.cell.label}: median seconds to the ready endpoint, night by night"
    shown = levels(found.watched.changes, len(found.nights) - 1, first)
    told = [_change(found, change, may_acknowledge) for change in reversed(found.watched.changes)]
    return section(
        found.cell.label,
        [
            element("p", [origin_badge(found.cell.origin), f" {len(found.nights)} nights."]),
            *_alarm(found),
            series_chart([_point(night) for night in nights], shown, title),
            *(told or [_quiet(found)]),
            *_phases(nights[-_BARS:]),
            element("h3", "Phases with a new level"),
            later(phases, "Reading the phases ..."),
            folded("The nights as a table", _nights(nights)),
        ],
    )


def _alarm(found: CellHistory) -> list[Markup]:
    alarm = found.open_alarm
    return [] if alarm is None else [notice([element("strong", "SLOWER "), str(alarm)], "alarm")]


def _quiet(found: CellHistory) -> Markup:
    if found.watched.nights_until:
        return element("p", f"A change can be told in {found.watched.nights_until} more nights.")
    return element("p", "No change of level was found.")


def _change(found: CellHistory, change: Change, may_acknowledge: bool) -> Markup:
    better = change.recovered or change.change_pct < 0
    note = found.acknowledged(change)
    parts = [element("p", str(change))]
    if note is not None:
        parts.append(element("p", f"Acknowledged by {note.by} on {note.at:%Y-%m-%d %H:%M}: {note.why}", class_="quiet"))
    elif not better and may_acknowledge:
        parts.append(_acknowledge(found.cell, change))
    elif not better:
        parts.append(element("p", "Not acknowledged.", class_="quiet"))
    return element("div", parts, class_="change better" if better else "change")


def _acknowledge(cell: Cell, change: Change) -> Markup:
    hidden = [
        element("input", "", type="hidden", name=name, value=value)
        for name, value in (("cell", cell.key), ("run_id", change.run_id))
    ]
    why = element("input", "", type="text", name="why", required="required", maxlength="500", size="50")
    return element(
        "form",
        [
            *hidden,
            element("label", [element("span", "Why is this known and accepted?"), why]),
            element("button", "Acknowledge", type="submit"),
            element("p", "", class_="said", data_said="", role="status"),
        ],
        data_acknowledge="",
        action="acknowledge",
        class_="filters",
    )


def _point(night: Night) -> Point:
    return Point(night.at, night.total_s, f"{night.at:%Y-%m-%d}: {night.total_s:.1f} s, n={night.n}, {night.run_id}")


def levels(changes: Sequence[Change], last: int, first: int) -> list[Level]:
    """Return the levels between changes, as far as the nights from `first` to `last` are shown."""
    found = []
    for at, change in enumerate(changes):
        later = changes[at + 1].since if at + 1 < len(changes) else last
        kind = "better" if change.recovered or change.change_pct < 0 else "worse"
        if later >= first:
            found.append(Level(max(change.since - first, 0), later - first, change.after_s, kind))
    return found


def _phases(nights: Sequence[Night]) -> list[Markup]:
    bars = [_bar(night) for night in nights if night.phases]
    if not bars:
        return []
    used = [g for g in (*GROUPS, UNSEPARATED) if any(group_of(name) == g for night in nights for name in night.phases)]
    return [bar_chart(bars, f"Median seconds of each phase, the last {len(bars)} nights"), legend(used)]


def _bar(night: Night) -> Bar:
    segments: list[Segment] = []
    for name in sorted(night.phases, key=position):
        start_s = segments[-1].end_s if segments else 0.0
        seconds = night.phases[name]
        segments.append(Segment(start_s, start_s + seconds, group_of(name).colour, f"{name}: {seconds:.1f} s"))
    return Bar(f"{night.at:%Y-%m-%d}", segments, f"{night.total_s:.0f} s")


def _nights(nights: Sequence[Night]) -> Markup:
    rows = [
        {
            "at": f"{night.at:%Y-%m-%d %H:%M}",
            "run": link(night.run_id, "results", run=night.run_id),
            "n": night.n,
            "total_s": night.total_s,
            "facts": "; ".join(f"{name} {', '.join(sorted(values))}" for name, values in night.facts.items()),
        }
        for night in reversed(nights)
    ]
    return table({"at": "night", "run": "DAG run", "n": "n", "total_s": "median (s)", "facts": "what held"}, rows)
