"""The fastest cold start per cloud over all installed treatments, and how near it comes to the targets.

A search within a budget of trials. First every treatment alone; then one is added after the other, the most helpful
first, where the trial counts and is faster; then single ones are left out, added or exchanged, until nothing helps. It
finds a combination that no single change improves. It does not prove that there is no faster one.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from proof.targets import KINDS

from airflow_llm_provisioning.core.treatments import known_treatments
from searched.trials import Book, Combination, Told, treatments_on, trial

COLD_TARGET_S: Final = 180.0
WARM_TARGET_S: Final = 30.0
CHEAPEST_WITHIN_PCT: Final = 10.0
CLOUDS: Final = ("eks", "gke", "aks")
# Polling hides differences below this.
_GAIN_S: Final = 1.0


def best_of_cloud(book: Book, cloud: str, *, workload: str, setup: str = "static", budget: int) -> Told:
    """Return the record of a cloud: {best, runner_up, cheapest, gains, warm_s, tried, ...}, as plain data.

    A treatment that keeps nodes warm has no part in the best, which is a start with new nodes; `with_kept_nodes` has
    the best with one of them. `gains`: for each treatment of the best what its absence costs, with its verdict.
    `cheapest`: of all trials that count and take at most CHEAPEST_WITHIN_PCT longer than the best.
    """
    book.budget = budget
    bases = [Combination(cloud, autoscaler, setup, workload, ()) for of, autoscaler in KINDS if of == cloud]
    began = book.run(bases)
    fastest = min((one for one in began if one["counts"]), key=_seconds, default=None)
    if fastest is None:
        return {"cloud": cloud, "best": None, "why": "; ".join(one["why"] for one in began)}
    base = next(one for one in bases if one.autoscaler == fastest["autoscaler"])
    keepers = [name for name in treatments_on(cloud) if "node" in known_treatments()[name].keeps_warm]
    found = _search(book, base, [name for name in treatments_on(cloud) if name not in keepers])
    tried = [told for one, told in book.known.items() if one.of(()) == base]
    counting = sorted((told for told in tried if told["counts"]), key=_seconds)
    # What saves less than polling hides is left out.
    best = min((one for one in counting if _seconds(one) < _seconds(counting[0]) + _GAIN_S), key=_size)
    near = [told for told in counting if told["total_s"] <= best["total_s"] * (1 + CHEAPEST_WITHIN_PCT / 100)]
    warm = trial(base.of(best["names"]), warm=True)
    gains = list(_gains(book, base, best))
    book.run([base.of([name]) for name in keepers])
    kept = [
        {**told, "gain_s": round(best["total_s"] - told["total_s"], 1) if told["counts"] else None}
        for told in book.run([base.of([*best["names"], name]) for name in keepers])
    ]
    return {
        "cloud": cloud,
        "origin": "simulated",
        "workload": workload,
        "setup": setup,
        "autoscaler": base.autoscaler,
        "baseline_s": fastest["total_s"],
        "baseline_tokens_s": fastest.get("tokens_s"),
        "best": best,
        "runner_up": next((one for one in counting if _seconds(one) >= _seconds(best) + _GAIN_S), None),
        "cheapest": min(near, key=_price),
        "gains": gains,
        "with_kept_nodes": kept,
        "warm_s": warm["total_s"] if warm["start"] == "warm" else None,
        "warm_why": warm["why"],
        "cold_target_met": best["total_s"] < COLD_TARGET_S,
        "warm_target_met": warm["total_s"] is not None and warm["total_s"] < WARM_TARGET_S,
        "tried": len(tried),
        "did_not_count": [{"names": told["names"], "why": told["why"]} for told in tried if not told["counts"]],
        "refused": [{"names": list(one.names), "why": why} for one, why in book.refused.items() if one.of(()) == base],
        "search_ended": found,
    }


def _search(book: Book, base: Combination, names: Sequence[str]) -> str:
    """Run the search; return how it ended."""
    alone = book.run([base.of([name]) for name in names])
    ranked = sorted((told for told in alone if told["counts"]), key=_seconds)
    current, told = base, book.known[base]
    # One after the other, the most helpful first: what leaves another one nothing to do is seen to be not applied.
    for name in (one["names"][0] for one in ranked):
        found = _first(book.run([base.of([*current.names, name])]))
        if found is not None and found["counts"] and _seconds(found) < _seconds(told) - _GAIN_S:
            current, told = base.of(found["names"]), found
    while True:
        if book.budget is not None and book.budget <= 0:
            return "the budget of trials was spent"
        others = [current.of(set(current.names) - {name}) for name in current.names]
        others += [current.of({*current.names, name}) for name in names if name not in current.names]
        others += [current.of({*current.names, new} - {old}) for old, new in _swaps(current.names, names)]
        better = min((one for one in book.run(others) if one["counts"]), key=_seconds, default=None)
        if better is None or _seconds(better) > _seconds(told) - _GAIN_S:
            return "no single change makes it faster"
        current, told = base.of(better["names"]), better


def _swaps(inside: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (old, new) where a treatment that is left out excludes one that is in: alternatives of one mechanism."""
    known = known_treatments()
    for old in inside:
        for new in names:
            same = known[old].group is not None and known[old].group == known[new].group
            if new not in inside and same:
                yield old, new


