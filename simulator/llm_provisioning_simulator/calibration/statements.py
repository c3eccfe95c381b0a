"""Statements that a calibration is held to: what was published, or what a user measured. Pure.

A statement is about cells (cloud, set-up, variant). It says by how much a world misses it, and within how much it still
holds. The origin's own statements are in the package; a user's own are a YAML file.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import yaml

from airflow_llm_provisioning.core.arm import BASELINE
from airflow_llm_provisioning.core.published import (
    PUBLISHED_BASELINE_MINUTES,
    PUBLISHED_REDUCTION_PCT,
    PUBLISHED_SLOWER_VARIANT,
    PUBLISHED_VARIANT,
)
from airflow_llm_provisioning.exceptions import ConfigurationError

# From the request to a node that takes a pod, the record of any cloud (`core.floor_limits`): a cold start needs it.
_SHORTEST_S: Final = 29.0
_KEYS: Final = ("cloud", "setup", "variant", "total_s", "reduction_pct", "against", "within", "why")
WITHOUT_FAST_DOWNLOAD: Final = "improved_without_fast_download"


class Cell(NamedTuple):
    """What a trial is of. `variant`: a name of the experiment's variants, or one that the statements define."""

    cloud: str
    setup: str
    variant: str

    def __str__(self) -> str:
        return f"{self.cloud}/{self.setup}/{self.variant}"


Seconds = Mapping[Cell, float]
"""The total of a trial of each cell."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `value`: computes from the cells' seconds what it is about, in `unit`; it holds where that lies
    between `low` and `high`, widened by `within` (rounding and run-to-run noise). `why`: where it was said, and why
    this much is allowed.
    """

    name: str
    cells: tuple[Cell, ...]
    value: Callable[[Seconds], float]
    unit: str
    low: float
    high: float
    within: float
    why: str

    def missed_by(self, seconds: Seconds) -> float:
        """Return how far outside the stated range a world is, with sign; 0 inside."""
        found = self.value(seconds)
        return found - self.high if found > self.high else min(0.0, found - self.low)

    def distance(self, seconds: Seconds) -> float:
        """Return what it misses in units of what is allowed: up to 1 it holds."""
        return abs(self.missed_by(seconds)) / self.within

    def holds(self, seconds: Seconds) -> bool:
        """Whether a world agrees with it."""
        return self.distance(seconds) <= 1.0


@dataclass(frozen=True, slots=True)
class Statements:
    """A set of statements. `variants`: treatments of the variants that only the statements name."""

    name: str
    source: str
    items: tuple[Statement, ...]
    variants: Mapping[str, tuple[str, ...]]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell that a statement is about, once."""
        return tuple(dict.fromkeys(cell for item in self.items for cell in item.cells))


def reduction_pct(treated: Cell, baseline: Cell) -> Callable[[Seconds], float]:
    """Return what computes how much shorter one cell is than another, in per cent."""
    return lambda seconds: 100.0 * (1.0 - seconds[treated] / seconds[baseline])


def origin_statements() -> Statements:
    """Return what the origin published (`core.published`), as far as a simulated world can be held against it.

    Allowed deviations are this project's judgement: its runs and their number are unknown. Five points on a reduction:
    rounding, and twice the spread that 5 % of noise in every step gives the ratio of two trials.
    """
    return Statements(
        "origin",
        "Elotl, Reducing Deploy Time for LLM Serving on Cloud Kubernetes, January 2025 (prose)",
        (*_reductions(), *_range(), *_slower(), _modest()),
        {WITHOUT_FAST_DOWNLOAD: ("bake_packages", "image_delivery")},
    )


def _reductions() -> Iterator[Statement]:
    for (cloud, setup), pct in PUBLISHED_REDUCTION_PCT.items():
        treated, plain = Cell(cloud, setup, PUBLISHED_VARIANT), Cell(cloud, setup, BASELINE)
        yield Statement(
            name=f"{cloud} {setup}: {PUBLISHED_VARIANT} saves {pct:.0f} %",
            cells=(plain, treated),
            value=reduction_pct(treated, plain),
            unit="points",
            low=pct,
            high=pct,
            within=5.0,
            why="published reduction; five points for rounding and noise",
        )


def _range() -> Iterator[Statement]:
    cells = tuple(Cell(cloud, setup, BASELINE) for cloud, setup in PUBLISHED_REDUCTION_PCT)
    ends = (("shortest", min, PUBLISHED_BASELINE_MINUTES[0]), ("longest", max, PUBLISHED_BASELINE_MINUTES[1]))
    for word, of, minutes in ends:
        yield Statement(
            name=f"the {word} baseline takes {minutes:.0f} min",
            cells=cells,
            value=lambda seconds, of=of: of(seconds[cell] for cell in cells) / 60.0,  # type: ignore[misc]
            unit="min",
            low=minutes,
            high=minutes,
            within=1.0,
            why="published range of the baselines; a minute for rounding and noise",
        )


def _slower() -> Iterator[Statement]:
    for cloud in dict.fromkeys(cloud for cloud, _ in PUBLISHED_REDUCTION_PCT):
        alone, plain = Cell(cloud, "static", PUBLISHED_SLOWER_VARIANT), Cell(cloud, "static", BASELINE)
        yield Statement(
            name=f"{cloud}: fast download alone is slower than the baseline",
            cells=(plain, alone),
            value=reduction_pct(alone, plain),
            unit="points",
            low=-100.0,
            high=0.0,
            within=0.5,
            why="published without a number and without the set-up, read as static; half a point for rounding",
        )


def _modest() -> Statement:
    pairs = [
        (Cell(cloud, "static", PUBLISHED_VARIANT), Cell(cloud, "static", WITHOUT_FAST_DOWNLOAD))
        for cloud in dict.fromkeys(cloud for cloud, _ in PUBLISHED_REDUCTION_PCT)
    ]
    return Statement(
        name="fast download adds a modest gain to the bundle",
        cells=tuple(cell for pair in pairs for cell in pair),
        value=_mean_reduction_pct(pairs),
        unit="points",
        low=0.0,
        high=15.0,
        within=1.0,
        why="published without a number; read as 0 to 15 %, the mean of the clouds, static: an assumption",
    )


def _mean_reduction_pct(pairs: list[tuple[Cell, Cell]]) -> Callable[[Seconds], float]:
    each = [reduction_pct(treated, plain) for treated, plain in pairs]
    return lambda seconds: sum(one(seconds) for one in each) / len(each)


def read_statements(text: str, where: str) -> Statements:
    """Read a user's own statements from YAML. Raises ConfigurationError with file and place.

    {name, source, variants: {name: [treatments]}, statements: [{cloud, setup, variant, and either total_s: seconds or
    [low, high], or reduction_pct: per cent or [low, high] with `against` (default: baseline); within: in the same unit,
    more than 0; why}]}.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{where} is no YAML: {error}") from error
    if not isinstance(data, Mapping) or not isinstance(data.get("statements"), list) or not data["statements"]:
        raise ConfigurationError(f"{where} needs a list `statements` with at least one entry.")
    items = tuple(_read(entry, f"{where}, statement {place}") for place, entry in enumerate(data["statements"], 1))
    variants = _variants(data.get("variants"), where)
    return Statements(str(data.get("name") or "own"), str(data.get("source") or "not stated"), items, variants)


