"""Refusals are counted by zone and hour, over all trials that were refused something."""

from typing import Any

from trial_builders import a_result

from airflow_llm_provisioning.core.capacity import capacity_rows
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus


def refusal(at: str, count: int = 1, zones: tuple[str, ...] = ("us-west-2a",), kind: str = "stock-out") -> Any:
    stamp = f"2026-01-01T{at}+00:00"
    told = {"about": "NodeClaim x", "reason": "InsufficientCapacityError", "sentence": f"no machine at {at}"}
    return {"kind": kind, "zones": list(zones), "first_at": stamp, "last_at": stamp, "count": count, **told}


def refused(trial_id: str, *refusals: Any, ended: bool = True) -> TrialResult:
    capacity = {"ended": ended, "waited_s": 100.0, "refusals": list(refusals)}
    status = TrialStatus.NO_CAPACITY if ended else TrialStatus.SUCCEEDED
    return a_result(trial_id, total_s=None if ended else 900.0, status=status, capacity=capacity)


def test_refusals_are_counted_by_zone_and_hour() -> None:
    """Repetitions count; a trial counts once in each hour and zone."""
    rows = capacity_rows(
        [
            refused("t1", refusal("12:10:00", 3), refusal("12:50:00"), refusal("13:01:00")),
            refused("t2", refusal("12:59:00"), ended=False),
            a_result("t3"),
        ]
    )
    told = [(row["hour"], row["zone"], row["refusals"], row["trials"], row["no_capacity"]) for row in rows]
    assert told == [("2026-01-01T12:00Z", "us-west-2a", 5, 2, 1), ("2026-01-01T13:00Z", "us-west-2a", 1, 1, 1)]
    assert rows[0]["waited_s"] == 200.0
    assert rows[0]["sentence"] == "no machine at 12:59:00"


def test_zones_and_kinds_are_kept_apart_and_an_unknown_zone_stays_unknown() -> None:
    """A refusal of two zones counts in each; None is no zone's name."""
    rows = capacity_rows(
        [refused("t1", refusal("12:10:00", zones=("a", "b")), refusal("12:20:00", zones=(), kind="quota"))]
    )
    assert {(row["zone"], row["kind"]) for row in rows} == {("a", "stock-out"), ("b", "stock-out"), (None, "quota")}
