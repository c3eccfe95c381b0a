"""Work that outlasts an outage is repeated after it; what waiting does not mend ends it at once."""

from typing import Any, Self, cast

import pytest

from airflow_llm_provisioning.exceptions import (
    ClusterError,
    ClusterUnreachableError,
    ConflictError,
    ForbiddenError,
    NotDeletedError,
)
from airflow_llm_provisioning.gateways.kubernetes import Cluster, outage
from airflow_llm_provisioning.gateways.kubernetes.outage import through_outages


class Opened:
    """A cluster that opens, or fails as it is told."""

    def __init__(self, failures: list[ClusterError]) -> None:
        self._failures = failures

    async def __aenter__(self) -> Self:
        if self._failures:
            raise self._failures.pop(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PAUSE_S", 0.0)


async def outcome(opening: list[ClusterError], working: list[Any], limit_s: float = 60) -> Any:
    async def work(_cluster: Cluster) -> Any:
        found = working.pop(0)
        if isinstance(found, ClusterError):
            raise found
        return found

    return await through_outages(lambda: cast("Cluster", Opened(opening)), work, limit_s=limit_s)


AWAY, REFUSED = ClusterUnreachableError("away"), ForbiddenError("may not")


async def test_work_is_repeated_after_an_outage() -> None:
    """Whether the server could not be opened or went away in mid-work."""
    assert await outcome([AWAY, AWAY], ["done"]) == "done"
    assert await outcome([], [AWAY, AWAY, "done"]) == "done"


async def test_a_starting_server_may_refuse_for_a_moment() -> None:
    """After an outage its authorizer and its CRDs load; before one a refusal is an answer."""
    assert await outcome([], [AWAY, REFUSED, "done"]) == "done"
    with pytest.raises(ForbiddenError):
        await outcome([], [REFUSED, "done"])


@pytest.mark.parametrize("error", [ConflictError("taken"), NotDeletedError("left")])
async def test_what_was_found_out_is_not_asked_again(error: ClusterError) -> None:
    """Also after an outage: these are results, and no refusals of a starting server."""
    with pytest.raises(type(error)):
        await outcome([], [AWAY, error, "done"])


async def test_an_outage_has_a_limit() -> None:
    """What stays away is said to be unreachable."""
    with pytest.raises(ClusterUnreachableError, match="away"):
        await outcome([], [AWAY, "done"], limit_s=0)
