"""No misbehaving server is called ready, asked as in a trial: over HTTP, through the API server's proxy."""

from typing import Any

import pytest
from proof import SHORT
from proof.servers import prove


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return prove(SHORT)


def test_no_misbehaving_server_passes_for_ready(found: dict[str, Any]) -> None:
    """At least fifteen of them, and each is refused with a reason."""
    assert found["bad_servers"] >= 15
    assert (found["false_ready"], found["passed"]) == (0, [])
    assert all(found["flaws"].values())


def test_every_right_server_is_found_ready(found: dict[str, Any]) -> None:
    """Also a slow one, one that answers in pieces or packed, one that reasons first: strictness costs nothing right."""
    assert found["good_servers"] >= 5
    assert (found["good_refused"], found["refused"]) == (0, {})
