"""Charts of plain SVG and HTML that the report and the page inside Airflow share: no library draws them.

Names and numbers are HTML, so they keep their size on a narrow screen; only bars, lines and dots are SVG. Their
positions are per cent of the width, so nothing is distorted. Colours are attributes, because the page's Content
Security Policy refuses inline styles. Every picture says in words what it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from airflow_llm_provisioning.report.axis import Axis
from airflow_llm_provisioning.report.markup import Markup, element, html
from airflow_llm_provisioning.report.phase_groups import GROUPS, UNSEPARATED, PhaseGroup

_HEIGHT: Final = 26


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
    scale = Axis.holding(max([longest_s or 0.0, *(bar.end_s for bar in bars)]))
    rows = [element("div", _row(bar, scale), class_="bar-row", role="listitem") for bar in bars]
    ticks = [element("span", told) for _, told in scale.ticks()]
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


def _row(bar: Bar, scale: Axis) -> Markup:
    label = f"{bar.name}: {bar.value}" if bar.value else str(bar.name)
    picture = element(
        "svg",
        [*(_segment(segment, scale) for segment in bar.segments), *(_dot(at, told, scale) for at, told in bar.dots)],
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


def _segment(segment: Segment, scale: Axis) -> Markup:
    width_s = max(segment.end_s - segment.start_s, 0.0)
    return element(
        "rect",
        element("title", segment.label),
        x=scale.percent(segment.start_s),
        y="5",
        width=scale.percent(width_s),
        height="16",
        fill=segment.colour,
        class_="faint" if segment.faint else "part",
    )


def _dot(at_s: float, label: str, scale: Axis) -> Markup:
    return element("circle", element("title", label), cx=scale.percent(at_s), cy="13", r="3.5", class_="dot")
