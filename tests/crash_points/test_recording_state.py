"""When a crash point's child may end, because what follows would be what the recording does."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from crashes.points import INJECTOR
from crashes.sweep import _is_back
from crashes.truth import state_of

POD = ("pods", "eks/default/llm-model-serve-4ml9t-head")
RESULT = {"build": {"log_url": "https://x/builds/0b1c2d3e-aaaa-4bbb-8ccc-0123456789ab", "seconds": 81.25}}


def state(things: dict[tuple[str, str], str], entries: tuple[str, ...] = (), **results: Any) -> str:
    """Return the state of what exists, of names in the ledger and of what tasks returned."""
    return state_of(things, entries, results)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (state({POD: '{"expires": "20261201T000000Z"}'}), state({POD: '{"expires": "20261202T111111Z"}'})),
        (state({POD: ""}), state({("pods", "eks/default/llm-model-serve-7kx2b-head"): ""})),
        (
            state({}, **RESULT),
            state({}, build={"log_url": RESULT["build"]["log_url"].replace("aaaa", "eeee"), "seconds": 3.5}),
        ),
    ],
)
def test_instants_and_generated_ids_make_no_other_state(one: str, other: str) -> None:
    """Two plays never have those in common."""
    assert one == other


@pytest.mark.parametrize(
    "other",
    [
        state({}, ("entry",), **RESULT),
        state({POD: '{"finalizers": []}'}, ("entry",), **RESULT),
        state({POD: "", ("pods", "eks/default/llm-model-serve-7kx2b-head"): ""}, ("entry",), **RESULT),
        state({POD: ""}, (), **RESULT),
        state({POD: ""}, ("entry", "entry-2"), **RESULT),
        state({POD: ""}, ("entry",), build={**RESULT["build"], "seconds": None}),
        state({POD: ""}, ("entry",), build={**RESULT["build"], "reused": True}),
    ],
)
def test_everything_else_does(other: str) -> None:
    """A thing, its content, a second one of its kind, an entry, and what a task returned."""
    assert state({POD: ""}, ("entry",), **RESULT) != other


@pytest.fixture
def pair() -> Iterator[None]:
    """A pair that has suffered both of its faults."""
    INJECTOR.suffered, INJECTOR.pending, INJECTOR.whole = ["before one", "after other"], [], True
    yield
    INJECTOR.suffered, INJECTOR.whole, INJECTOR.pending = [], False, []
    INJECTOR.rng = random.Random(1)


@pytest.mark.usefixtures("pair")
def test_a_pair_ends_in_the_recordings_state_and_some_go_on() -> None:
    """About one in ten goes on; a pair with a fault to come, or in another state, always does."""
    ended = sum(_is_back("same", "same") for _ in range(1000))
    assert 850 < ended < 950
    assert not any(_is_back("same", "other") for _ in range(100))
    INJECTOR.pending = [(7, "before")]
    assert not any(_is_back("same", "same") for _ in range(100))
