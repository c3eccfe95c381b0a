"""No misbehaving server counts as ready, probed as in a trial: over HTTP, through the API server's proxy."""

from typing import Any

import pytest
from proof import SHORT
from proof.servers import prove


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return prove(SHORT)


def test_no_misbehaving_server_passes_for_ready(found: dict[str, Any]) -> None:
    """There are at least fifteen of them, and each is refused with a reason."""
    assert found["bad_servers"] >= 15
    assert (found["false_ready"], found["passed"]) == (0, [])
    assert all(found["flaws"].values())


def test_every_correct_server_is_ready(found: dict[str, Any]) -> None:
    """A slow server, one with chunked or compressed answers, and a reasoning model count as ready."""
    assert found["good_servers"] >= 5
    assert (found["good_refused"], found["refused"]) == (0, {})
