"""A result in a terminal: bounds and sources beside every number, and whether nodes were set up in turn."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.replay import Difference
from airflow_llm_provisioning.report.replay_text import difference_lines, node_order, result_lines, total_text

SUBMITTED = "2026-05-04T12:00:00.000000Z"


def at(after_s: int) -> str:
    return f"2026-05-04T12:{after_s // 60:02d}:{after_s % 60:02d}.000000Z"


def stone(name: str, after_s: int) -> dict[str, Any]:
    instants = {"earliest_at": at(after_s - 1), "latest_at": at(after_s + 1), "at": at(after_s)}
    return {"name": name, **instants, "source": f"source of {name}"}


def nodes(head: tuple[int, int], worker: tuple[int, int], *, names: tuple[str, str] = ("a", "b")) -> dict[str, Any]:
    """Return a result whose nodes were created and Ready at these seconds."""
    return {
        "submitted_at": SUBMITTED,
        "milestones": [
            stone(f"{role}.{name}", after_s)
            for role, span in (("head", head), ("worker", worker))
            for name, after_s in zip(("node_created", "node_ready"), span, strict=True)
        ],
        "environment": {"head": {"node": names[0]}, "worker": {"node": names[1]}},
    }


@pytest.mark.parametrize(
    ("head", "worker", "told"),
    [
        ((10, 60), (20, 90), "beside each other, 40.0 s of overlap"),
        ((20, 90), (10, 60), "beside each other, 40.0 s of overlap"),
        ((10, 60), (64, 120), "one after the other, 4.0 s between them"),
        ((64, 120), (10, 60), "one after the other, 4.0 s between them"),
        ((10, 60), (60, 90), "one after the other, 0.0 s between them"),
    ],
)
def test_nodes_that_came_in_turn_are_told_from_those_that_came_together(
    head: tuple[int, int], worker: tuple[int, int], told: str
) -> None:
    """Whichever came first; with both spans to check it by."""
    found = node_order(nodes(head, worker))
    assert found is not None
    assert told in found
    assert f"head {head[0]}.0 to {head[1]}.0 s" in found


@pytest.mark.parametrize(
    ("worker_from_s", "doubted"),
    [(64, False), (62, False), (61, True), (60, True), (59, True), (57, False), (50, False)],
)
def test_what_the_bounds_do_not_prove_is_said(worker_from_s: int, doubted: bool) -> None:
    """Every instant is known to a second either way: the head was Ready at 60, and two seconds apart are proof."""
    found = node_order(nodes((10, 60), (worker_from_s, 90)))
    assert found is not None
    assert found.endswith("; the bounds allow the other as well") == doubted


def test_one_node_for_both_and_one_that_was_there() -> None:
    """A shared node has no order, and of a node that was there before nothing is said."""
    assert node_order(nodes((10, 60), (10, 60), names=("a", "a"))) == "head and worker share one node"
    alone = nodes((10, 60), (20, 90))
    alone["milestones"] = alone["milestones"][2:]
    assert node_order(alone) is None
    assert node_order({}) is None


def test_every_milestone_stands_with_bounds_and_source_in_order() -> None:
    """Seconds after the submission, one line each."""
    document = nodes((10, 60), (20, 90)) | {"outcome": "unfinished", "reason": "It stops.", "origin": "simulated"}
    lines = list(result_lines(document))
    assert "ORIGIN    SIMULATED" in lines
    assert "OUTCOME   unfinished: It stops." in lines
    assert any("no total" in line for line in lines)
    rows = [line.split() for line in lines if "source of" in line]
    assert [row[:4] for row in rows[:2]] == [
        ["10.000", "9.000", "11.000", "head.node_created"],
        ["20.000", "19.000", "21.000", "worker.node_created"],
    ]
    assert "  none" in lines


def test_a_total_never_stands_without_its_bounds() -> None:
    """And its absence is said."""
    assert total_text({"total_s": 61.5, "total_low_s": 61.0, "total_high_s": 62.25}) == "61.500 s (61.000 to 62.250)"
    assert total_text({"total_s": None}) == "no total"


def test_differences_stand_under_what_they_belong_to() -> None:
    """Changed, come, gone."""
    found = [
        Difference(("total_s",), "changed", 1.0, None),
        Difference(("phases", "a", "duration_s"), "changed", 1.0, 2.0),
        Difference(("phases", "b"), "appeared", None, 3.0),
        Difference(("flags", "clock: off"), "vanished", None, None),
    ]
    assert list(difference_lines(found)) == [
        "  total_s",
        "    total_s: 1.0 -> none",
        "  phases",
        "    a duration_s: 1.0 -> 2.0",
        "    + b: 3.0",
        "  flags",
        "    - clock: off",
    ]
