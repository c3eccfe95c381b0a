"""The report's charts as inline SVG, drawn without a browser. They use the page's colour, so a dark page works too.

This module knows rows of plain values; the page explains their meaning.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from airflow_llm_provisioning.exceptions import MissingExtraError
from airflow_llm_provisioning.report.phase_groups import GROUPS, UNSEPARATED

Row = Mapping[str, Any]

# The SVG is part of the page: its text and lines use the page's colour, in light and dark mode.
_INK: Final = "currentColor"
_FONT: Final = "Helvetica Neue, Helvetica, Arial, sans-serif"
_INSTANTS_READ: Final = (
    "seconds from submission; dot: likeliest instant, bar: its bounds; red: on the deciding path, blue: off the path"
)
_LOW: Final = "#7fb2e5"
_HIGH: Final = "#d1495b"


def tornado_chart(rows: Sequence[Row], base_pct: float, published_pct: float | None) -> str:
    """Return one bar per number, from the change at its lower end to the change at its upper end.

    Rows of {name, low_pct, high_pct}, the widest first. Vertical lines: the profile's values, and (dashed) the
    published value.
    """
    alt = _altair()
    order = [row["name"] for row in rows]
    halves = [
        {"name": row["name"], "from": base_pct, "to": row[key], "end": end}
        for row in rows
        for key, end in (("low_pct", "lower end"), ("high_pct", "upper end"))
    ]
    y = alt.Y("name:N", sort=order, title=None, axis=_names_axis(alt, 215))
    scale = alt.Scale(zero=False, nice=True)
    bars = (
        alt.Chart(alt.Data(values=halves))
        .mark_bar(height=11)
        .encode(
            x=alt.X("from:Q", scale=scale, title="change of time against the baseline, %"),
            x2="to:Q",
            y=y,
            color=alt.Color(
                "end:N", scale=alt.Scale(domain=["lower end", "upper end"], range=[_LOW, _HIGH]), legend=None
            ),
        )
    )
    layers = [bars, _line(alt, base_pct, [])]
    if published_pct is not None:
        layers.append(_line(alt, published_pct, [5, 4]))
    return _svg(alt.layer(*layers).properties(width=330, height=18 * len(order)))


def staircase_chart(phases: Sequence[Row], milestones: Sequence[Row], *, title: str, subtitle: str) -> str:
    """Return the chart of one trial: its phases above its milestones, on the same axis.

    Phases, one row each: rows of {name, group, start_s, end_s, label}. Milestones with their bounds: rows of {name,
    at_s, earliest_s, latest_s, where, label}.
    """
    alt = _altair()
    first_s = min([0.0, *(row["earliest_s"] for row in milestones)])
    last_s = max([1.0, *(row["latest_s"] for row in milestones), *(row["end_s"] for row in phases)])
    # Space for the text after the last bar.
    seconds = alt.Scale(domain=[first_s, last_s + 0.3 * (last_s - first_s)], nice=False)
    panels = [_steps(alt, phases, seconds)] if phases else []
    drawn = alt.vconcat(*panels, _instants(alt, milestones, seconds), spacing=24).resolve_scale(color="independent")
    heading = alt.TitleParams(title, subtitle=subtitle, anchor="start", color=_INK, subtitleColor=_INK, fontSize=14)
    return _svg(drawn.properties(title=heading))


def _steps(alt: ModuleType, rows: Sequence[Row], seconds: Any) -> Any:
    palette = {group.title: group.colour for group in (*GROUPS, UNSEPARATED)}
    y = alt.Y("name:N", sort=[row["name"] for row in rows], title=None, axis=_names_axis(alt, 270))
    base = alt.Chart(alt.Data(values=list(rows)))
    bars = base.mark_bar(height=12).encode(
        x=alt.X("start_s:Q", scale=seconds, title=None),
        x2="end_s:Q",
        y=y,
        color=alt.Color("group:N", scale=alt.Scale(domain=list(palette), range=list(palette.values())), legend=None),
        description="label:N",
    )
    words = base.mark_text(align="left", dx=5, color=_INK, fontSize=11).encode(
        x=alt.X("end_s:Q", scale=seconds), y=y, text="label:N"
    )
    return alt.layer(bars, words).properties(width=640, height=18 * len(rows))


def _instants(alt: ModuleType, rows: Sequence[Row], seconds: Any) -> Any:
    y = alt.Y("name:N", sort=[row["name"] for row in rows], title=None, axis=_names_axis(alt, 270))
    shade = alt.Color(
        "where:N",
        scale=alt.Scale(domain=["on the deciding path", "off the path"], range=["#d1495b", "#3b6fb6"]),
        legend=None,
    )
    base = alt.Chart(alt.Data(values=list(rows)))
    bounds = base.mark_rule(strokeWidth=5, opacity=0.35).encode(
        x=alt.X("earliest_s:Q", scale=seconds, title=_INSTANTS_READ),
        x2="latest_s:Q",
        y=y,
        color=shade,
        description="label:N",
    )
    points = base.mark_point(filled=True, size=38, opacity=1).encode(x=alt.X("at_s:Q", scale=seconds), y=y, color=shade)
    return alt.layer(bounds, points).properties(width=640, height=16 * len(rows))


def _line(alt: ModuleType, at_pct: float, dash: Sequence[int]) -> Any:
    mark = alt.Chart(alt.Data(values=[{"at": at_pct}])).mark_rule(color=_INK, strokeDash=list(dash), strokeWidth=1.2)
    return mark.encode(x="at:Q")


def _names_axis(alt: ModuleType, width: int) -> Any:
    return alt.Axis(minExtent=width, maxExtent=width, labelLimit=width - 8, domain=False, ticks=False)


def _svg(chart: Any) -> str:
    vl_convert = _vl_convert()
    axis = {"labelColor": _INK, "titleColor": _INK, "tickColor": _INK, "domainColor": _INK, "gridColor": "#88888840"}
    text = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    drawn = (
        chart.configure(background="transparent", font=_FONT).configure_view(stroke=None).configure_axis(**axis, **text)
    )
    svg: str = vl_convert.vegalite_to_svg(drawn.to_dict())
    return svg[svg.index("<svg") :]


def _altair() -> ModuleType:
    try:
        import altair as alt
    except ImportError as error:
        raise _missing("altair") from error
    module: ModuleType = alt
    return module


def _vl_convert() -> ModuleType:
    try:
        import vl_convert
    except ImportError as error:
        raise _missing("vl-convert-python") from error
    module: ModuleType = vl_convert
    return module


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(
        f"The report's charts cannot be drawn: {package} is not installed. "
        "Install the extra: pip install 'airflow-llm-provisioning[report]'."
    )
