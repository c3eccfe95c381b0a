"""A container that can never start, or ends again and again, ends the wait; one that may recover does not."""

from typing import Any

import pytest
from blocker_lines import (
    HOUR_S,
    WORKER,
    at,
    blocked,
    ended,
    event,
    judged,
    line,
    pod,
    ready_head,
    running,
    service,
    waiting,
)

NOT_FOUND = 'failed to resolve reference "r/i:absent": r/i:absent: not found'
FORBIDDEN = 'failed to resolve reference "r/i:1": unexpected status from HEAD request: 403 Forbidden'
UNAUTHORIZED = "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized"
# containerd and kubelets, from public reports: ray 39009, acr 739 and 743, AKS 5871, kuberay 3517.
DISK = "failed to extract layer sha256:aa: write /var/lib/containerd/tmpmounts/x: no space left on device: unknown"
NO_HOST = 'Head "https://regg.azurecr.io/v2/": dial tcp: lookup regg.azurecr.io on 168.63.129.16:53: no such host'
LIMIT = "429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit."
MIRROR = 'Head "https://localhost:8578/v2/p/manifests/m": dial tcp 127.0.0.1:8578: connect: connection refused'
DRIVER = "OCI runtime create failed: nvidia-container-cli: nvml error: driver/library version mismatch: unknown"


@pytest.mark.parametrize(
    ("reason", "message", "advice"),
    [
        ("ErrImagePull", NOT_FOUND, "name and tag"),
        ("ImagePullBackOff", FORBIDDEN, "the right to pull"),
        ("ErrImagePull", UNAUTHORIZED, "the right to pull"),
        ("ErrImagePull", DISK, "larger disk"),
        ("ImagePullBackOff", NO_HOST, "name of the registry"),
        ("InvalidImageName", 'couldn\'t parse image name "R/I": invalid reference format', "name and tag"),
        ("ErrImageNeverPull", "Container image is not present with pull policy of Never", ""),
        ("CreateContainerConfigError", 'secret "hf-secret" not found', "Create that object"),
        ("CreateContainerConfigError", "couldn't find key token in Secret n/hf", "Add that key"),
        ("RunContainerError", DRIVER, "NVIDIA driver"),
        ("CreateContainerError", 'exec: "python9": executable file not found in $PATH', "command of the container"),
    ],
)
def test_what_is_answered_alike_at_every_try_ends_the_wait(reason: str, message: str, advice: str) -> None:
    """After the grace period the reason names pod, container, the kubelet's reason and sentence, and what to do."""
    lines = service(), ready_head(), pod(20, waiting(reason, message))
    assert judged(*lines, until_s=195).state == "pending"
    found = judged(*lines, until_s=HOUR_S)
    assert found.state == "failed"
    for part in (f"Pod n/{WORKER}", "ray-worker", reason, message.rstrip("."), advice):
        assert part in str(found.reason)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", LIMIT),
        ("ErrImagePull", MIRROR),
        ("ErrImagePull", "read tcp 10.0.0.1:443: connection reset by peer"),
        ("ErrImagePull", "dial tcp: lookup r.io on 10.0.0.2:53: read udp: i/o timeout"),
        ("CreateContainerError", "context deadline exceeded"),
        ("SomethingNew", "a kubelet of the future says so"),
    ],
)
def test_what_may_pass_is_waited_for_and_named(reason: str, message: str) -> None:
    """Throttling, a refused connection and reasons that are not known end no wait, but the limit names them."""
    lines = service(), ready_head(), pod(20, waiting(reason, message))
    assert judged(*lines, until_s=HOUR_S).state == "pending"
    (found,) = blocked(*lines)
    assert found.passes
    assert WORKER in found.told(found.since)
    assert reason in found.told(found.since)


def test_the_alternating_reasons_of_one_failure_are_one_blocker() -> None:
    """ErrImagePull and ImagePullBackOff are counted from the first one; an older kubelet's back-off keeps the cause."""
    turns = [waiting("ErrImagePull", NOT_FOUND), waiting("ImagePullBackOff", 'Back-off pulling image "r/i:absent"')]
    lines = [pod(20 + 10 * number, turns[number % 2]) for number in range(8)]
    found = judged(service(), ready_head(), *lines, until_s=HOUR_S)
    assert NOT_FOUND in str(found.reason)
    assert "(for 180 s)" in str(found.reason)


