"""A calibration as text for a terminal and for the documentation. It reads its plain data only."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Row = Mapping[str, Any]

# A range that is left as wide as this share of the prior says nothing new.
SHOWN_UP_TO: Final = 0.8


def calibration_lines(found: Row) -> list[str]:
    """Return the lines: the answer, the statements, what cannot hold together, the ranges, what the model lacks."""
    return [
        "SIMULATED. Which worlds of the profiles' ranges agree with the statements; shipped profiles are not changed.",
        *_answer(found),
        "",
        *_statements(found),
        *_conflicts(found),
        "",
        *_posterior(found),
        *_lacking(found),
    ]


def _answer(found: Row) -> Iterator[str]:
    total, met = found["statements_total"], found["statements_met"]
    name = f"the statements {found['statements']!r}" if found["statements"] != "origin" else "the origin"
    if found["consistent"]:
        yield f"ANSWER: consistent with {name}: {met} of {total} statements hold in one world of whole trials."
    else:
        yield f"ANSWER: not consistent with {name}: at most {met} of {total} statements hold in one world."
        yield f"  all together: nearest at {found['nearest_distance']} times what is allowed"
        for row in found["left_out"]:
            yield (
                f"  left out: {row['statement']}: nearest kept world {_number(row['found'])} {row['unit']}, by "
                f"{row['missed_by']:+g} (allowed {row['within']:g})"
            )
    error, confirmed = found["surrogate_error"], found["confirmed"]
    yield (
        f"{found['worlds_looked_at']} worlds of {found['parameters']} parameters by a surrogate fitted to "
        f"{found['trials_fitted']} whole trials (seed {found['seed']}); its error against trials left out of the fit: "
        f"median {error['median_pct']} %, 95 % below {error['p95_pct']} %, worst {error['worst_pct']} %."
    )
    yield (
        f"{confirmed['worlds']} of its nearest worlds were run as whole trials: error median "
        f"{confirmed['error_median_pct']} %, worst {confirmed['error_worst_pct']} %; the kept statements hold in "
        f"{confirmed['kept_hold_in']} of them."
    )


def _statements(found: Row) -> Iterator[str]:
    kept = set(found["kept"])
    best = {row["statement"]: row for row in found["confirmed"]["statements_of_best"]}
    yield "Statements: share of the prior in which each holds alone; nearest value; value in the best whole world."
    for row in found["alone"]:
        mark = "kept" if row["statement"] in kept else ("left out" if row["reached"] else "out of reach")
        whole = best[row["statement"]]
        share = f"{100 * row['share_of_prior']:5.1f} %"
        nearest = f"nearest {_number(row['nearest'])} {row['unit']}"
        yield f"  {mark:12} {row['statement']:58} {share}   {nearest}, best world {_number(whole['found'])}"


def _conflicts(found: Row) -> Iterator[str]:
    for names in found["as_many_without"] if len(found["as_many_without"]) > 1 else ():
        yield f"  as many hold without {' and without '.join(names)}"
    if not found["excluding_pairs"]:
        yield "  no two of the statements that hold alone exclude each other"
    for row in found["excluding_pairs"]:
        one, other = row["statements"]
        apart = f"nearest at {row['nearest_distance']} times the allowed"
        yield f"  not together in any world: {one!r} and {other!r} ({apart})"


def _posterior(found: Row) -> Iterator[str]:
    told, silent = _split(found["posterior"])
    yield f"Ranges that hold 90 % of the {found['posterior_worlds']} worlds kept, the narrowest first:"
    for row in told:
        low, high = row["posterior"]
        yield (
            f"  {row['parameter']:36} {_number(low):>9} .. {_number(high):<9} of {_number(row['prior'][0])} .. "
            f"{_number(row['prior'][1])} {row['unit']}"
        )
    yield f"  not narrowed: {', '.join(row['parameter'] for row in silent) or 'none'}"


def _split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    told = [row for row in rows if row["narrowed_to"] <= SHOWN_UP_TO]
    return told, [row for row in rows if row["narrowed_to"] > SHOWN_UP_TO]


def _lacking(found: Row) -> Iterator[str]:
    if not found["lacking"] and not found["lacking_together"]:
        return
    yield ""
    yield "What would have to be measured, for a left-out statement to hold beside the kept ones:"
    for row in found["lacking"]:
        yield f"  {row['statement']}: if {row['mechanism']}: {_needed(row)}"
    if found["lacking_together"]:
        row = found["lacking_together"]
        yield f"  all statements, if {row['mechanism']}: {_needed(row)}"


def _needed(row: Row) -> str:
    if not row["suffices"]:
        return f"does not suffice (nearest at {row['nearest_distance']} times the allowed)"
    parts = []
    for item in row["needed"]:
        low, high = item["posterior"]
        known = item["documented"]
        beside = "in no profile" if known is None else f"documented {_number(known[0])} .. {_number(known[1])}"
        parts.append(f"{item['parameter']} {_number(low)} .. {_number(high)} ({beside})")
    return f"{'; '.join(parts)}; in whole trials {row['whole_trials']} statements hold"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.4g}"
