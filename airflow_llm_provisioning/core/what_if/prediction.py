"""Draws totals of a variant that was never run, and says what they rest on.

Two uncertainties meet in the interval. What is known of a mechanism is a range: every draw takes one place in it, the
same for all phases that depend on the same source. What differs from run to run is seen in the user's own trials: the
totals of the frame's trials, each put together with the changed spans, spread (`spread`), and the spread of so few
counts by Student's distribution. Nothing is fitted.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Final

from airflow_llm_provisioning.core.effects import Between
from airflow_llm_provisioning.core.statistics import MIN_FOR_INTERVAL
from airflow_llm_provisioning.core.treatments import Treatment
from airflow_llm_provisioning.core.what_if.sources import PhaseSource, Sources, sources
from airflow_llm_provisioning.core.what_if.spread import run_to_run, shuffled
from airflow_llm_provisioning.core.what_if.starts import Early, MeasuredStart

CONFIDENCE: Final = 0.90
_DRAWS: Final = 400
# Draws whose trials' spans are mixed.
_MIXED: Final = 100
_SEED: Final = 20260101
# safetensors from the page cache to one GPU: Llama-2-13B, 26 GB in 12 s, and Llama-2-7B, 13.5 GB in 7.4 s, are the fast
# end; a slow host copies 0.5 GB/s. It parts a download from a load that the log did not tell apart.
_LOAD_BYTES_S: Final = Between(0.5e9, 2.1e9, "weights go from the page cache to the GPU at 0.5 to 2.1 GB/s")
PULL: Final = "worker_image_pull"
_DOWNLOAD: Final = ("weight_download", "model_load")


@dataclass(frozen=True, slots=True)
class PhaseOutlook:
    """One phase that is not taken over from the frame. Seconds are means; `low_s`, `high_s`: its range. `by`: what
    changes it; `sources`: of the ranges, empty where it was measured.
    """

    phase: str
    before_s: float
    low_s: float
    high_s: float
    by: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """The total of a variant that was never run. `low_s`, `high_s`: 90 % of later totals are expected inside; None with
    fewer than three trials to tell how totals spread. `middle_s`: as many draws below as above. `frame`: label of the
    arm whose trials were changed, `frame_s` its mean total, `n` their number.
    """

    treatments: tuple[str, ...]
    frame: str
    frame_s: float
    n: int
    middle_s: float
    low_s: float | None
    high_s: float | None
    mechanism_low_s: float
    mechanism_high_s: float
    phases: tuple[PhaseOutlook, ...]
    assumptions: tuple[str, ...]

    def holds(self, total_s: float) -> bool | None:
        """Return whether a total is inside the interval; None without one."""
        return None if self.low_s is None or self.high_s is None else self.low_s <= total_s <= self.high_s


def predict(arms: Sequence[Sequence[MeasuredStart]], wanted: Sequence[Treatment]) -> Prediction:
    """Return what a variant would take. `arms`: the comparable trials of one stratum by arm; `wanted`: the variant's
    treatments in their order. Raises ConfigurationError where the trials and mechanisms do not tell it.
    """
    found = sources([starts for starts in arms if starts], wanted)
    rng = random.Random(_SEED)
    n = len(found.frame)
    parts = [_parts(found, at) for at in range(n)]
    worlds = [_Places(rng) for _ in range(_DRAWS)]
    put_together = [[_spans(found, at, parts[at], places) for at in range(n)] for places in worlds]
    early = [[_early(found, each, places) for each in parts] for places in worlds]
    drawn = [_totals(found, *of) for of in zip(put_together, early, strict=True)]
    middles = [fmean(each) for each in drawn]
    totals = []
    if n >= MIN_FOR_INTERVAL:
        noise, computed = run_to_run(found.frame), _computed(found)
        # Three totals may agree by chance where their phases do not: what the phases say is a second count.
        mixed = (_totals(found, shuffled(of, rng), early[at]) for at, of in enumerate(put_together[:_MIXED]))
        apart = fmean(variance(each) for each in mixed)
        for places, each in zip(worlds, drawn, strict=True):
            squares = sum(_computed_s(source, seconds, places) ** 2 for source, seconds in computed)
            spread = math.sqrt(max(variance(each), apart) + noise**2 * squares)
            totals.append(fmean(each) + spread * math.sqrt(1 + 1 / n) * _student(n - 1, rng))
    tail = (1 - CONFIDENCE) / 2
    return Prediction(
        treatments=tuple(item.name for item in wanted),
        frame=found.frame[0].facts.arm.label,
        frame_s=fmean(start.total_s for start in found.frame),
        n=n,
        middle_s=_quantile(middles, 0.5),
        low_s=max(0.0, _quantile(totals, tail)) if totals else None,
        high_s=_quantile(totals, 1 - tail) if totals else None,
        mechanism_low_s=min(middles),
        mechanism_high_s=max(middles),
        phases=tuple(_outlooks(found)),
        assumptions=(*found.assumptions, *_rests_on(found, n)),
    )


class _Places:
    """A place in every range of one draw, the same for ranges of one source."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._drawn: dict[str, float] = {}

    def of(self, source: str) -> float:
        """Return the place of a source, 0 to 1."""
        if source not in self._drawn:
            self._drawn[source] = self._rng.random()
        return self._drawn[source]


