"""Charts of plain SVG and HTML that the report and the page inside Airflow share: no library draws them.

Names and numbers are HTML, so they keep their size on a narrow screen; only bars, lines and dots are SVG. Their
positions are per cent of the width, so nothing is distorted. Colours are attributes, because the page's Content
Security Policy refuses inline styles. Every picture says in words what it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from airflow_llm_provisioning.report.markup import Markup, element, html
from airflow_llm_provisioning.report.phase_groups import GROUPS, UNSEPARATED, PhaseGroup

_HEIGHT: Final = 26
_TICKS: Final = 5
# Room right of the longest bar, as a share of the axis.
_MARGIN: Final = 1.02


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar, in seconds from the submission. `label` says what it is; it is read aloud and shown on hover."""

    start_s: float
    end_s: float
    colour: str
    label: str
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a chart. `dots`: (seconds, label) of single trials; `value`: what stands at the end of the row."""

    name: str | Markup
    segments: Sequence[Segment]
    value: str = ""
    dots: Sequence[tuple[float, str]] = ()
    note: str = ""

    @property
    def end_s(self) -> float:
        """Where the row ends."""
        return max([0.0, *(segment.end_s for segment in self.segments), *(at for at, _ in self.dots)])


def bar_chart(bars: Sequence[Bar], title: str, *, longest_s: float | None = None, unit: str = "s") -> Markup:
    """Return rows of bars under one axis. `title`: what the chart shows, for its caption and for screen readers.

    `longest_s`: the end of the axis, so that charts beside each other compare.
    """
    end_s = axis_end(max([longest_s or 0.0, *(bar.end_s for bar in bars)]))
    rows = [element("div", _row(bar, end_s), class_="bar-row", role="listitem") for bar in bars]
    ticks = [element("span", f"{end_s * at / (_TICKS - 1):,.0f}") for at in range(_TICKS)]
    axis = element(
        "div",
        [
            element("span", "", class_="bar-name"),
            element("span", ticks, class_="bar-ticks"),
            element("span", unit, class_="bar-value"),
        ],
        class_="bar-row bar-axis",
        aria_hidden="true",
    )
    drawn = element("div", rows, class_="bars", role="list", aria_label=title)
    return element("figure", [element("figcaption", title), drawn, axis])


def legend(groups: Sequence[PhaseGroup] = (*GROUPS, UNSEPARATED)) -> Markup:
    """Return the colours of the phase groups and the phases in each."""
    items = [
        element("li", [swatch(group.colour), f" {group.title}"], title=", ".join(sorted(group.names)))
        for group in groups
    ]
    return element("ul", items, class_="legend", aria_label="Colours of the phases")


def swatch(colour: str) -> Markup:
    """Return a small square of a colour."""
    square = element("rect", "", width="12", height="12", rx="2", fill=colour)
    return element("svg", square, class_="swatch", width="12", height="12", aria_hidden="true")


def axis_end(longest_s: float) -> float:
    """Return a round number of seconds that holds the longest bar, divisible by the number of ticks."""
    wanted = max(longest_s, 1.0) * _MARGIN
    step = 1.0
    while True:
        for factor in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0):
            end = step * factor * (_TICKS - 1)
            if end >= wanted:
                return end
        step *= 10


def percent(value_s: float, end_s: float) -> str:
    """Return a position on an axis as per cent of its width."""
    return f"{min(max(100 * value_s / end_s, 0.0), 100.0):.3f}%"


def _row(bar: Bar, end_s: float) -> Markup:
    label = f"{bar.name}: {bar.value}" if bar.value else str(bar.name)
    picture = element(
        "svg",
        [*(_segment(segment, end_s) for segment in bar.segments), *(_dot(at, told, end_s) for at, told in bar.dots)],
        width="100%",
        height=str(_HEIGHT),
        role="img",
        aria_label=label,
    )
    note = [element("small", bar.note)] if bar.note else []
    return html(
        [
            element("span", [bar.name, *note], class_="bar-name"),
            element("span", picture, class_="bar-picture"),
            element("span", bar.value, class_="bar-value"),
        ]
    )


def _segment(segment: Segment, end_s: float) -> Markup:
    width_s = max(segment.end_s - segment.start_s, 0.0)
    return element(
        "rect",
        element("title", segment.label),
        x=percent(segment.start_s, end_s),
        y="5",
        width=percent(width_s, end_s),
        height="16",
        fill=segment.colour,
        class_="faint" if segment.faint else "part",
    )


def _dot(at_s: float, label: str, end_s: float) -> Markup:
    return element("circle", element("title", label), cx=percent(at_s, end_s), cy="13", r="3.5", class_="dot")
