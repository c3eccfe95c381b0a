"""A wait can be serialised, begins again with the same arguments, and ends with one event, also after a failure."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from cluster_in_background import BackgroundCluster
from operator_harness import as_stored, context, event_of

from airflow_llm_provisioning.exceptions import ForbiddenError, ProvisioningError
from airflow_llm_provisioning.operators.ray_service import DeleteRayService
from airflow_llm_provisioning.triggers.base import Wait, first_event, raise_error
from airflow_llm_provisioning.triggers.pods_gone import PodsGoneWait
from llm_provisioning_simulator.virtual_time import run_at_once


class SmallWait(Wait):
    """Returns its argument, or fails with it."""

    def __init__(self, *, payload: dict[str, Any] | None = None, error: Exception | None = None) -> None:
        super().__init__(payload=payload)
        self.payload, self.error = payload or {}, error

    async def outcome(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        return self.payload


def test_an_outcome_is_the_only_event() -> None:
    """There is one event, and then the end."""

    async def events() -> list[Any]:
        return [event.payload async for event in SmallWait(payload={"a": 1}).run()]

    assert asyncio.run(events()) == [{"a": 1}]


@pytest.mark.parametrize(
    ("in_triggerer", "takes_s", "event_s"), [(True, 0, 3), (True, 2, 3), (True, 9, 9), (False, 0, 0)]
)
def test_no_event_comes_before_the_scheduler_has_seen_the_worker_end(
    in_triggerer: bool, takes_s: float, event_s: float
) -> None:
    """In a triggerer three seconds pass at least, counted from the start of the wait; a worker waits for nothing. An
    error comes no earlier. In virtual time.
    """

    class Timed(SmallWait):
        async def outcome(self) -> dict[str, Any]:
            await asyncio.sleep(takes_s)
            return await super().outcome()

    async def seconds(wait: Wait) -> float:
        if in_triggerer:
            wait.task_instance = SimpleNamespace(task_id="wait")  # type: ignore[assignment]
        async for _ in wait.run():
            return asyncio.get_running_loop().time()
        raise AssertionError("no event came")

    for error in (None, ForbiddenError("may not")):
        assert run_at_once(seconds(Timed(error=error))) == pytest.approx(event_s)


def test_an_error_arrives_with_its_class_and_message() -> None:
    """The error of the triggerer's process is raised in the task's process with class and sentence; an unknown class
    becomes ProvisioningError.
    """
    event = asyncio.run(event_of(SmallWait(error=ForbiddenError("may not"))))
    with pytest.raises(ForbiddenError, match="may not"):
        raise_error(event)
    with pytest.raises(ProvisioningError, match="odd"):
        raise_error({"error": "odd", "error_type": "NotOfOurs"})
    raise_error({"outcome": "ready"})


def test_a_bug_is_not_swallowed() -> None:
    """Only the package's own errors become an event."""
    with pytest.raises(ZeroDivisionError):
        asyncio.run(event_of(SmallWait(error=ZeroDivisionError())))


def test_a_wait_in_the_worker_is_bounded_too() -> None:
    """The limit applies from outside, in real time."""

    class Endless(SmallWait):
        async def outcome(self) -> dict[str, Any]:
            await asyncio.sleep(60)
            return {}

    with pytest.raises(TimeoutError):
        asyncio.run(first_event(Endless(), timedelta(seconds=0.05)))


def test_a_wait_that_begins_again_counts_from_its_first_start(simulated: BackgroundCluster) -> None:
    """A killed triggerer starts with the same arguments: the limit does not restart."""
    pod = {
        "metadata": {"name": "stays", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "nodeSelector": {"no": "such"}},
    }
    uid = simulated.create("pods", pod)["metadata"]["uid"]
    long_ago = (simulated.clock.now() - timedelta(seconds=500)).isoformat()
    wait = PodsGoneWait(
        cluster={"conn_id": "sim"}, namespace="default", pods={"stays": uid}, nodes=None, deleted=True,
        started_at=long_ago, timeout_s=400,
    )  # fmt: skip
    event = asyncio.run(event_of(wait))
    assert (event["gone"], event["pods_gone"], event["nodes_gone"]) == (False, False, None)
    assert event["left"] == ["Pod default/stays"]
    assert event["waited_s"] >= 500


def test_arguments_survive_the_database(simulated: BackgroundCluster) -> None:
    """The trigger restored from the database has exactly its original arguments; they contain only names."""
    operator = DeleteRayService(
        task_id="d", rayservice={"cluster": "sim", "name": "x"}, wait_for_nodes=True, deferrable=True
    )
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    again = as_stored(deferred.value)
    assert again.serialize() == deferred.value.trigger.serialize()
    assert again.arguments["cluster"] == {"conn_id": "sim"}
