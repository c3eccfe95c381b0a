"""The offset of each source's clock from the recorder's is proven by receipts, polls and causes, and never assumed
small.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from proof.generated import Distortion, Scenario, generate

from airflow_llm_provisioning.core.timing.analysis import analyse
from airflow_llm_provisioning.core.timing.clocks import DEFAULT_BOUND, Clocks
from airflow_llm_provisioning.core.trace import TraceView

AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SERVE = "serve c-head"


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def line(at: datetime, **told: Any) -> dict[str, Any]:
    return {"received_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), **told}


def owned(uid: str, name: str, owner: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "name": name, "ownerReferences": [{"uid": owner}], **metadata}}


def objects() -> list[dict[str, Any]]:
    """Return a RayService, its cluster and its head on a node, without any stamps."""
    head = owned("h", "c-head", "c", labels={"ray.io/node-type": "head"})
    told = {
        "rayservices": {"metadata": {"uid": "s", "name": "s"}},
        "rayclusters": owned("c", "c", "s"),
        "pods": {**head, "spec": {"nodeName": "n"}},
    }
    return [line(AT, type="LISTED", resource=resource, object=obj) for resource, obj in told.items()]


def poll(after_s: float, deployed_s: float | None, unchanged_s: float | None) -> dict[str, Any]:
    """Return an answer of Serve; `deployed_s`: its stamp by Serve's clock, seconds after AT."""
    app = {} if deployed_s is None else {"llm": {"last_deployed_time_s": AT.timestamp() + deployed_s}}
    extra = {} if unchanged_s is None else {"unchanged_until": (AT + seconds(unchanged_s)).isoformat()}
    body = {"applications": app}
    return line(
        AT + seconds(after_s), resource="serve-rest", status_code=200, service="c-head-svc", object=body, **extra
    )


def test_a_poll_bounds_a_clock_from_both_sides() -> None:
    """A stamp that was absent when one poll began and present in the next answer lies between the two."""
    clocks = Clocks(TraceView([*objects(), poll(10, None, None), poll(12, 14.0, 11.0)]))
    offset = clocks.offset(SERVE)
    assert (offset.low, offset.high) == (seconds(2), seconds(3))


def test_without_the_last_unchanged_poll_the_one_before_counts() -> None:
    """Recordings contain only changed answers: the answer before lacked the stamp when its reply was in transit."""
    clocks = Clocks(TraceView([*objects(), poll(10, None, None), poll(12, 14.0, None)]))
    assert clocks.offset(SERVE).high == seconds(4.25)


def test_a_clock_without_samples_has_the_default_bound() -> None:
    """Without samples neither zero offset nor the offset of the node is proven."""
    offset = Clocks(TraceView(objects())).offset("ray c-head")
    assert (offset.low, offset.high) == (-DEFAULT_BOUND, DEFAULT_BOUND)


@pytest.mark.parametrize("skew_s", [0.0, 5.0])
def test_a_pods_clock_is_likely_its_nodes_and_bounded_without_it(skew_s: float) -> None:
    """Containers read their node's clock, so it is the likeliest; the bounds do not depend on that."""
    deployment = generate(5, Distortion(skew_s=skew_s), Scenario(dynamic=True, fresh=True))
    view = TraceView(deployment.lines)
    clocks = Clocks(view)
    for role, node in (("head", "node-head"), ("worker", "node-gpu")):
        pod = view.head if role == "head" else view.worker
        assert pod is not None
        for program in ("ray", "serve"):
            offset = clocks.offset(f"{program} {pod.name}")
            assert offset.low <= seconds(deployment.skews[f"{program}-{role}"]) <= offset.high
            near = clocks.offset(f"node {node}").likely
            assert offset.likely == min(max(near, offset.low), offset.high)


def test_what_an_instant_waited_for_narrows_its_clock() -> None:
    """The container's start before and the controller's line after the engine's lines give bounds narrower than the
    default.
    """
    deployment = generate(5, Distortion(skew_s=5), Scenario(dynamic=True, fresh=True, engine="vllm-0.33"))
    milestone = analyse(deployment.lines).milestone("model_loaded")
    assert milestone is not None
    assert milestone.earliest_at <= deployment.truth["model_loaded"] <= milestone.latest_at
    assert milestone.width_s < 2 * DEFAULT_BOUND.total_seconds()


def test_contradictory_evidence_is_counted_and_not_used() -> None:
    """A clock cannot be ahead by at least three and at most two seconds: the earlier bounds stay, and it is counted."""
    clocks = Clocks(TraceView(objects()))
    before = clocks.offset(SERVE)
    assert not clocks.narrow([(SERVE, seconds(3), seconds(9)), (SERVE, seconds(-9), seconds(2))])
    assert clocks.offset(SERVE) == before
    assert clocks.implausible == {SERVE: 1}


def test_a_backlog_is_not_taken_for_prompt() -> None:
    """The only event of a clock came after an interrupted watch, so it proves no offset of minus nine seconds."""

    def event(at: datetime) -> dict[str, Any]:
        metadata = {"uid": "e", "resourceVersion": "1"}
        obj = {
            "metadata": metadata,
            "reason": "x",
            "eventTime": AT.isoformat(),
            "reportingComponent": "some-autoscaler",
        }
        return line(at, type="ADDED", resource="events", object=obj)

    mark = {"mark": "watch_interrupted", "resource": "events", "why": "away"}
    gap = line(AT - seconds(1), type="MARK", resource="trace", object=mark)
    late = event(AT + seconds(9))
    assert Clocks(TraceView([late])).offset("some-autoscaler").high < seconds(-7)
    assert Clocks(TraceView([gap, late])).offset("some-autoscaler").high == DEFAULT_BOUND
