"""The origin that a cluster declares, and what counts as simulated."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.origin import declared_origin, is_simulated, shown_origin
from airflow_llm_provisioning.core.trace import TraceView


@pytest.mark.parametrize(
    ("version", "origin", "simulated"),
    [
        ({"gitVersion": "v1.34.2"}, "measured", False),
        ({"simulated": {"cluster": "a"}}, "simulated", True),
        ({"simulated": True}, "simulated", True),
        ({"simulated": {"calibrated": "origin"}}, "simulated (calibrated origin)", True),
    ],
)
def test_a_cluster_says_what_it_is(version: dict[str, Any], origin: str, simulated: bool) -> None:
    """A calibrated simulator is never taken for the shipped one, nor for a real cluster."""
    assert declared_origin(version) == origin
    assert is_simulated(origin) is simulated
    assert shown_origin(origin) == (origin.upper() if simulated else origin)


def test_what_is_not_stated_is_not_simulated() -> None:
    """Unknown stays unknown."""
    assert not is_simulated(None)
    assert not is_simulated("unknown")
    assert not is_simulated("simulatedly")


@pytest.mark.parametrize("origin", [True, 5, ["measured"], {}, ""])
def test_an_origin_that_is_no_text_is_none(origin: Any) -> None:
    """In a broken recording it is not stated, and nothing is taken for text."""
    line = {"received_at": "2026-05-04T12:00:00Z", "type": "HEADER", "resource": "trace", "object": {"origin": origin}}
    found = TraceView([line]).origin
    assert found is None
    assert not is_simulated(found)