def test_pods_that_are_refused_alike_are_all_named() -> None:
    """The wait ends for the first of them; the others have the same cause."""
    first, second = (pod(20, waiting("ErrImagePull", FORBIDDEN), name=name) for name in (WORKER, "a-x1-cpu-worker-7"))
    found = judged(service(), ready_head(), first, second, until_s=HOUR_S)
    assert "Alike: " in str(found.reason)
    assert {WORKER, "a-x1-cpu-worker-7"} <= set(str(found.reason).replace("n/", "").split())


def test_a_back_off_without_cause_takes_it_from_the_event() -> None:
    """A recorder that came late never saw ErrImagePull; the event `Failed` has its sentence."""
    told = event(10, "Failed", f'Failed to pull image "r/i:absent": {NOT_FOUND}')
    (found,) = blocked(service(), pod(20, waiting("ImagePullBackOff", 'Back-off pulling image "r/i:absent"')), told)
    assert found.kind == "image_refused"
    assert NOT_FOUND in found.sentence


def test_a_late_success_clears_a_refusal() -> None:
    """With a role that was granted late the container runs; or its pod is gone, or is being deleted."""
    refused = pod(20, waiting("ErrImagePull", NOT_FOUND))
    going = pod(100, waiting("ErrImagePull", NOT_FOUND))
    going["object"]["metadata"]["deletionTimestamp"] = "2026-05-04T12:01:40Z"
    for solved in (pod(100, running()), pod(100, kind="DELETED"), going):
        assert blocked(service(), refused, solved) == []


def test_a_crash_once_may_pass() -> None:
    """One end, or two, end no wait, however long ago; a container that is ready again does not block."""
    for crashed in (pod(20, init=[ended(name="wait-gcs-ready")]), pod(20, ended())):
        assert judged(service(), ready_head(), crashed, until_s=HOUR_S).state == "pending"
        assert [one.kind for one in blocked(service(), ready_head(), crashed)] == ["crashed"]
    again = pod(30, running(restarts=1, ready=True, last={"reason": "Error", "exitCode": 1}))
    assert blocked(service(), ready_head(), pod(20, ended()), again, second=31) == []


def crash_loop(reason: str = "OOMKilled", exit_code: int = 137, ends: int = 3) -> list[dict[str, Any]]:
    """A container that runs ten seconds, ends, and is started again."""
    end = {"reason": reason, "exitCode": exit_code}
    lines = []
    for number in range(ends):
        begun = 20 + 40 * number
        before = end if number else None
        lines.append(pod(begun, running(restarts=number, last=before)))
        lines.append(pod(begun + 10, ended(reason, exit_code, restarts=number, last=before)))
        lines.append(pod(begun + 12, waiting("CrashLoopBackOff", "back-off 10s", restarts=number, last=end)))
    return lines


def test_the_same_end_again_and_again_ends_the_wait() -> None:
    """The third same end is a crash loop. The reason says how it ended, how often, and what to do."""
    found = judged(service(), ready_head(), *crash_loop(), until_s=HOUR_S)
    assert found.state == "failed"
    for part in (f"Pod n/{WORKER}, container ray-worker", "OOMKilled", "3 times", "exit code 137", "memory limit"):
        assert part in str(found.reason)
    assert judged(service(), ready_head(), *crash_loop(ends=2), until_s=HOUR_S).state == "pending"


def test_a_loop_that_was_going_on_when_the_recording_began_counts() -> None:
    """The number of restarts is in the pod: a single version is enough."""
    last = {"reason": "Error", "exitCode": 1, "message": "ValueError: bad flag"}
    found = judged(service(), ready_head(), pod(20, waiting("CrashLoopBackOff", restarts=8, last=last)), until_s=HOUR_S)
    assert "9 times" in str(found.reason)
    assert "ValueError: bad flag" in str(found.reason)


def test_a_loop_that_runs_again_is_given_its_chance() -> None:
    """While the container runs, the wait does not end; after a minute of being ready nothing blocks any more."""
    lines = *crash_loop(), pod(120, running(restarts=3, last={"reason": "OOMKilled", "exitCode": 137}, ready=True))
    assert judged(service(), ready_head(), *lines, until_s=HOUR_S).state == "pending"
    assert [one.kind for one in blocked(service(), ready_head(), *lines, second=130)] == ["crashed"]
    assert blocked(service(), ready_head(), *lines, second=200) == []


