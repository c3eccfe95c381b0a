"""The numbers the simulator runs on, each with its source or with an assumed range and the reason for it.

A profile is the union of a few TOML files: what all clouds share, one cloud, one node autoscaler, Ray and vLLM. No
number belongs to a variant, a treatment or a set-up, and none is fitted to a published result: what a variant gains
must follow from the bytes it moves and the steps it leaves out.

A table in a file is one quantity: `value`, `unit`, and either `source` (where it was read) or `assumed` (why this
range) with `low` and `high`. A sourced number may carry `low` and `high` too, where the source gives a range. `fixed =
true` marks constants of programs (poll intervals, hard-coded limits): no noise, no range.
"""

import math
import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
SHARED_FILES: Final = ("kubelet", "network", "ray", "vllm", "dragonfly")
NOISE: Final = "run_to_run_noise"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a profile. `low` and `high` bound what it may really be; `file` is where it is written."""

    name: str
    value: float
    unit: str
    file: str
    source: str | None = None
    assumed: str | None = None
    low: float | None = None
    high: float | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        where = f"{self.file}.toml [{self.name}]"
        if (self.source is None) == (self.assumed is None):
            raise ValueError(f"{where}: say either `source` or `assumed`.")
        if self.assumed is not None and (self.low is None or self.high is None):
            raise ValueError(f"{where}: an assumed number needs `low` and `high`.")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"{where}: {self.value} is not within {self.low} and {self.high}.")


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A machine size as its cloud sells it. `gpu` is the SKU's name as Luna's annotation spells it, None without.
    `usd_hour`: what this simulated cloud charges for it.
    """

    name: str
    cpu: int
    memory_gib: float
    gpu: str | None = None
    gpus: int = 0
    usd_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """All numbers of one simulated cluster. `calibrated`: name of the calibrated profile that is laid over the shipped
    one; empty for none.
    """

    cloud: str
    autoscaler: str
    quantities: Mapping[str, Quantity] = field(repr=False)
    instance_types: tuple[InstanceType, ...] = ()
    calibrated: str = ""

    def value(self, name: str) -> float:
        """Return a number without noise; a KeyError names the profile that lacks it."""
        try:
            return self.quantities[name].value
        except KeyError:
            raise KeyError(f"Profile {self.cloud}/{self.autoscaler} has no number called {name!r}.") from None

    def sample(self, name: str, rng: random.Random) -> float:
        """Draw a number with seeded noise: log-normal around the value with mean 1, so that it never turns negative."""
        value = self.value(name)
        sigma = self.quantities[NOISE].value if NOISE in self.quantities else 0.0
        if self.quantities[name].fixed or not sigma:
            return value
        return value * math.exp(rng.gauss(-sigma * sigma / 2, sigma))

    def uncertain(self) -> tuple[Quantity, ...]:
        """Return the numbers that have a range, in the order of their names: what a sweep moves."""
        return tuple(q for _, q in sorted(self.quantities.items()) if q.low is not None and q.high is not None)

    def with_values(self, **values: float) -> "Profile":
        """Return the profile with other values, as a sweep or a test sets them; ranges and sources stay."""
        changed = dict(self.quantities)
        for name, value in values.items():
            self.value(name)
            changed[name] = replace(changed[name], value=value, low=None, high=None, source="set by hand", assumed=None)
        return replace(self, quantities=MappingProxyType(changed))

    def instance_type(self, name: str) -> InstanceType:
        """Return a machine size by name; a KeyError says which are known."""
        for known in self.instance_types:
            if known.name == name:
                return known
        names = ", ".join(known.name for known in self.instance_types)
        raise KeyError(f"Profile {self.cloud} knows no instance type {name!r}; it knows {names}.")


def load_profile(cloud: str, autoscaler: str, folder: Path = FOLDER) -> Profile:
    """Read the profile of one cloud and node autoscaler. A name written in two of its files is a ValueError."""
    quantities: dict[str, Quantity] = {}
    sizes: tuple[InstanceType, ...] = ()
    for name in (*SHARED_FILES, autoscaler, cloud):
        path = folder / f"{name}.toml"
        if not path.exists() and name in SHARED_FILES:
            continue
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        sizes += tuple(InstanceType(**row) for row in document.pop("instance_types", []))
        for key, table in document.items():
            if key in quantities:
                raise ValueError(f"[{key}] stands in {quantities[key].file}.toml and in {name}.toml; one must go.")
            quantities[key] = _quantity(name, key, table)
    return Profile(cloud, autoscaler, MappingProxyType(quantities), sizes)


def _quantity(file: str, name: str, table: Mapping[str, Any]) -> Quantity:
    unknown = set(table) - {"value", "unit", "source", "assumed", "low", "high", "fixed"}
    if unknown or "value" not in table or not table.get("unit"):
        raise ValueError(f"{file}.toml [{name}] needs `value` and `unit`; it has {sorted(table)}.")
    return Quantity(name=name, file=file, **table)
