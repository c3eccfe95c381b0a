"""What a killed worker leaves behind is found again, gone on with, deleted, by a process that knew nothing."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from scenes import CLOUDS, SCENES, SPEED, build, reference
from simulator_in_background import BackgroundSimulator

from airflow_llm_provisioning.connections import cluster_clock, open_cloud, open_store
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import Cloud, Owned

WORKER = Path(__file__).with_name("killed_worker.py")


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_a_killed_worker_left_is_found_and_deleted_by_a_new_process(
    experiment: Experiment,
    running: BackgroundSimulator,
    slowed: Callable[[float], None],
    strangers: Callable[[str], list[Owned]],
    cloud: str,
) -> None:
    """One of each kind, an operation under way, SIGKILL: a process that has neither its memory nor its ledger lists
    everything by tags and deletes it; a stranger's object beside each kind survives.
    """
    scene = SCENES[cloud]
    foreign = strangers(cloud)
    opened = open_cloud(reference(experiment, cloud))
    with worker(cloud=reference(experiment, cloud), finish=scene.finish, begin=scene.begin) as process:
        assert line_of(process) == "finished"
        made = identities(opened)
        slowed(scene.speed)
        say(process, "go on")
        line_of(process)
        until(lambda: {kind for kind, _ in identities(opened) - made} >= scene.under_way)
        process.kill()
        assert process.wait(30) < 0
    scene.outlive(running)
    owned = opened.list_owned()
    assert {item.kind for item in owned} == scene.kinds
    assert not {(item.kind, item.identity) for item in owned} & {(item.kind, item.identity) for item in foreign}
    slowed(SPEED)
    until(lambda: delete_round(opened) == [])
    assert [item.kind for item in foreign if not scene.stands(running, item)] == []
    assert {item.kind for item in foreign} >= scene.kinds - {"streaming_artifact"}


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_an_operation_goes_on_from_the_first_that_was_written(
    experiment: Experiment, running: BackgroundSimulator, cloud: str
) -> None:
    """A triggerer was killed: a new one has the operation as `start` returned it, finds the build that runs or what it
    made, and begins no second one.
    """
    scene, (verb, request) = SCENES[cloud], build(AGAIN=cloud)
    before = scene.builds(running)
    killed = with_ledger(experiment, cloud)
    first = killed.start(verb, request)
    looks = [first]
    until(lambda: step(killed, looks) or scene.builds(running) > before)
    assert looks[-1].state == "running", looks[-1].error
    another = with_ledger(experiment, cloud)
    looks = [Operation.from_dict(json.loads(json.dumps(first.as_dict())))]
    until(lambda: step(another, looks))
    assert looks[-1].state == "succeeded", looks[-1].error
    assert scene.builds(running) == before + 1


def step(cloud: Cloud, looks: list[Operation]) -> bool:
    """Look once more; say whether the operation has ended."""
    looks.append(cloud.poll(looks[-1]))
    return looks[-1].state != "running"


def with_ledger(experiment: Experiment, cloud: str) -> Cloud:
    """Open a cloud as a new process does that may create."""
    found = reference(experiment, cloud)
    clock = asyncio.run(cluster_clock(found["cluster"]))
    return open_cloud(found, ledger=open_store().ledger, clock=clock.now)


@contextmanager
def worker(**asked: Any) -> Iterator["subprocess.Popen[str]"]:
    """Start a worker process that does what is asked of it; it is gone when the block is left."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-W", "ignore", str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            say(process, json.dumps(asked))
            yield process
        finally:
            process.kill()


def say(process: "subprocess.Popen[str]", line: str) -> None:
    """Write a line to a process."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def line_of(process: "subprocess.Popen[str]") -> str:
    """Read the next line of a process, past what others write there."""
    assert process.stdout is not None
    for line in process.stdout:
        if line == "finished\n" or line.startswith("["):
            return line.strip()
    raise AssertionError(f"the worker ended with {process.wait(30)}")


def identities(cloud: Cloud) -> set[tuple[str, str]]:
    """Return what is ours now, as (kind, identity)."""
    return {(item.kind, item.identity) for item in cloud.list_owned()}


def delete_round(cloud: Cloud) -> list[Owned]:
    """Delete what is ours, as a reaper does; return what there was. What a cloud refuses now, it does later."""
    owned = cloud.list_owned()
    for item in owned:
        with suppress(CloudError):
            cloud.delete_owned(item)
    return owned


def until(true: Callable[[], bool], real_s: float = 40.0) -> None:
    """Wait until something holds."""
    ends = time.monotonic() + real_s
    while not true():
        assert time.monotonic() < ends, "it did not come to hold"
        time.sleep(0.1)
