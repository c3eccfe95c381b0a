"""The origin that a cluster declares, and what counts as simulated."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.origin import declared_origin, is_simulated, shown_origin


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