def test_a_worker_may_crash_until_its_head_answers() -> None:
    """Without KubeRay's init container a worker ends until the head is ready; its memory is another matter."""
    head = pod(1, running("ray-head"), name="a-x1-head", role="head")
    assert judged(service(), head, *crash_loop("Error", 1), until_s=HOUR_S).state == "pending"
    assert judged(service(), head, *crash_loop(), until_s=HOUR_S).state == "failed"
    assert judged(service(), ready_head(), *crash_loop("Error", 1), until_s=HOUR_S).state == "failed"


def test_a_container_killed_by_its_liveness_probe_says_so() -> None:
    """The exit code 137 alone does not tell why; the kubelet's event does."""
    probe = event(100, "Unhealthy", "Liveness probe failed: connection refused")
    found = judged(service(), ready_head(), *crash_loop("Error", 137), probe, until_s=HOUR_S)
    assert "Liveness probe failed: connection refused" in str(found.reason)
    assert [one.kind for one in blocked(service(), pod(20, running()), probe, second=110)] == ["liveness"]
    assert blocked(service(), pod(20, running()), probe, second=400) == []


def test_a_container_that_never_ran_is_refused_and_no_crash() -> None:
    """RunContainerError and CrashLoopBackOff after StartError are one refusal, counted from the first one."""
    end = {"reason": "StartError", "exitCode": 128, "message": 'exec: "/bin/bash": no such file or directory'}
    turns = [waiting("RunContainerError", end["message"], last=end), waiting("CrashLoopBackOff", "back-off", last=end)]
    lines = [pod(20 + 20 * number, turns[number % 2]) for number in range(6)]
    (found,) = blocked(service(), *lines)
    assert found.kind == "container_refused"
    assert found.since == blocked(service(), lines[0])[0].since
    assert "/bin/bash" in found.sentence


def test_pods_of_another_ray_cluster_do_not_count() -> None:
    """Neither those of another RayService, nor those of the RayCluster that is being replaced."""
    other = pod(20, waiting("ErrImagePull", NOT_FOUND), cluster="b-x1")
    assert judged(service(), other, until_s=HOUR_S).state == "pending"
    assert blocked(service(), other) == []


def test_a_worker_that_no_replica_needs_ends_nothing() -> None:
    """All replicas have their place: a second worker whose image is refused is not waited for."""
    replica = {"state": "STARTING", "node_ip": "10.0.0.1", "node_instance_id": WORKER}
    body = {"applications": {"llm": {"status": "DEPLOYING", "deployments": {"LLM": {"replicas": [replica]}}}}}
    answer = {**service(30), "resource": "serve-rest", "type": None, "object": body, "service": "a-x1-head-svc"}
    idle = pod(20, waiting("ErrImagePull", NOT_FOUND), name="a-x1-gpu-worker-2")
    assert judged(service(), ready_head(), pod(19, running()), idle, answer, until_s=HOUR_S).state == "pending"
    replica.pop("node_ip")
    assert judged(service(), ready_head(), pod(19, running()), idle, answer, until_s=HOUR_S).state == "failed"


def test_the_kubelets_words_about_a_loop_and_its_probe_are_told() -> None:
    """The back-off's message stands where the container left none; a startup probe ends containers too."""
    killing = event(100, "Killing", "Container ray-worker failed startup probe, will be restarted", warning=False)
    found = judged(service(), ready_head(), *crash_loop("Error", 137), killing, until_s=HOUR_S)
    assert "back-off 10s" in str(found.reason)
    assert "failed startup probe, will be restarted" in str(found.reason)


