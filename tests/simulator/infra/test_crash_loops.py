"""Containers that end again and again, held to the recordings of a real kubelet (llm-oom, llm-head-crash2)."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_provisioning_simulator.dead_ends import produce

Object = dict[str, Any]
RECORDINGS = Path(__file__).parents[2] / "recordings" / "2026-11-29"
STEPS = 9


def recorded(name: str) -> Iterator[Object]:
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz", "rt") as lines:
        yield from map(json.loads, lines)


def states(lines: Iterable[Object], role: str, container: str) -> list[tuple[Any, ...]]:
    """Return how a container's state, last state and restarts changed, without times and names of the run."""
    told: list[tuple[Any, ...]] = []
    for line in lines:
        item = line["object"]
        labels = item.get("metadata", {}).get("labels") or {}
        if line["resource"] != "pods" or labels.get("ray.io/node-type") != role:
            continue
        for status in (item.get("status") or {}).get("containerStatuses") or ():
            if status["name"] == container:
                current = (_state(status["state"]), _state(status["lastState"]), status["restartCount"])
                if not told or told[-1] != current:
                    told.append(current)
    return told


def _state(state: Object) -> tuple[Any, ...]:
    for kind, said in state.items():
        message = (said.get("message") or "").split(" restarting failed")[0]
        return kind, said.get("reason"), said.get("exitCode"), message
    return ()


@pytest.mark.parametrize(
    ("recording", "end", "role", "container"),
    [
        ("llm-oom", "worker-out-of-memory", "worker", "ray-worker"),
        ("llm-head-crash2", "head-image-without-shell", "head", "ray-head"),
    ],
)
def test_states_follow_each_other_as_recorded(recording: str, end: str, role: str, container: str) -> None:
    """The first restart at once, then back-offs of 10, 20 and 40 s, with the recorded reasons, codes and counts."""
    simulated = states(produce(end, after_s=300.0), role, container)
    assert simulated[:STEPS] == states(recorded(recording), role, container)[:STEPS]


def test_a_restart_repeats_the_events_of_the_first_start() -> None:
    """Pulled, Created, Started and BackOff are counted, not written anew (kubelet's legacy recorder)."""
    lines = produce("worker-out-of-memory", after_s=120.0)
    counts: dict[str, int] = {}
    names: dict[str, set[str]] = {}
    for line in lines:
        item = line["object"]
        about = item.get("involvedObject") or {}
        if line["resource"] == "events" and about.get("fieldPath") == "spec.containers{ray-worker}":
            counts[item["reason"]] = item["count"]
            names.setdefault(item["reason"], set()).add(item["metadata"]["name"])
    assert counts["Started"] >= 3
    assert counts["BackOff"] >= 3
    assert all(len(found) == 1 for reason, found in names.items() if reason in ("Pulled", "Created", "Started"))