@dataclass(frozen=True, slots=True)
class _Part:
    """One span that is put into a trial of the frame, at the milestone `place`. `span`: None where the phase did not
    occur in the trial that it is taken from.
    """

    place: str
    start: MeasuredStart
    span: str | None
    source: PhaseSource


def _parts(found: Sources, at: int) -> list[_Part]:
    """Return all that the frame's trial `at` is put together from."""
    frame = found.frame[at]
    done: set[str] = set()
    parts: list[_Part] = []
    for phase, source in found.phases.items():
        start = frame if source.starts is found.frame else source.starts[at % len(source.starts)]
        span = start.span_of(phase)
        key = f"{start.trial_id} {span}"
        needed = key not in done if span is not None else bool(source.changes)
        place = frame.span_of(phase) or (frame.place_for(phase) if needed else None)
        if needed and place is not None:
            done.add(key)
            parts.append(_Part(place, start, span, source))
    return parts


def _totals(found: Sources, spans: Sequence[Mapping[str, float]], early: Sequence[Early | None]) -> list[float]:
    """Return the totals of the frame's trials with these spans."""
    return [start.total_of(of, its) for start, of, its in zip(found.frame, spans, early, strict=True)]


def _spans(found: Sources, at: int, parts: Sequence[_Part], places: _Places) -> dict[str, float]:
    """Return the spans of the frame's trial `at` with every phase from its source."""
    spans = dict.fromkeys(found.frame[at].spans, 0.0)
    for part in parts:
        if part.span is None:
            spans[part.place] += _computed_s(part.source, 0.0, places)
        else:
            spans[part.place] += _span_seconds(found, part.start, part.span, places)
    return spans


def _early(found: Sources, parts: Sequence[_Part], places: _Places) -> Early | None:
    """Return what begins with the submission in one draw, None where nothing does."""
    changes = [(part, change) for part in parts for _, change in part.source.changes if change.how == "beside"]
    changes += [
        (part, change)
        for part in parts
        if part.span is not None
        for name in part.start.names[part.span]
        for _, change in found.phases[name].changes
        if change.how == "beside" and part.source.phase != name
    ]
    if not changes:
        return None
    pulled = next((part.place for part, change in changes if change.phase == PULL), None)
    # A pull goes on or is lost as a whole: one or the other.
    lost = places.of(changes[0][1].amount.source) >= 0.5
    return Early(frozenset(part.place for part, _ in changes), pulled, lost)


def _computed_s(source: PhaseSource, seconds: float, places: _Places) -> float:
    """Return a phase's seconds with its changes."""
    for _, change in source.changes:
        seconds = change.of(seconds, places.of(change.amount.source))
    return seconds


