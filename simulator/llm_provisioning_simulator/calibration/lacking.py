"""Mechanisms that the model may lack, or has in a documented range that is too narrow. Each is a question to measure.

A candidate widens the ranges of some numbers beyond what the profiles document, or adds seconds that no profile has. It
is only tried where statements do not hold together within the documented ranges.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from airflow_llm_provisioning.core.published import PUBLISHED_SLOWER_VARIANT
from llm_provisioning_simulator.calibration.statements import Statement, Statements
from llm_provisioning_simulator.calibration.worlds import EXTRA, Parameter, Space

# What is asked beyond the documented ends: far enough that a statement can be reached if it is the mechanism at all.
_HYDRATION_FROM: Final = 4e6
_CONNECTION_TO: Final = 400e6
_EXTRA_TO_S: Final = 400.0
_STREAM_FROM: Final = 8e6
_LAZY: Final = (
    ("hydration_first_touch_bytes_s", "a snapshot hydrates more slowly", _HYDRATION_FROM),
    ("stream_first_touch_bytes_s", "a streamed image is read more slowly", _STREAM_FROM),
)


@dataclass(frozen=True, slots=True)
class Lacking:
    """One candidate. `ranges`: wider ranges by parameter; `added`: parameters that no profile has; `about`: it concerns
    a statement with a cell that fits one of these (cloud, variant), empty for any.
    """

    what: str
    about: tuple[tuple[str, str], ...]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    added: tuple[Parameter, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters it is about."""
        return (*self.ranges, *(item.name for item in self.added))

    def concerns(self, item: Statement) -> bool:
        """Whether it can move what a statement is about."""
        return any(
            cloud in ("", cell.cloud) and variant in ("", cell.variant)
            for cell in item.cells
            for cloud, variant in self.about
        )

    def added_to(self, space: Space) -> Space:
        """Return a space with it."""
        wide = space.with_ranges(self.ranges)
        for parameter in self.added:
            wide = wide.with_parameter(parameter)
        return wide


def candidates(space: Space, statements: Statements) -> tuple[Lacking, ...]:
    """Return the candidates that a space and its statements have numbers and cells for."""
    known = {item.name: item for item in space.parameters}
    found = []
    if any(cell.variant == PUBLISHED_SLOWER_VARIANT for cell in statements.cells):
        found.append(_slow_install())
    if (rate := known.get("hub_connection_bytes_s")) is not None:
        wider = {rate.name: (rate.low, _CONNECTION_TO)}
        found.append(Lacking("a plain download runs faster per file", (("", PUBLISHED_SLOWER_VARIANT),), wider))
    for quantity, what, low in _LAZY:
        for item in known.values():
            if item.quantity == quantity:
                wider = {item.name: (low, item.high)}
                found.append(Lacking(f"{item.cloud}: {what}", ((item.cloud, "improved"),), wider))
    return tuple(found)


def _slow_install() -> Lacking:
    added = Parameter(
        quantity=EXTRA,
        cloud="",
        low=0.0,
        high=_EXTRA_TO_S,
        unit="s added on each node to the runtime environment that installs hf_transfer",
        file="none",
        why="No profile has it: pip adds one small wheel there",
        variant=PUBLISHED_SLOWER_VARIANT,
    )
    what = "installing hf_transfer takes longer"
    return Lacking(what, (("", PUBLISHED_SLOWER_VARIANT),), added=(added,))