def _variants(told: Any, where: str) -> dict[str, tuple[str, ...]]:
    if told is None:
        return {}
    if not isinstance(told, Mapping) or not all(isinstance(names, list) for names in told.values()):
        raise ConfigurationError(f"{where}: `variants` is a mapping of names to lists of treatments.")
    return {str(name): tuple(map(str, names)) for name, names in told.items()}


def _read(entry: Any, where: str) -> Statement:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} is no mapping.")
    if unknown := sorted(str(key) for key in entry if key not in _KEYS):
        raise ConfigurationError(f"{where} has {', '.join(unknown)}; known are {', '.join(_KEYS)}.")
    missing = [key for key in ("cloud", "setup", "variant", "within") if key not in entry]
    quantity = [key for key in ("total_s", "reduction_pct") if key in entry]
    if missing or len(quantity) != 1:
        raise ConfigurationError(
            f"{where} needs cloud, setup, variant, within and one of total_s, reduction_pct; it has {sorted(entry)}."
        )
    cell = Cell(str(entry["cloud"]), str(entry["setup"]), str(entry["variant"]))
    low, high = _bounds(entry[quantity[0]], where)
    within = _positive(entry["within"], f"{where}: within")
    why = str(entry.get("why") or "stated by the user")
    if quantity[0] == "total_s":
        if low < _SHORTEST_S:
            raise ConfigurationError(
                f"{where}: total_s of {low:g} is shorter than any cold start ({_SHORTEST_S:g} s at least): it is in "
                "seconds, not in minutes."
            )
        name = f"{cell} takes {_text(low, high)} s"
        return Statement(name, (cell,), lambda seconds: seconds[cell], "s", low, high, within, why)
    if high >= 100 or (low == high and 0 < abs(low) < 1):
        told = "a reduction is in per cent, below 100; 47 is less than half as long, 0.47 is less than one per cent"
        raise ConfigurationError(f"{where}: reduction_pct is {_text(low, high)}, and {told}.")
    plain = Cell(cell.cloud, cell.setup, str(entry.get("against") or BASELINE))
    if plain == cell:
        raise ConfigurationError(f"{where}: {cell} is held against itself: name another variant in `against`.")
    name = f"{cell} saves {_text(low, high)} % against {plain.variant}"
    return Statement(name, (plain, cell), reduction_pct(cell, plain), "points", low, high, within, why)


def _bounds(value: Any, where: str) -> tuple[float, float]:
    ends = value if isinstance(value, list) else [value, value]
    if len(ends) != 2 or not all(map(_is_number, ends)):
        raise ConfigurationError(f"{where}: {value!r} is neither a number nor two of them.")
    if ends[0] > ends[1]:
        raise ConfigurationError(f"{where}: {ends[0]} is above {ends[1]}.")
    return float(ends[0]), float(ends[1])


def _positive(value: Any, where: str) -> float:
    if not _is_number(value) or value <= 0:
        raise ConfigurationError(f"{where} must be a number above 0, and is {value!r}.")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
