"""The axis of seconds that every chart of plain SVG has: where it ends, its ticks, and a value's place on it."""

from dataclasses import dataclass
from typing import Final, Self

# Round ends are so many times a power of ten and the number of steps.
_FACTORS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
_STEPS: Final = 4
# Room after the largest value, as a share of it.
_MARGIN: Final = 1.02


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from zero to `end_s`."""

    end_s: float

    @classmethod
    def holding(cls, largest_s: float) -> Self:
        """Return the axis with a round end that holds a value; its end is divisible by the number of steps."""
        wanted = max(largest_s, 1.0) * _MARGIN
        step = 1.0
        while True:
            for factor in _FACTORS:
                if step * factor * _STEPS >= wanted:
                    return cls(step * factor * _STEPS)
            step *= 10

    def share(self, value_s: float) -> float:
        """Return the place of a value between 0 (zero) and 1 (the end)."""
        return min(max(value_s / self.end_s, 0.0), 1.0)

    def percent(self, value_s: float) -> str:
        """Return the place of a value as per cent of the axis."""
        return percent(self.share(value_s))

    def ticks(self, steps: int = _STEPS) -> list[tuple[float, str]]:
        """Return (value, text) of so many equal steps and of zero."""
        values = [self.end_s * at / steps for at in range(steps + 1)]
        return [(value, f"{value:,.0f}") for value in values]


def percent(share: float) -> str:
    """Return a share as per cent, for an attribute of SVG."""
    return f"{100 * share:.3f}%"