def _gains(book: Book, base: Combination, best: Told) -> Iterator[Told]:
    """Yield for each treatment of the best what a start without it takes more, and the verdict of its own claim."""
    book.budget = None
    for name in best["names"]:
        without = _first(book.run([base.of(set(best["names"]) - {name})]))
        counts = without is not None and without["counts"]
        yield {
            "treatment": name,
            "verdict": best["verdicts"].get(name, "none"),
            "gain_s": round(without["total_s"] - best["total_s"], 1) if without and counts else None,
            "why": "" if counts else ("refused without it" if without is None else without["why"]),
        }


def _first(found: Sequence[Told]) -> Told | None:
    return found[0] if found else None


def _seconds(told: Told) -> float:
    total: float = told["total_s"]
    return total


def _size(told: Told) -> tuple[int, float]:
    return len(told["names"]), _seconds(told)


def _price(told: Told) -> tuple[float, int, float]:
    """Return what ranks the cheapest: nodes and disks that cost money while idle, what must be prepared, the start."""
    hour = [value for value in told["usd_hour"].values() if value is not None]
    idle = sum(hour) if "node" in told["keeps_warm"] else 0.0
    return idle, len(told["prepared"]), sum(hour) * told["total_s"] / 3600


def record_lines(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the records as text."""
    for one in found:
        yield ""
        if one["best"] is None:
            yield f"{one['cloud'].upper()}: no trial counts: {one['why']}"
            continue
        best = one["best"]
        yield (
            f"{one['cloud'].upper()} SIMULATED, {one['workload']}, {one['setup']}, {one['autoscaler']}: baseline "
            f"{one['baseline_s']:.0f} s, best {best['total_s']:.0f} s with {', '.join(best['names'])} "
            f"(target {COLD_TARGET_S:.0f} s {'met' if one['cold_target_met'] else 'not met'})"
        )
        before, after = one["baseline_tokens_s"], best.get("tokens_s")
        known = before is not None and after is not None
        served = f"{after:.1f} tokens/s, the baseline {before:.1f}" if known else "speed of serving not known"
        yield f"  serves: {served}"
        warm = "not measured" if one["warm_s"] is None else f"{one['warm_s']:.0f} s"
        met = "met" if one["warm_target_met"] else "not met"
        yield f"  warm: {warm} (target {WARM_TARGET_S:.0f} s {met}); kept warm on purpose: {_list(best['keeps_warm'])}"
        yield f"  floor: {best['floor'] or 'not known'}; {best['floor_gap'] or ''}"
        for gain in one["gains"]:
            told = f"{gain['gain_s']:+.1f} s" if gain["gain_s"] is not None else gain["why"]
            yield f"  without {gain['treatment']}: {told} (applied: {gain['verdict']})"
        for other in one["with_kept_nodes"]:
            told = f"{other['total_s']:.0f} s" if other["counts"] else f"does not count: {other['why']}"
            yield f"  with nodes kept warm by {_list([n for n in other['names'] if n not in best['names']])}: {told}"
        for word in ("runner_up", "cheapest"):
            other = one[word]
            if other is not None:
                yield f"  {word.replace('_', '-')}: {other['total_s']:.0f} s with {_list(other['names'])}"
        yield f"  {one['tried']} combinations tried, {one['search_ended']}; {len(one['did_not_count'])} did not count"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
