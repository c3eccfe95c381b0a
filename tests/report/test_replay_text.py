"""A result in a terminal: every number has its bounds and source."""

from typing import Any

from airflow_llm_provisioning.core.replay import Difference
from airflow_llm_provisioning.report.replay_text import difference_lines, result_lines, total_text

SUBMITTED = "2026-05-04T12:00:00.000000Z"


def at(after_s: int) -> str:
    return f"2026-05-04T12:{after_s // 60:02d}:{after_s % 60:02d}.000000Z"


def milestone(name: str, after_s: int) -> dict[str, Any]:
    instants = {"earliest_at": at(after_s - 1), "latest_at": at(after_s + 1), "at": at(after_s)}
    return {"name": name, **instants, "source": f"source of {name}"}


def nodes(head: tuple[int, int], worker: tuple[int, int]) -> dict[str, Any]:
    """Return a result whose nodes were created and Ready at these seconds."""
    return {
        "submitted_at": SUBMITTED,
        "milestones": [
            milestone(f"{role}.{name}", after_s)
            for role, span in (("head", head), ("worker", worker))
            for name, after_s in zip(("node_created", "node_ready"), span, strict=True)
        ],
        "environment": {"head": {"node": "a"}, "worker": {"node": "b"}},
    }


def test_every_milestone_has_bounds_and_source_in_order() -> None:
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


def test_a_total_always_has_its_bounds() -> None:
    """A missing total is reported."""
    assert total_text({"total_s": 61.5, "total_low_s": 61.0, "total_high_s": 62.25}) == "61.500 s (61.000 to 62.250)"
    assert total_text({"total_s": None}) == "no total"


def test_differences_are_grouped_by_part() -> None:
    """Changed, added and removed values are listed."""
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
