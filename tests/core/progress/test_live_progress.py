"""What a waiting reader is told, of deployments made for one claim each."""

from typing import Any

from blocker_lines import at, event, line, pod, running, service, stamp, waiting

from airflow_llm_provisioning.core.blockers import Blockers
from airflow_llm_provisioning.core.progress import Expected, LiveProgress, clock, expected_of


class Wait:
    """A wait that is looked at by hand."""

    def __init__(self, expected: Expected | None = None) -> None:
        self.live = LiveProgress(at(0), expected)
        self._blockers = Blockers("a", "n")

    def feed(self, *lines: Any) -> None:
        """Process lines."""
        for item in lines:
            self._blockers.feed(item)
            received_at = at((at(0).fromisoformat(item["received_at"]) - at(0)).total_seconds())
            self.live.take(item, received_at)

    def told(self, second: float) -> list[str]:
        """Return the lines that are due."""
        return self.live.told(at(second), next(iter(self._blockers.at(at(second))), None))


def cluster(second: float = 1) -> Any:
    """Return the version of a RayCluster."""
    metadata = {"name": "a-x1", "namespace": "n", "uid": "rc", "creationTimestamp": stamp(second)}
    return line(second, "rayclusters", {"metadata": metadata})


def of_pod(second: float, reason: str, message: str, uid: str = "a-x1-gpu-worker-1") -> Any:
    """Return an event about a pod, as a kubelet writes it."""
    found = event(second, reason, message, warning=False)
    found["object"]["involvedObject"]["uid"] = uid
    found["object"]["firstTimestamp"] = stamp(second)
    return found


SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(85)}


def pulling(expected: Expected | None = None) -> Wait:
    """Return a wait whose worker has pulled for a while."""
    wait = Wait(expected)
    wait.feed(service(), cluster(), pod(2, conditions=[SCHEDULED]), of_pod(85, "Pulling", 'Pulling image "r/i:1"'))
    wait.told(86)
    return wait


def test_a_pull_is_told_in_bytes_against_the_arms_median() -> None:
    """So many seconds of the median are so many of the image's bytes; it says that this is expected, not seen."""
    expected = Expected(n=8, total_s=700.0, spans={"worker image pull": 242.0}, image_bytes=9_300_000_000)
    assert " ".join(pulling(expected).told(192)) == (
        "+3:12 of 11:40 expected (median of 8): worker image pull for 1:47: 4.1 of 9.3 GB expected at this arm's "
        'median 4:02. kubelet: Pulling image "r/i:1"'
    )


def test_a_pull_beyond_its_median_is_told_without_bytes() -> None:
    """More than the whole image cannot be expected."""
    expected = Expected(n=8, total_s=700.0, spans={"worker image pull": 60.0}, image_bytes=9_300_000_000)
    (told,) = pulling(expected).told(192)
    assert "worker image pull for 1:47, longer than this arm's median 1:00." in told
    assert "GB" not in told


def test_without_earlier_trials_nothing_is_expected() -> None:
    """Missing is missing."""
    assert pulling().told(192) == ['+3:12 worker image pull for 1:47. kubelet: Pulling image "r/i:1"']


def test_a_blocker_is_told_once_and_its_end_too() -> None:
    """Two reasons that take turns are two lines, not one line per turn; the standing line repeats the blocker with its
    age.
    """
    wait = Wait()
    wait.feed(service(), cluster(), pod(2, conditions=[SCHEDULED]))
    wait.told(3)
    back_off = waiting("ImagePullBackOff", 'Back-off pulling image "r/i:1"')
    refused = waiting("ErrImagePull", "denied: no basic auth credentials")
    told: list[str] = []
    for second in range(90, 180, 10):
        wait.feed(pod(second, back_off if second % 20 else refused, conditions=[SCHEDULED]))
        told += wait.told(second)
    assert len([one for one in told if " blocked: " in one]) <= 2
    assert any("no basic auth credentials" in one for one in told)
    wait.feed(pod(200, running(), conditions=[SCHEDULED]))
    assert any("no longer blocked by Pod" in one for one in wait.told(201))


