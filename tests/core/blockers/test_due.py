"""A wait that judges only when a line or the time can have changed something ends at the second at which one ends that
judges every second.
"""

from datetime import datetime
from typing import Any

from blocker_lines import WORKER, at, container, ended, event, pod, ready_head, running, service, waiting
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_llm_provisioning.core.readiness import Readiness

READY = [{"type": "Ready", "status": "True"}]
UNPLACED = [
    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: insufficient"}
]
FAILED = {"llm": {"status": "DEPLOY_FAILED", "message": "no"}}
GONE = {"reason": "Error", "exitCode": 1}
# second -> line
STEPS: list[Any] = [
    service,
    ready_head,
    lambda second: service(second, FAILED),
    lambda second: service(second, {"llm": {"status": "DEPLOYING"}}),
    lambda second: pod(second, waiting("ErrImagePull", "manifest unknown")),
    lambda second: pod(second, waiting("ImagePullBackOff", "429 Too Many Requests")),
    lambda second: pod(second, waiting("CreateContainerConfigError", 'secret "hf" not found')),
    lambda second: pod(second, waiting("CrashLoopBackOff", restarts=5, last=GONE)),
    lambda second: pod(second, ended(restarts=3)),
    lambda second: pod(second, running(restarts=4, last=GONE)),
    lambda second: pod(second, running(restarts=4, last=GONE, ready=True), conditions=READY),
    lambda second: pod(second, container({"running": {}}, ready=True), conditions=READY),
    lambda second: pod(second, node=None, conditions=UNPLACED),
    lambda second: pod(second, phase="Failed", reason="Evicted"),
    lambda second: pod(second, kind="DELETED"),
    lambda second: event(second, "FailedScheduling", "insufficient nvidia.com/gpu", component="default-scheduler"),
    lambda second: event(second, "NotTriggerScaleUp", "max size reached", component="cluster-autoscaler"),
    lambda second: event(second, "FailedScaleUp", "out of resources", component="cluster-autoscaler"),
    lambda second: event(second, "TriggeredScaleUp", "[{group 0->1 (max: 2)}]", component="cluster-autoscaler"),
    lambda second: event(second, "Unhealthy", "Liveness probe failed: no answer"),
    lambda second: event(second, "FailedMount", 'configmap "x" not found', name=WORKER),
    lambda second: event(second, "InvalidRayServiceSpec", "no", kind="RayService", name="a"),
]
GRACES = st.none() | st.fixed_dictionaries(
    {}, optional={kind: st.sampled_from([None, 0.0, 7.5, 200.0]) for kind in ("liveness", "crashed", "waiting",
    "unschedulable", "capacity", "pod_failed", "deploy_failed", "image_refused", "crash_loop")},
)  # fmt: skip


class Eager(Readiness):
    """Judges at every line and at every second."""

    def _is_due(self, now: datetime) -> bool:
        return True


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(2, 60), st.sampled_from(STEPS)), min_size=1, max_size=6), GRACES)
def test_no_end_is_earlier_or_later_than_with_a_look_every_second(steps: list[Any], graces: Any) -> None:
    """With any events at any seconds and any grace periods: the same state at every second, and the same reason."""
    second, due = 0, {0: service(0)}
    for pause, step in steps:
        second += pause
        due[second] = step(second)
    lazy, eager = Readiness("a", "n", graces=graces), Eager("a", "n", graces=graces)
    for now_s in range(second + 215):
        now = at(now_s + 0.5)
        if now_s in due:
            lazy.feed(due[now_s])
            eager.feed(due[now_s])
        eager.tick(now)
        look_at = lazy.due_at(now)
        if look_at is not None and look_at <= now:
            lazy.tick(now)
        assert lazy.state == eager.state, now_s
        if eager.state == "failed":
            assert str(lazy.reason).partition(" (for ")[0] == str(eager.reason).partition(" (for ")[0]
            break


def test_nothing_is_judged_while_nothing_happens() -> None:
    """With the default grace periods a deployment that only waits is judged once after its last line."""
    waits = Readiness("a", "n")
    for line in (service(0), ready_head(1), pod(1.5, running())):
        waits.feed(line)
    assert waits.due_at(at(1.5)) == at(2)
    waits.tick(at(2))
    assert waits.due_at(at(2000)) is None


def test_the_end_of_a_grace_period_is_known_before() -> None:
    """An image that is refused ends the wait after 180 s; no look is needed before."""
    waits = Readiness("a", "n")
    for line in (service(0), ready_head(1), pod(20, waiting("ErrImagePull", "manifest unknown"))):
        waits.feed(line)
    waits.tick(at(22))
    assert waits.due_at(at(23)) == at(200)
    assert waits.tick(at(200)) == "failed"
