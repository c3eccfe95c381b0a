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
# By how much a service may be slower than the baseline's and still count as fast as it.
_SLOWER_PCT: Final = 2.0


def best_of_cloud(book: Book, cloud: str, *, workload: str, setup: str = "static", budget: int) -> Told:
    """Return the record of a cloud: {best, any_speed, runner_up, cheapest, gains, warm_s, tried, ...}, as plain data.

    The search begins on the node autoscaler with the fastest baseline, and goes on from its best on each other one,
    with what exists there only. `best` serves as fast as the baseline; `any_speed` is the fastest of all. A treatment
    that keeps nodes warm has no part in either, which are starts with new nodes; `with_kept_nodes` has the best with
    one of them. `gains`: for each treatment of the best what its absence costs, with its verdict. `cheapest`: of all
    trials that count and take at most CHEAPEST_WITHIN_PCT longer than the best.
    """
    book.budget = budget
    bases = [Combination(cloud, autoscaler, setup, workload, ()) for of, autoscaler in KINDS if of == cloud]
    began = book.run(bases)
    plain = min((one for one in began if one["counts"]), key=_seconds, default=None)
    if plain is None:
        return {"cloud": cloud, "best": None, "why": "; ".join(one["why"] for one in began)}
    known = known_treatments()
    keepers = [name for name in treatments_on(cloud) if "node" in known[name].keeps_warm]
    names = [name for name in treatments_on(cloud) if name not in keepers]
    bases.sort(key=lambda one: one.autoscaler != plain["autoscaler"])
    limit = _speed_limit(plain)
    found = _search(book, bases[0], names, limit)
    for other in bases[1:]:
        at, _ = _fastest(book, bases[:1], limit)
        left = {name for name in names if not book.refuses(other.of([name]))}
        found = _climb(book, other.of(left & set(at.names)), sorted(left), limit)
    base, best = _fastest(book, bases, limit)
    base = base.of(())
    _, any_speed = _fastest(book, bases, 0.0, also=_levels(book, base, best))
    tried = [told for one, told in book.known.items() if one.of(()) in bases]
    counting = sorted((told for told in tried if told["counts"] and _speed(told) >= limit), key=_seconds)
    near = [told for told in counting if told["total_s"] <= best["total_s"] * (1 + CHEAPEST_WITHIN_PCT / 100)]
    warm = trial(base.of(best["names"]), warm=True)
    gains = list(_gains(book, base, best))
    _alone(book, bases, treatments_on(cloud))
    kept = [
        {**told, "gain_s": round(best["total_s"] - told["total_s"], 1) if told["counts"] else None}
        for name in keepers
        for told in _with_keeper(book, base, best, name)
    ]
    return {
        "cloud": cloud,
        "origin": "simulated",
        "workload": workload,
        "setup": setup,
        "autoscaler": base.autoscaler,
        "baseline_s": book.known[base]["total_s"],
        "baseline_tokens_s": book.known[base].get("tokens_s"),
        "best": best,
        "any_speed": any_speed,
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


def _speed(told: Told) -> float:
    """Return how fast a trial's service is; where it was not measured, as fast as any."""
    speed: float | None = told.get("tokens_s")
    return float("inf") if speed is None else speed


def _speed_limit(plain: Told) -> float:
    return (plain.get("tokens_s") or 0.0) * (1 - _SLOWER_PCT / 100)


def _fastest(
    book: Book, bases: Sequence[Combination], limit: float, also: Sequence[Told] = ()
) -> tuple[Combination, Told]:
    """Return the fastest trial that counts and serves fast enough, with the fewest treatments: what saves less than
    polling hides is left out.
    """
    no_keeper = [told for one, told in book.known.items() if one.of(()) in bases and "node" not in told["keeps_warm"]]
    counting = [told for told in (*no_keeper, *also) if told["counts"] and _speed(told) >= limit]
    first = min(map(_seconds, counting))
    best = min((told for told in counting if _seconds(told) < first + _GAIN_S), key=_size)
    base = next(one for one in bases if one.autoscaler == best["autoscaler"])
    return base.of(best["names"]), best


def _levels(book: Book, base: Combination, best: Told) -> list[Told]:
    """Return the best with each level that serves slower, without what the level leaves nothing to do."""
    names = set(best["names"])
    levels = [name for name in treatments_on(base.cloud) if name.startswith("optimization_level_")]
    return book.run([base.of({*kept, level}) for level in levels for kept in (names, names - {"compile_cache"})])


def _alone(book: Book, bases: Sequence[Combination], names: Sequence[str]) -> None:
    """Run every treatment alone on the first node autoscaler where it is possible, and the baseline on that target."""
    book.budget = None
    for name in names:
        one = next((at for base in bases if not book.refuses(at := base.of([name]))), None)
        if one is not None:
            book.run([one.bare(), one])


def _with_keeper(book: Book, base: Combination, best: Told, keeper: str) -> list[Told]:
    """Return the fastest of the best on nodes that are kept warm, with all or all but one of its treatments: what
    brings an image to a new node may do nothing there, or read it again.
    """
    names = set(best["names"])
    found = book.run([base.of({*kept, keeper}) for kept in (names, *(names - {name} for name in best["names"]))])
    return sorted((told for told in found if told["counts"]), key=_seconds)[:1] or found[:1]


def _search(book: Book, base: Combination, names: Sequence[str], limit: float) -> str:
    """Run the search; return how it ended."""
    alone = book.run([base.of([name]) for name in names])
    ranked = sorted((told for told in alone if told["counts"]), key=_seconds)
    current, told = base, book.known[base]
    # One after the other, the most helpful first: what leaves another one nothing to do is seen to be not applied.
    for name in (one["names"][0] for one in ranked if _speed(one) >= limit):
        found = _first(book.run([base.of([*current.names, name])]))
        if found is not None and found["counts"] and _seconds(found) < _seconds(told) - _GAIN_S:
            current, told = base.of(found["names"]), found
    return _climb(book, current, names, limit)


def _climb(book: Book, current: Combination, names: Sequence[str], limit: float) -> str:
    """Change single treatments while that helps; return how it ended."""
    told = _first(book.run([current]))
    if told is None or not told["counts"]:
        current = current.bare().of(())
        told = book.known[current]
    while True:
        if book.budget is not None and book.budget <= 0:
            return "the budget of trials was spent"
        others = [current.of(set(current.names) - {name}) for name in current.names]
        others += [current.of({*current.names, name}) for name in names if name not in current.names]
        others += [current.of({*current.names, new} - {old}) for old, new in _swaps(book, current, names)]
        fit = (one for one in book.run(others) if one["counts"] and _speed(one) >= limit)
        better = min(fit, key=_seconds, default=None)
        if better is None or _seconds(better) > _seconds(told) - _GAIN_S:
            return "no single change makes it faster"
        current, told = current.of(better["names"]), better


def _swaps(book: Book, current: Combination, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (old, new) where a treatment that is left out excludes one that is in: alternatives of one mechanism."""
    for new in names:
        if new not in current.names and book.refuses(current.of({*current.names, new})):
            for old in current.names:
                if not book.refuses(current.of({*current.names, new} - {old})):
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
        any_speed = one["any_speed"]
        if any_speed["names"] != best["names"]:
            slower = any_speed.get("tokens_s")
            shown = "" if slower is None else f", which serves {slower:.1f} tokens/s"
            yield f"  at any speed: {any_speed['total_s']:.0f} s with {_list(any_speed['names'])}{shown}"
        for other in one["with_kept_nodes"]:
            told = f"{other['total_s']:.0f} s" if other["counts"] else f"does not count: {other['why']}"
            yield f"  with nodes kept warm by {_list([n for n in other['names'] if n not in best['names']])}: {told}"
        for word in ("runner_up", "cheapest"):
            other = one[word]
            if other is not None:
                where = "" if other["autoscaler"] == one["autoscaler"] else f", nodes by {other['autoscaler']}"
                yield f"  {word.replace('_', '-')}: {other['total_s']:.0f} s with {_list(other['names'])}{where}"
        yield f"  {one['tried']} combinations tried, {one['search_ended']}; {len(one['did_not_count'])} did not count"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
