"""A recorder that was away: the hole is flagged, and bounds every instant in it that has no stamp of its own."""

import copy
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse

RECORDING = Path(__file__).parents[1] / "recordings" / "2026-11-29" / "trial-static-trigkill.jsonl.gz"
BEGAN_AT = datetime(2026, 11, 29, 15, 11, 54, 376850, UTC)
ENDED_AT = datetime(2026, 11, 29, 15, 12, 35, 130000, UTC)


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """The recorded trial whose triggerer was killed for 41 s, in which the deployment became ready."""
    return [json.loads(line) for line in gzip.decompress(RECORDING.read_bytes()).splitlines()]


def away(found: Analysis) -> list[str]:
    return [flag.detail for flag in found.flags if flag.kind == "away"]


def mark(lines: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in lines if item["object"].get("mark") == name and item.get("type") == "MARK")


def test_the_hole_is_flagged_with_what_fell_into_it(lines: list[dict[str, Any]]) -> None:
    """How long, from when to when, and which milestones are not known better."""
    (told,) = away(analyse(lines))
    assert told.startswith(
        "the recorder was away for 40.8 s, from 2026-11-29T15:11:54.376850Z to 2026-11-29T15:12:35.13"
    )
    for name in ("endpoint_ready", "first_completion", "replica_placed"):
        assert name in told
    assert "head.ready" not in told


def test_the_first_completion_may_be_anywhere_in_the_hole(lines: list[dict[str, Any]]) -> None:
    """It was asked for at once after the hole; whether the model answered before is not known. The endpoint bounds it
    from below, because the endpoint has stamps.
    """
    found = analyse(lines)
    endpoint, completed = found.milestone("endpoint_ready"), found.milestone("first_completion")
    assert endpoint is not None
    assert completed is not None
    assert endpoint.earliest_at <= completed.earliest_at <= endpoint.latest_at
    assert completed.latest_at >= ENDED_AT


def test_a_state_without_a_stamp_has_the_hole_as_its_bounds(lines: list[dict[str, Any]]) -> None:
    """Serve's answers changed in the hole: not before it began, not after the first answer."""
    placed = analyse(lines).milestone("replica_placed")
    assert placed is not None
    assert placed.earliest_at >= BEGAN_AT
    assert placed.latest_at >= ENDED_AT


def test_a_refusal_after_the_hole_bounds_the_first_completion(lines: list[dict[str, Any]]) -> None:
    """The model was asked after the hole and did not answer validly: the first completion was watched."""
    resumed, completed = mark(lines, "recording_resumed"), mark(lines, "first_completion")
    refused = {**resumed, "object": {"mark": "completion_refused", "why": "status 503"}}
    later = datetime.fromisoformat(completed["object"]["asked_at"])
    refused["received_at"] = (later - timedelta(milliseconds=20)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    found = analyse([*lines, refused]).milestone("first_completion")
    assert found is not None
    assert found.earliest_at >= later


def test_what_was_stamped_is_as_precise_as_before(lines: list[dict[str, Any]]) -> None:
    """The hole takes nothing from an instant with a stamp, and the total is the same."""
    with_hole, without = (
        analyse(lines),
        analyse([item for item in lines if item is not mark(lines, "recording_resumed")]),
    )
    assert with_hole.total_s == without.total_s == pytest.approx(43.97, abs=0.01)
    assert away(without) == []


def test_an_endpoint_that_was_ready_before_the_recording(lines: list[dict[str, Any]]) -> None:
    """A wait that begins late says since when the model could have answered: that is the bound, and it is flagged."""
    told = "2026-11-29T15:12:10.000000Z"
    without = [item for item in lines if item is not mark(lines, "recording_resumed")]
    completed = mark(without, "first_completion")
    late = {**completed, "object": {**completed["object"], "possible_since": told}}
    found = analyse([late if item is completed else item for item in without])
    first = found.milestone("first_completion")
    assert first is not None
    assert first.earliest_at < ENDED_AT
    assert away(found) == ["the endpoint was ready before the recorder watched it; the first completion may be earlier"]


def test_an_endpoint_that_was_watched_after_the_hole_was_asked_at_once(lines: list[dict[str, Any]]) -> None:
    """The recorder was back before the deployment was ready: the first completion is as precise as without a hole."""
    earlier = {"mark": "recording_resumed", "last_received_at": "2026-11-29T15:11:30.000000Z"}
    resumed = mark(lines, "recording_resumed")
    back = {**resumed, "object": earlier, "received_at": "2026-11-29T15:11:40.000000Z"}
    watched = [
        item | {"type": "ADDED"} if item["resource"] == "endpointslices" and item["type"] == "LISTED" else item
        for item in lines
        if item is not resumed
    ]
    completed = mark(lines, "first_completion")
    found = analyse([*watched, back]).milestone("first_completion")
    assert found is not None
    assert found.earliest_at >= datetime.fromisoformat(completed["object"]["asked_at"])


def test_a_list_after_the_hole_does_not_tell_which_endpoint_was_ready_first(lines: list[dict[str, Any]]) -> None:
    """The slice was changed again in the hole: its last change and the order of its endpoints are the worker's, whose
    pod was ready 8 s after the head's. The first endpoint may have been ready since the slice was created.
    """
    late, changed = "2026-11-29T15:12:20Z", copy.deepcopy(lines)
    (listed,) = [item["object"] for item in changed if _is_serve_slice(item)]
    listed["endpoints"].reverse()
    listed["metadata"]["generation"] = 3
    listed["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"] = late
    worker = listed["endpoints"][0]["targetRef"]["uid"]
    for item in changed:
        if item.get("resource") == "pods" and item["object"]["metadata"]["uid"] == worker:
            for condition in item["object"]["status"].get("conditions") or ():
                if (condition["type"], condition["status"]) == ("Ready", "True"):
                    condition["lastTransitionTime"] = late
    found = analyse(changed).milestone("endpoint_ready")
    assert found is not None
    assert found.earliest_at <= datetime(2026, 11, 29, 15, 12, 11, tzinfo=UTC)


def _is_serve_slice(item: dict[str, Any]) -> bool:
    return item.get("resource") == "endpointslices" and "serve-svc" in item["object"]["metadata"]["name"]
