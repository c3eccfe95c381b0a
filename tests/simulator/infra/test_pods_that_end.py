"""A pod that only pulls an image ends, and says so as a kubelet does."""

from llm_provisioning_simulator.infra.podstatus import PodState


def test_a_pod_whose_containers_have_all_ended_well_has_succeeded() -> None:
    """Phase Succeeded, not ready with reason PodCompleted; while one container runs the pod runs."""
    pod = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]},
    }
    state = PodState.accepted(pod, "10.0.0.1", "2026-11-22T00:00:00Z")
    state.ip = "10.1.0.1"
    first, second = state.main
    second.state = {"running": {"startedAt": "2026-11-22T00:00:01Z"}}
    first.state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    assert state.status(pod, "2026-11-22T00:00:02Z")["phase"] == "Running"
    second.state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    status = state.status(pod, "2026-11-22T00:00:03Z")
    ready = next(row for row in status["conditions"] if row["type"] == "Ready")
    assert (status["phase"], ready["status"], ready["reason"]) == ("Succeeded", "False", "PodCompleted")
