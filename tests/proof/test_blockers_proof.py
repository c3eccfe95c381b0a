"""The proof of the blockers at the size of a test: dead ends are named."""

from dataclasses import replace
from typing import Any

import pytest
from proof import SHORT
from proof.blockers import judge, missed, prove, tried

from llm_provisioning_simulator.dead_ends import ALL, produce

KINDS = ("worker-out-of-memory", "secret-missing", "too-many-cpus", "quota-of-head", "constructor-raises")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return prove(replace(SHORT, processes=1))


def test_every_dead_end_of_a_short_run_is_named(found: dict[str, Any]) -> None:
    """At least one of every room of the table; a full run tries them all."""
    assert found["missed"] == {}
    assert (found["blockers_named_ratio"], found["dead_ends"]) == (1.0, len(tried(SHORT)))
    assert len(ALL) >= 40


@pytest.mark.parametrize("name", KINDS)
def test_one_dead_end_of_each_kind_is_named(name: str) -> None:
    """Processes, objects, nodes, admission, applications: object and sentence are in the reason."""
    assert missed(next(end for end in ALL if end.name == name)) is None


def test_a_reason_that_names_something_else_is_a_miss() -> None:
    """The proof fails where the judge's words are of another cause."""
    end = next(end for end in ALL if end.name == "secret-missing")
    lines = produce("too-many-cpus", after_s=60)
    told = judge(lines).told
    assert "Insufficient cpu" in told
    assert end.says.text not in told
    silent = replace(end, says=replace(end.says, kind="Pod", where="event", reason="Scheduled", text="assigned"))
    assert "'assigned']: Pod serving/" in str(missed(silent))
