"""Many trials recorded at once by one process, in a size for a busy machine; `make proof` has the full size."""

from typing import Any

import pytest
from proof import FIGURES, SHORT
from proof.concurrency import _lost, prove

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """Run the proof once."""
    return prove(SHORT)


def test_no_event_is_lost(figures: dict[str, Any]) -> None:
    """Every sent version is in its trial's stored trace, exactly once and in order; every trial ended ready."""
    (told,) = figures["growth"]
    assert told["events_sent"] >= SHORT.events_per_s * SHORT.recording_s
    assert figures["events_lost"] == 0
    assert told["not_ready"] == 0


def test_every_figure_is_there(figures: dict[str, Any]) -> None:
    """A figure that could not be measured would be None."""
    assert set(FIGURES["concurrency"]) <= set(figures)
    assert all(figures[name] is not None for name in FIGURES["concurrency"])
    assert figures["concurrent_trials"] == SHORT.concurrent_trials
    assert figures["cpu_s_per_trial"] > 0
    assert figures["rss_mb_per_trial"] > 0


def test_a_ready_endpoint_is_acted_on(figures: dict[str, Any]) -> None:
    """There is no claim about milliseconds on a busy machine: the full run has the figure."""
    assert 0 < figures["ready_lag_ms_p99"] < 20_000


def line(version: int, uid: str = "u") -> dict[str, Any]:
    """Return a stored version."""
    metadata = {"uid": uid, "resourceVersion": str(version)}
    return {"resource": "pods", "type": "MODIFIED", "object": {"metadata": metadata}}


@pytest.mark.parametrize(
    ("stored", "lost"),
    [
        ([1, 2, 3], 0),
        ([1, 3], 1),
        ([1, 2, 2, 3], 1),
        ([2, 1, 3], 1),
        ([], 3),
    ],
    ids=["whole", "missing", "twice", "out of order", "none"],
)
def test_the_count_of_losses_finds_one(stored: list[int], lost: int) -> None:
    """A missing, repeated or misordered version counts as lost; other objects do not matter."""
    told = [["pods", "u", str(version)] for version in (1, 2, 3)]
    lines = [line(9, "other"), *(line(version) for version in stored)]
    assert _lost(told, lines) == lost
