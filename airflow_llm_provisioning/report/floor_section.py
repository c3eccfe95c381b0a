"""The part about floors of the report and of the page: how far above its limit each step is, and where to work."""

from collections.abc import Iterator, Sequence
from typing import Final

from airflow_llm_provisioning.core.floor import ArmFloor, best_of, cold_sentence, gap_sentence, next_sentence
from airflow_llm_provisioning.report.floor_tables import (
    FLOOR_SHOWN,
    READ_FLOOR_SO,
    floor_rows,
    floor_shown,
    floor_title,
)
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table

_COLUMNS: Final = {key: heading for key, heading in FLOOR_SHOWN.items() if key != "origin"} | {
    "floor_source": "where its numbers were read"
}


def floor_sections(found: Sequence[ArmFloor]) -> Iterator[Markup]:
    """Yield one section about these arms; nothing where none has phases."""
    if not found:
        return
    best = [element("li", [_named(item), cold_sentence(item)]) for item in best_of(found)]
    reading = element("ul", [element("li", sentence) for sentence in READ_FLOOR_SO], class_="quiet")
    parts = [element("h2", "Distance to the floor"), element("ul", best), *map(arm_floor, found), reading]
    yield element("section", parts, id="floor")


def arm_floor(item: ArmFloor) -> Markup:
    """Return what is said about one arm, and its steps folded away."""
    rows = floor_rows([item])
    said = [element("p", text) for text in (gap_sentence(item), next_sentence(item)) if text]
    title = f"{floor_title(rows[0])}: {rows[0]['origin']}"
    return html([element("h3", title), *said, folded("Every step", table(_COLUMNS, list(map(floor_shown, rows))))])


def _named(item: ArmFloor) -> str:
    stratum = item.path.arm.stratum
    return f"{stratum.label} ({stratum.origin}), best arm {item.path.arm.variant}: "
