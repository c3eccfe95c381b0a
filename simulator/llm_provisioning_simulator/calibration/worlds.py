"""Worlds: one value for every uncertain number of the profiles, drawn from the range that the profile documents.

A number of a file that all clouds share has one value in a world; a cloud's own has one for each cloud. The run-to-run
noise is none of them: a surrogate and a statement are about the mean.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llm_provisioning_simulator.calibration.statements import Cell
from llm_provisioning_simulator.profiles import NOISE, Profile, Quantity

EXTRA: Final = "runtime_env_extra_s"
EXTRA_OF: Final = "working_dir_s"
"""The number of the profile through which a longer runtime environment enters a whole trial: it is waited for once on
each node that makes one, like the packages."""

Unit = tuple[float, ...]
"""A world as a point of the unit cube, one coordinate for each parameter."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One uncertain number. `cloud`: whose own number it is, empty for all clouds'. `low`, `high`: the prior's range.
    `variant`: for a number that is added for one variant only, and is in no profile.
    """

    quantity: str
    cloud: str
    low: float
    high: float
    unit: str
    file: str
    why: str
    variant: str = ""

    @property
    def name(self) -> str:
        """Its name in a report: the cloud in front of a cloud's own."""
        return f"{self.cloud}.{self.quantity}" if self.cloud else self.quantity

    def at(self, share: float) -> float:
        """Return its value at a share of its range: on a logarithmic scale where the range is wide and above 0."""
        if self.low > 0 and self.high / self.low > 1.5:
            return self.low * math.exp(share * math.log(self.high / self.low))
        return self.low + share * (self.high - self.low)

    def share(self, value: float) -> float:
        """Return where in its range a value lies; the inverse of `at`, clipped to the range."""
        if self.low > 0 and self.high / self.low > 1.5:
            found = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            found = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, found))


@dataclass(frozen=True, slots=True)
class Space:
    """All parameters of a calibration."""

    parameters: tuple[Parameter, ...]

    @property
    def has_variants(self) -> bool:
        """Whether a number differs between variants."""
        return any(item.variant for item in self.parameters)

    def draw(self, rng: random.Random) -> Unit:
        """Draw a world from the prior."""
        return tuple(rng.random() for _ in self.parameters)

    def values(self, world: Unit, cell: Cell) -> dict[str, float]:
        """Return a world's numbers for one cell: quantity -> value."""
        found = {
            parameter.quantity: parameter.at(share)
            for parameter, share in zip(self.parameters, world, strict=True)
            if parameter.cloud in ("", cell.cloud) and parameter.variant in ("", cell.variant)
        }
        extra = found.pop(EXTRA, 0.0)
        if extra:
            found[EXTRA_OF] += extra
        return found

    def with_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> "Space":
        """Return the space with other ranges for some parameters, by name."""
        return Space(
            tuple(
                Parameter(
                    item.quantity,
                    item.cloud,
                    *ranges.get(item.name, (item.low, item.high)),
                    item.unit,
                    item.file,
                    item.why,
                    item.variant,
                )
                for item in self.parameters
            )
        )

    def with_parameter(self, added: Parameter) -> "Space":
        """Return the space with one more parameter."""
        return Space((*self.parameters, added))

    def moved_to(self, other: "Space", world: Unit) -> Unit:
        """Return a world of this space as a point of another one with other ranges; a number that is new there is at
        its low end.
        """
        known = {item.name: item.at(share) for item, share in zip(self.parameters, world, strict=True)}
        return tuple(item.share(known.get(item.name, item.low)) for item in other.parameters)


def space_of(profiles: Sequence[Profile], read: Mapping[str, frozenset[str]]) -> Space:
    """Return the parameters of the clouds' profiles that their trials read. `read`: cloud -> names of numbers."""
    found: dict[str, Parameter] = {}
    for profile in profiles:
        for quantity in profile.uncertain():
            # Counts and shares of a machine decide which machine is taken, not how long a step takes.
            if quantity.name == NOISE or quantity.fixed or quantity.name not in read[profile.cloud]:
                continue
            own = profile.cloud if quantity.file == profile.cloud else ""
            parameter = _parameter(quantity, own)
            found.setdefault(parameter.name, parameter)
    return Space(tuple(found[name] for name in sorted(found)))


def _parameter(quantity: Quantity, cloud: str) -> Parameter:
    assert quantity.low is not None, "only numbers with a range are parameters"  # noqa: S101
    assert quantity.high is not None, "only numbers with a range are parameters"  # noqa: S101
    why = quantity.source or quantity.assumed or ""
    return Parameter(quantity.name, cloud, quantity.low, quantity.high, quantity.unit, quantity.file, why)
