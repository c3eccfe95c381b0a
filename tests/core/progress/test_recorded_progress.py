"""The lines about recorded deployments: what the analysis finds later, a reader was told when it happened."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.core.blockers import Blockers
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.progress import AT_LEAST_EVERY, Expected, LiveProgress
from airflow_llm_provisioning.core.progress.spans import SPANS
from airflow_llm_provisioning.core.timing.analysis import analyse
from airflow_llm_provisioning.core.trace import decode_trace

TICK = timedelta(seconds=5)
# Milestones of which a waiting reader is told; those of the engine's logs are read after the end only.
FOLLOWED = {ends for _, ends in SPANS.values()} | {start for begins, _ in SPANS.values() for start in begins}


def recorded(name: str) -> list[Any]:
    """Return the lines of a recording in the order in which they were received."""
    lines = decode_trace((Path(__file__).parents[2] / "recordings" / f"{name}.jsonl.gz").read_bytes()).lines
    return sorted(lines, key=lambda line: str(line["received_at"]))


class Reader:
    """Feeds a recording as a wait does, which looks at least every five seconds. `told`: (when, line)."""

    def __init__(self, lines: list[Any], expected: Expected | None = None) -> None:
        first = next(line["object"] for line in lines if line["resource"] == "rayservices")
        metadata = first["metadata"]
        submitted_at = parse_instant(metadata["creationTimestamp"])
        assert submitted_at is not None
        self.live = LiveProgress(submitted_at, expected)
        self.told: list[tuple[Any, str]] = []
        blockers = Blockers(metadata["name"], metadata["namespace"], uid=metadata["uid"])
        now = None
        for line in lines:
            received_at = parse_instant(line["received_at"])
            assert received_at is not None
            for moment in _moments(now, received_at):
                self._ask(moment, blockers)
            blockers.feed(line)
            self.live.take(line, received_at)
            self._ask(received_at, blockers)
            now = received_at

    def _ask(self, now: Any, blockers: Blockers) -> None:
        blocker = next(iter(blockers.at(now)), None)
        self.told += [(now, line) for line in self.live.told(now, blocker)]


def _moments(last: Any, until: Any) -> Iterator[Any]:
    while last is not None and last + TICK < until:
        last += TICK
        yield last


def ready_part(lines: list[Any]) -> list[Any]:
    """Return the lines until the RayService was deleted, or all."""
    deleted = [
        str(line["received_at"])
        for line in lines
        if line["resource"] == "rayservices" and line["object"]["metadata"].get("deletionTimestamp")
    ]
    return [line for line in lines if not deleted or str(line["received_at"]) < deleted[0]]


@pytest.mark.parametrize("name", ["static", "dynamic", "node-late"])
def test_a_reader_is_told_the_milestones_that_the_analysis_finds(name: str) -> None:
    """Every followed milestone of the analysis was told, at an instant that its bounds allow."""
    lines = recorded(name)
    analysis, reader = analyse(lines), Reader(ready_part(lines))
    reached = reader.live.seen.reached
    found = {item.name: item for item in analysis.milestones if item.name in FOLLOWED}
    judged = set(found) - {"submitted", "endpoint_ready"}
    # The container's state tells the end of an init container, and the requested replica has no event.
    assert judged >= {"raycluster_created", "head.ready", "worker.container_started", "app_running"}
    assert judged <= set(reached)
    for milestone in judged:
        low, high = found[milestone].earliest_at, found[milestone].latest_at
        assert low - timedelta(seconds=2) <= reached[milestone] <= high + timedelta(seconds=2), milestone


@pytest.mark.parametrize("name", ["static", "dynamic", "node-late", "failed", "2026-11-29/llm-unsched"])
def test_no_line_is_repeated_and_a_minute_never_passes_without_one(name: str) -> None:
    """A reader sees news or where the deployment stands, and nothing twice."""
    lines = ready_part(recorded(name))
    told = Reader(lines).told
    texts = [line for _, line in told]
    assert len(texts) == len(set(texts))
    times = [parse_instant(lines[0]["received_at"]), *(at for at, _ in told), parse_instant(lines[-1]["received_at"])]
    gaps = [later - earlier for earlier, later in pairwise(times) if earlier and later]
    assert max(gaps) <= AT_LEAST_EVERY + TICK


def test_a_failing_deployment_is_told_with_the_clusters_own_sentence() -> None:
    """The line names the application and the exception, long before the time limit."""
    told = [line for _, line in Reader(recorded("failed")).told if " blocked: " in line]
    assert any("Serve application 'llm' failed to deploy" in line and "ModuleNotFoundError" in line for line in told)


def test_a_pod_without_a_node_is_told_with_the_schedulers_sentence() -> None:
    """The line names the pod and what the scheduler said of the nodes."""
    told = [line for _, line in Reader(recorded("2026-11-29/llm-unsched")).told]
    assert any(" blocked: Pod " in line and "FailedScheduling" in line for line in told)


def test_a_pull_is_held_against_the_arms_earlier_pulls() -> None:
    """The end of a span is told with what it took and what it usually takes."""
    expected = Expected(n=4, total_s=50.0, spans={"worker image pull": 242.0})
    told = [line for _, line in Reader(recorded("static"), expected).told]
    assert "+0:20 worker image pulled after 0:17 (this arm's median 4:02)" in told


def test_a_line_costs_no_more_late_than_early() -> None:
    """Ten thousand repeats of an event leave nothing behind: what is kept grows with the objects, not with lines."""
    lines = ready_part(recorded("static"))
    live = Reader(lines).live
    event = next(line for line in lines if line["resource"] == "events" and line["object"].get("reason") == "Unhealthy")

    def kept() -> tuple[int, ...]:
        seen = live.seen
        return tuple(len(part) for part in (seen.reached, seen._pods, seen._nodes, seen._news))

    before, at = kept(), parse_instant(event["received_at"])
    assert at is not None
    for _ in range(10_000):
        live.take(event, at)
    assert kept() == before
