"""Floors as rows and as text: how many times its floor each step takes, and where the next seconds are to be had."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.floor import ArmFloor, best_of, cold_sentence, gap_sentence, next_sentence
from airflow_llm_provisioning.report.escaping import cell_text
from airflow_llm_provisioning.report.text_table import text_table, wrapped

Row = dict[str, Any]

FLOOR_SHOWN: Final = {
    "step": "step",
    "mean_s": "mean (s)",
    "floor": "floor (s)",
    "times": "times",
    "above_s": "at most to be had (s)",
    "kind": "kind",
    "decided_by": "decided by",
    "origin": "origin",
}
READ_FLOOR_SO: Final = (
    "floor: what bytes over rates allow (physical), or the shortest on record; a range where the source gives one",
    "times: the mean over the floor, from the slowest to the fastest floor; empty: facts for a floor are missing",
    "avoidable: nothing needs this step; a way to leave it out is known",
    "whole cold path: a new node, one image pull, the worker's Ray, weights and engine, one after the other",
)


def floor_rows(found: Iterable[ArmFloor]) -> list[Row]:
    """Return one flat row per arm and step, the sentences about the arm in `told`."""
    listed = list(found)
    best = {id(item) for item in best_of(listed)}
    return [row | {"told": _told(item, best=id(item) in best)} for item in listed for row in item.rows()]


def _told(item: ArmFloor, *, best: bool) -> str:
    parts = (gap_sentence(item), next_sentence(item), cold_sentence(item) if best else "")
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


def floor_tables(rows: Sequence[Row], width: int) -> str:
    """Return a table per arm with what is said about it, and how to read it."""
    parts = []
    for key in dict.fromkeys((row["arm"]) for row in rows):
        group = [row for row in rows if row["arm"] == key]
        parts.append(text_table(floor_title(group[0]), [floor_shown(row) for row in group], FLOOR_SHOWN, width))
        parts += [f"{wrapped(group[0]['told'], width)}\n"] if group[0]["told"] else []
    parts.append("".join(f"{wrapped(sentence, width)}\n" for sentence in READ_FLOOR_SO))
    return "\n".join(parts)


def floor_title(row: Mapping[str, Any]) -> str:
    """Return the heading of an arm's table."""
    names = (str(row[name]) for name in ("autoscaler", "setup", "workload", "variant") if row[name])
    return cell_text(f"{str(row['cloud']).upper()}: {', '.join(names)}, n = {row['n']}")


def floor_shown(row: Row) -> Row:
    """Return a row with what a person reads: `floor` and `times` as ranges."""
    floor = _range(row["floor_low_s"], row["floor_high_s"])
    times = _range(row["times_floor_low"], row["times_floor_high"])
    return row | {"floor": floor, "times": f"{times}x" if times else ""}


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    one, other = f"{low:.1f}", f"{high:.1f}"
    return one if one == other else f"{one} to {other}"
