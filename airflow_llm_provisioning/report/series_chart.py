"""A history as plain SVG: one point per night, the levels, and where a new level began. Positions are per cent of the
width, so that it is readable on a narrow screen; colours are classes, because the page has a dark mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from airflow_llm_provisioning.report.axis import Axis, percent
from airflow_llm_provisioning.report.markup import Markup, element

_HEIGHT: Final = 200
_TOP: Final = 14
_BOTTOM: Final = 176
_LEFT: Final = 6.0
_RIGHT: Final = 99.0
_LINES: Final = 2


@dataclass(frozen=True, slots=True)
class Point:
    """One night. `label`: what it is, for a reader that hovers."""

    at: datetime
    value_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Level:
    """A level from one night to another, by their positions in the list of points. `kind`: `worse`, `better` or ""."""

    first: int
    last: int
    value_s: float
    kind: str = ""


def series_chart(points: Sequence[Point], levels: Sequence[Level], title: str) -> Markup:
    """Return the chart. `title`: what it shows, for its caption and for screen readers."""
    axis = Axis.holding(max(point.value_s for point in points))
    parts = [*_grid(axis)]
    parts += [_level(level, len(points), axis) for level in levels]
    parts += [_line(points, at, axis) for at in range(1, len(points))]
    parts += [_dot(point, at, len(points), axis) for at, point in enumerate(points)]
    parts += [
        _text(_LEFT, _HEIGHT - 4, f"{points[0].at:%Y-%m-%d}", "start"),
        _text(_RIGHT, _HEIGHT - 4, f"{points[-1].at:%Y-%m-%d}", "end"),
    ]
    drawn = element("svg", parts, width="100%", height=str(_HEIGHT), class_="series", role="img", aria_label=title)
    return element("figure", [element("figcaption", title), drawn])


def _grid(axis: Axis) -> list[Markup]:
    found = []
    for value, told in axis.ticks(_LINES):
        y = _y(value, axis)
        found.append(element("line", "", x1=f"{_LEFT}%", x2=f"{_RIGHT}%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        found.append(_text(0, y + 4, told, "start"))
    return found


def _level(level: Level, count: int, axis: Axis) -> Markup:
    y = f"{_y(level.value_s, axis):.1f}"
    return element(
        "line",
        element("title", f"level {level.value_s:.1f} s"),
        x1=_x(level.first, count),
        x2=_x(level.last, count),
        y1=y,
        y2=y,
        stroke_width="3",
        opacity="0.5",
        class_=level.kind or "grid",
    )


def _line(points: Sequence[Point], at: int, axis: Axis) -> Markup:
    before, here = points[at - 1], points[at]
    return element(
        "line",
        "",
        x1=_x(at - 1, len(points)),
        y1=f"{_y(before.value_s, axis):.1f}",
        x2=_x(at, len(points)),
        y2=f"{_y(here.value_s, axis):.1f}",
        class_="line",
    )


def _dot(point: Point, at: int, count: int, axis: Axis) -> Markup:
    return element(
        "circle",
        element("title", point.label),
        cx=_x(at, count),
        cy=f"{_y(point.value_s, axis):.1f}",
        r="3.5",
        class_="night",
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return element("text", text, x=f"{x}%", y=f"{y:.1f}", text_anchor=anchor)


def _x(at: int, count: int) -> str:
    share = at / max(count - 1, 1)
    return percent((_LEFT + share * (_RIGHT - _LEFT)) / 100)


def _y(value_s: float, axis: Axis) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * axis.share(value_s)