def test_several_pods_of_a_role_are_told_when_the_last_one_is_there() -> None:
    """The last engine worker decides."""
    wait = Wait()
    wait.feed(service(), cluster(), pod(2), pod(2, name="a-x1-gpu-worker-2"))
    wait.told(3)
    wait.feed(pod(30, conditions=[SCHEDULED]))
    assert not any("scheduled" in one for one in wait.told(31))
    wait.feed(pod(90, name="a-x1-gpu-worker-2", conditions=[SCHEDULED], node="node-2"))
    assert "+1:25 worker scheduled on node node-2 (the last of 2 pods) after 1:25" in wait.told(91)


def test_a_replaced_pod_is_told_and_its_successor_from_the_start() -> None:
    """The milestones of the lost pod do not count for the one that replaces it."""
    wait = pulling()
    wait.feed(pod(200, kind="DELETED"))
    assert any("worker pod a-x1-gpu-worker-1 has ended" in one for one in wait.told(201))
    wait.feed(pod(210, name="a-x1-gpu-worker-9", node=None))
    assert any("worker pod a-x1-gpu-worker-9 created" in one for one in wait.told(211))
    assert "worker node provisioning" in wait.live.snapshot(at(212)).phase


def test_pods_of_an_earlier_generation_are_not_told() -> None:
    """A changed RayService still has its old pods while the new ones start."""
    wait = Wait()
    old = pod(2, conditions=[SCHEDULED, {"type": "Ready", "status": "True", "lastTransitionTime": stamp(-60)}])
    old["object"]["metadata"]["creationTimestamp"] = stamp(-600)
    wait.feed(service(), cluster(), old)
    assert not any("worker" in one for one in wait.told(3))


def test_what_an_earlier_process_told_is_not_told_again() -> None:
    """After a restart of the triggerer the reader is told where the deployment stands."""
    wait = Wait()
    wait.feed(service(), cluster(), pod(2, conditions=[SCHEDULED]), of_pod(85, "Pulling", 'Pulling image "r/i:1"'))
    wait.live.resumed()
    assert wait.told(192) == ['+3:12 worker image pull for 1:47. kubelet: Pulling image "r/i:1"']


def test_unreadable_lines_change_nothing() -> None:
    """Content of a cluster never ends a wait."""
    wait = Wait()
    unreadable: list[Any] = [None, 7, [], {"metadata": None}, {"metadata": {"labels": 3}}]
    for obj in [*unreadable, {"applications": {"a": 1, "b": None}}]:
        for resource in ("pods", "nodes", "events", "serve-rest", "rayservices", "rayclusters", "services", "trace"):
            wait.live.take({"received_at": stamp(1), "resource": resource, "object": obj}, at(1))
    assert wait.live.snapshot(at(5)).phase


def test_the_median_and_the_middle_half_come_from_earlier_trials() -> None:
    """Under three totals there is no middle half; a milestone that a trial lacks gives no span of it."""
    one = {"worker.pull_started": at(10), "worker.pull_finished": at(70)}
    other = {"worker.pull_started": at(10), "worker.pull_finished": at(30), "head.ready": at(40)}
    found = expected_of([100.0, 200.0], [one, other, {}])
    assert (found.n, found.total_s, found.low_s, found.high_s) == (2, 150.0, None, None)
    assert found.spans == {"worker image pull": 40.0}
    assert expected_of([100.0, 200.0, 400.0], []).low_s == 100.0
    assert Expected.from_dict(found.as_dict()) == found
    assert expected_of([], []) == Expected()


def test_long_waits_are_told_in_hours() -> None:
    """Minutes beyond sixty are read badly."""
    assert [clock(second) for second in (0, 59.6, 192, 3725)] == ["0:00", "1:00", "3:12", "1:02:05"]


def test_a_requested_replica_waits_for_its_workers_node() -> None:
    """With a worker that has no node yet, no engine starts; without a worker pod the replica is not placed."""
    workers = {"rayClusterConfig": {"workerGroupSpecs": [{"groupName": "gpu"}]}}
    sent = {"last_deployed_time_s": at(50).timestamp(), "status": "DEPLOYING"}
    asked = {"LLM": {"replicas": [{"start_time_s": at(52).timestamp()}]}}
    wait = Wait()
    begun = service()
    begun["object"]["spec"] = workers
    wait.feed(begun, cluster(), line(55, "serve-rest", {"applications": {"llm": {**sent, "deployments": asked}}}, None))
    assert wait.live.snapshot(at(60)).phase == "placement of the Serve replica"
    wait.feed(pod(61, node=None))
    assert wait.live.snapshot(at(62)).phase == "worker node provisioning"
