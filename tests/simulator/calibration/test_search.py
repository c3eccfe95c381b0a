"""The search keeps what agrees with the statements, and nothing outside the prior."""

import random
from statistics import fmean

import pytest

from llm_provisioning_simulator.calibration.search import Effort, search
from llm_provisioning_simulator.calibration.statements import Cell
from llm_provisioning_simulator.calibration.worlds import EXTRA, EXTRA_OF, Parameter, Space, Unit

EFFORT = Effort(worlds=60, rounds=30, steps=5, mixing=15)


def a_parameter(name: str, low: float, high: float, cloud: str = "", variant: str = "") -> Parameter:
    return Parameter(name, cloud, low, high, "s", "ray", "a test", variant)


def a_sample(seed: int = 1, number: int = 200) -> list[Unit]:
    rng = random.Random(seed)
    return [SPACE.draw(rng) for _ in range(number)]


SPACE = Space(tuple(a_parameter(f"p{place}", 0.0, 1.0) for place in range(6)))


def test_it_finds_a_corner_that_no_draw_of_the_prior_hits() -> None:
    """Four coordinates below a twentieth: one draw in 160,000. The sample fills the corner as the prior does."""
    found = search(lambda world: max(world[:4]) / 0.05, random.Random(1), EFFORT, a_sample())
    assert found.holds
    inside = found.agreeing()
    assert len(inside) > 30
    assert all(max(world[:4]) <= 0.05 for world in inside)
    assert fmean(world[5] for world in inside) == pytest.approx(0.5, abs=0.2)


def test_what_cannot_be_reached_ends_with_its_distance() -> None:
    """The nearest world lies at the edge of the prior, and the search says how far that is from holding."""
    found = search(lambda world: 1.0 + 3.0 * world[0] + 0.5, random.Random(1), EFFORT, a_sample())
    assert not found.holds
    assert found.best[0] == pytest.approx(1.5, abs=0.05)
    assert found.agreeing() == []


def test_a_world_never_leaves_the_prior() -> None:
    """A step outside is not taken, however near it would come."""
    seen: list[Unit] = []

    def distance(world: Unit) -> float:
        seen.append(world)
        return 2.0 - world[0]

    search(distance, random.Random(2), EFFORT, a_sample())
    assert all(0.0 <= share <= 1.0 for world in seen for share in world)


def test_values_go_to_the_cells_that_they_are_of() -> None:
    """A cloud's own number to that cloud, an addition to one variant, and wide ranges on a logarithmic scale."""
    space = Space(
        (
            a_parameter("rate", 1.0, 100.0),
            a_parameter("boot_s", 10.0, 12.0, cloud="gke"),
            a_parameter(EXTRA_OF, 1.0, 4.0),
            a_parameter(EXTRA, 0.0, 100.0, variant="fast_download"),
        )
    )
    world = (0.5, 0.5, 0.0, 0.5)
    assert space.values(world, Cell("gke", "static", "baseline")) == pytest.approx(
        {"rate": 10.0, "boot_s": 11.0, EXTRA_OF: 1.0}
    )
    assert space.values(world, Cell("eks", "static", "fast_download")) == pytest.approx({"rate": 10.0, EXTRA_OF: 51.0})


def test_a_world_keeps_its_numbers_in_a_wider_space() -> None:
    """Widening a range moves the coordinate, not the value."""
    narrow = Space((a_parameter("rate", 1.0, 100.0),))
    wide = narrow.with_ranges({"rate": (0.01, 100.0)})
    moved = narrow.moved_to(wide, (0.5,))
    assert wide.parameters[0].at(moved[0]) == pytest.approx(10.0)