def test_a_running_container_that_is_not_ready_is_told_with_its_probe() -> None:
    """Nothing is wrong with a replica that starts; the limit tells what the pod waits for, init containers first."""
    probe = event(100, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404")
    judge = judged(service(), ready_head(), pod(20, running()), probe)
    told = judge.blockers.at(at(110))[0]
    assert (told.kind, told.reason) == ("waiting", "running, not ready")
    assert "statuscode: 404" in told.sentence
    first = pod(20, waiting("PodInitializing"), init=[running("wait-gcs-ready")])
    assert "wait-gcs-ready" in judged(service(), ready_head(), first).blockers.at(at(110))[0].about


@pytest.mark.parametrize(
    "message",
    [
        "services have not yet been read at least once, cannot construct envvars",
        "fork/exec /usr/bin/containerd-shim-runc-v2: resource temporarily unavailable",
        "the container runtime is down",
        "unable to start unit: Message recipient disconnected from message bus without replying",
        'Conflict. The container name "/k8s_x" is already in use by container "9".',
    ],
)
def test_a_runtime_or_kubelet_that_is_busy_or_has_just_started_ends_no_wait(message: str) -> None:
    """It tries again with success, on a node that is seconds old."""
    lines = service(), ready_head(), pod(20, waiting("CreateContainerError", message))
    assert judged(*lines, until_s=HOUR_S).state == "pending"
    assert [one.kind for one in blocked(*lines)] == ["container_delayed"]


def with_init(line: dict[str, Any], **spec: Any) -> dict[str, Any]:
    line["object"]["spec"]["initContainers"] = [{"name": "proxy", **spec}]
    return line


def test_a_sidecar_that_ends_with_0_again_and_again_is_a_crash_loop() -> None:
    """A native sidecar is an init container that goes on; an end with 0 is a success of the other ones only."""
    end = {"reason": "Completed", "exitCode": 0}
    loop = waiting("CrashLoopBackOff", "back-off 40s", name="proxy", restarts=6, last=end)
    lines = service(), ready_head(), with_init(pod(20, init=[loop]), restartPolicy="Always")
    found = judged(*lines, until_s=HOUR_S)
    assert found.state == "failed"
    assert "container proxy: CrashLoopBackOff after Completed" in str(found.reason)
    done = running(ready=False), [ended("Completed", 0, name="proxy")]
    assert blocked(service(), ready_head(), with_init(pod(20, done[0], init=done[1]))) == []


def waits(*lines: dict[str, Any], second: float = 300) -> list[tuple[str, str, str]]:
    found = judged(service(), *lines).blockers.at(at(second))
    return [(one.about, one.reason, one.sentence) for one in found if one.kind == "waiting"]


def test_a_pod_whose_containers_are_ready_tells_what_keeps_it_from_being_ready() -> None:
    """A readiness gate of a load balancer is in the pod's condition only."""
    gate = 'the status of pod readiness gate "target-health.elbv2.k8s.aws/x" is not "True", but False'
    ready = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": gate}
    told = waits(ready_head(), pod(20, running(ready=True), conditions=[ready]))
    assert told == [(f"Pod n/{WORKER}", "ReadinessGatesNotReady", gate)]


def test_a_pod_on_a_node_that_does_not_answer_is_told_with_the_node() -> None:
    """The states of its containers are those of before; a kubelet that says something is back."""
    lost = event(60, "NodeNotReady", "Node is not ready", component="node-controller")
    lines = ready_head(), pod(20, running()), lost
    assert waits(*lines) == [(f"Pod n/{WORKER}", "NodeNotReady node-1", "Node is not ready")]
    back = event(90, "Unhealthy", "Readiness probe failed: x")
    assert waits(*lines, back)[0][1] == "running, not ready"
    node = {"metadata": {"name": "node-1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert waits(*lines, line(90, "nodes", node))[0][1] == "running, not ready"
    assert waits(line(30, "nodes", node), *lines)[0][1] == "NodeNotReady node-1"


def test_a_pod_that_stays_while_it_is_deleted_is_named() -> None:
    """KubeRay makes no other head of that name; a minute after its time the pod is what is waited for."""
    head = pod(20, running("ray-head"), name="a-x1-head", role="head")
    head["object"]["metadata"] |= {"deletionTimestamp": "2026-05-04T12:01:00Z", "finalizers": ["ray.io/x"]}
    about = "RayCluster a-x1"
    assert [one[0] for one in waits(head, second=90)] == [about]
    assert waits(head, second=200) == [("Pod n/a-x1-head", "being deleted", "finalizers ray.io/x")]
    del head["object"]["metadata"]["finalizers"]
    lost = event(60, "NodeNotReady", "Node is not ready", name="a-x1-head", component="node-controller")
    assert waits(head, lost, second=200)[0][2] == "NodeNotReady: Node is not ready"
