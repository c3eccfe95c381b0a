"""An expected change begins at a date, a run or a digest, in each cell's own history."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_llm_provisioning.core.expected import ExpectedChange, expected_from, expected_runs
from airflow_llm_provisioning.core.nights import Cell, Night

DIGEST = f"sha256:{'a' * 64}"
CELL = Cell("measured", "here", "w", "static", "baseline")


def a_night(day: int, digest: str = "sha256:old") -> Night:
    at = datetime(2026, 1, day, 2, tzinfo=UTC)
    return Night(at, f"run-{day}", "arm", 3, 100.0, {}, {"image digest": frozenset({digest})})


NIGHTS = [a_night(1), a_night(2), a_night(5), a_night(6, DIGEST), a_night(7, DIGEST)]


@pytest.mark.parametrize(
    ("asked", "begins"),
    [
        ("2026-01-02", "run-2"),
        ("2026-01-03", "run-5"),
        ("2026-01-05T01:59:00+00:00", "run-5"),
        ("2026-01-05T02:01:00Z", "run-6"),
        (datetime(2026, 1, 5, 4, tzinfo=timezone(timedelta(hours=2))), "run-5"),
        ("2027-01-01", None),
        ("run-5", "run-5"),
        ("run-9", None),
        (DIGEST, "run-6"),
        (f"sha256:{'b' * 64}", None),
    ],
)
def test_the_first_night_that_holds_begins_the_new_level(asked: Any, begins: str | None) -> None:
    """As a text or as an entry of a file; a day without a night means the next one."""
    change = expected_from(asked) if isinstance(asked, str) else expected_from({"since": asked})
    assert change.begins(CELL, NIGHTS) == begins
    assert expected_from(change.as_dict()) == change


def test_a_change_of_one_arm_is_none_of_the_others() -> None:
    """It is named as in a gate."""
    changes = [ExpectedChange(run="run-2", arm="here/w/static/baseline"), ExpectedChange(run="run-5", arm="there")]
    assert expected_runs(CELL, NIGHTS, changes) == {"run-2"}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "exactly one of since, run, digest; found none of them"),
        ({"since": "2026-01-01", "run": "x"}, "found since, run"),
        ({"since": "yesterday"}, "`since` is 'yesterday' and must be a date"),
        ({"digest": "latest"}, "must be an image digest"),
        ("", "found nothing"),
        (None, "is a text or a mapping; found None"),
        ({"sinse": "2026-01-01"}, "has the key 'sinse': did you mean 'since'?"),
        ({"run": 5}, "`run` is '5' and must be text"),
        ({"digest": 5}, "`digest` is '5' and must be text"),
        ({"run": " "}, "`run` is ' ' and must be text without blanks"),
        ({"run": "x", "arm": ["a"]}, "`arm` is \"\\['a'\\]\" and must be text"),
        ("2026-13-01", "'2026-13-01' is no date; write it as 2026-12-01"),
        ("1.12.2026", "is no date"),
        ("12/01/2026 06:00", "is no date"),
        ("sha256:abc", "is no image digest"),
        (f"SHA256:{'a' * 64}", "in lower case"),
    ],
)
def test_what_names_no_beginning_is_refused(asked: Any, told: str) -> None:
    """In a sentence."""
    with pytest.raises(ValueError, match=told):
        expected_from(asked)