def _span_seconds(found: Sources, start: MeasuredStart, span: str, places: _Places) -> float:
    """Return a span's seconds with the changes of all its phases."""
    names, seconds = start.names[span], start.spans[span]
    whole = seconds
    for phase in names:
        source = found.phases[phase]
        if source.changes:
            own = whole if len(names) == 1 else _share(start, names, phase, whole, places)
            seconds += _computed_s(source, own, places) - own
    return max(0.0, seconds)


def _share(start: MeasuredStart, names: tuple[str, ...], phase: str, seconds: float, places: _Places) -> float:
    """Return what one phase has of a span that was not told apart: of download and load by the rate of a load, else any
    part of it.
    """
    size = start.facts.weight_bytes
    if set(names) == set(_DOWNLOAD) and size:
        load_s = min(seconds, size / _LOAD_BYTES_S.at(places.of(_LOAD_BYTES_S.source)))
        return load_s if phase == "model_load" else seconds - load_s
    # Any parts are as likely as any others, and they sum to the span: exponential draws over their sum.
    each = {name: -math.log(1 - places.of(f"share of {name} in {'+'.join(names)}")) for name in names}
    return seconds * each[phase] / (sum(each.values()) or 1.0)


def _computed(found: Sources) -> list[tuple[PhaseSource, float]]:
    """Return every computed phase, with its seconds where it is taken from."""
    changed = [source for source in found.phases.values() if source.changes]
    return [(source, _means(source.starts).get(source.phase, 0.0)) for source in changed]


def _student(freedom: int, rng: random.Random) -> float:
    """Draw from Student's distribution: a normal draw over the root of a mean of squares."""
    return rng.gauss(0, 1) / math.sqrt(rng.gammavariate(freedom / 2, 2) / freedom)


def _quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    at = part * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def _outlooks(found: Sources) -> Iterator[PhaseOutlook]:
    """Yield the phases that differ from the frame's."""
    before = _means(found.frame)
    for phase, source in found.phases.items():
        if source.starts is found.frame and not source.changes:
            continue
        if source.changes:
            mean_s = _means(source.starts).get(phase, 0.0)
            lows, highs = (_ends(source, mean_s, place) for place in (0.0, 1.0))
            by = ", ".join(dict.fromkeys(name for name, _ in source.changes))
            told = by if source.starts is found.frame else f"{by}, on what {source.arm.variant} measured"
            texts = tuple(dict.fromkeys(change.amount.source for _, change in source.changes))
            outlook = PhaseOutlook(phase, before.get(phase, 0.0), min(lows, highs), max(lows, highs), told, texts)
        else:
            taken = [start.seconds().get(phase, 0.0) for start in source.starts]
            told = f"as {source.arm.variant} measured it, n = {len(taken)}"
            outlook = PhaseOutlook(phase, before.get(phase, 0.0), min(taken), max(taken), told)
        if max(outlook.before_s, outlook.high_s) >= 0.05:
            yield outlook


def _ends(source: PhaseSource, seconds: float, place: float) -> float:
    for _, change in source.changes:
        seconds = change.of(seconds, place) * (place if change.how == "beside" else 1.0)
    return seconds


def _means(starts: Sequence[MeasuredStart]) -> Mapping[str, float]:
    each = [start.seconds() for start in starts]
    names = dict.fromkeys(name for seconds in each for name in seconds)
    return {name: fmean(seconds.get(name, 0.0) for seconds in each) for name in names}


def _rests_on(found: Sources, n: int) -> Iterator[str]:
    yield "phases that no changed treatment touches take what they took"
    donors = dict.fromkeys(source.arm.variant for source in found.phases.values() if source.starts is not found.frame)
    if donors:
        yield f"phases of {', '.join(donors)} would take the same in this variant"
    if n >= MIN_FOR_INTERVAL:
        yield f"totals differ from run to run as those of {n} trials, or their phases, did"
    else:
        yield f"{n} of at least {MIN_FOR_INTERVAL} trials do not tell how totals differ from run to run: no interval"
