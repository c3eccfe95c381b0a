"""The same claims against every cloud, reached as users reach it: an Airflow connection to its API over HTTP."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from operator_harness import context, run
from scenes import SCENES, build, claimed
from simulator_in_background import BackgroundSimulator, simulator_in_background

from airflow_llm_provisioning.connections import cluster_clock, open_cloud, open_store
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.treatments import TREATMENTS, plan_serving, preparation_steps
from airflow_llm_provisioning.core.workload import workload
from airflow_llm_provisioning.dag_factory import load_experiment
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError, ProvisioningError
from airflow_llm_provisioning.gateways.clouds.base import Cloud, Owned
from airflow_llm_provisioning.operators import BuildServingImage

WORKER = Path(__file__).with_name("killed_worker.py")
FILE = Path(__file__).resolve().parents[2] / "dags" / "experiments" / "simulated.yaml"
SPEED = 600.0
CLOUDS = [
    pytest.param("eks", marks=pytest.mark.eks),
    pytest.param("gke", marks=pytest.mark.gke),
    pytest.param("aks", marks=pytest.mark.aks),
]
ALL = [*CLOUDS, "generic"]


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """The origin's experiment on three simulated clouds."""
    return load_experiment(FILE)


@pytest.fixture(scope="module")
def running(experiment: Experiment) -> Iterator[BackgroundSimulator]:
    """Run the simulator once for the module."""
    with simulator_in_background(experiment, speed=SPEED, seed=3) as found:
        yield found


@pytest.fixture(scope="module")
def environment(running: BackgroundSimulator) -> dict[str, str]:
    """What leads to it."""
    return running.environment()


@pytest.fixture
def _reached(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, results_db: Path) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def slowed(running: BackgroundSimulator) -> Iterator[Callable[[float], None]]:
    """Let virtual time go at another speed until the test ends."""
    yield running.shift
    running.shift(SPEED)


@pytest.fixture(scope="module")
def strangers(running: BackgroundSimulator) -> Callable[[str], list[Owned]]:
    """Put somebody else's objects into a cloud, once."""
    return cache(lambda cloud: SCENES[cloud].strangers(running))


def reference(experiment: Experiment, cloud: str) -> dict[str, Any]:
    if cloud == "generic":
        return {"cloud": "generic"}
    target = next(item for item in experiment.targets if item.cloud == cloud and item.delivery != "pull")
    return target.cloud_reference() or {}


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", ALL)
def test_an_unknown_verb_is_refused(experiment: Experiment, cloud: str) -> None:
    """Before anything happens, by name."""
    opened = open_cloud(reference(experiment, cloud))
    assert opened.name == cloud
    with pytest.raises(ConfigurationError, match="teleport"):
        opened.start("teleport", {})


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_treatments_preparations_are_verbs_of_their_cloud(experiment: Experiment, cloud: str) -> None:
    """What a variant needs prepared, its cloud can do."""
    verbs = set(open_cloud(reference(experiment, cloud)).verbs())
    assert set(preparation_steps("improved", cloud)) - {"warm_image"} <= verbs


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", ALL)
def test_claims_that_cannot_be_told_are_unknown(experiment: Experiment, cloud: str) -> None:
    """One answer per claim, in order; nothing is known of a trial without facts, and of a claim nobody knows."""
    claims = [*dict.fromkeys(claim for item in TREATMENTS for claim in item.claims), "made_up"]
    found = open_cloud(reference(experiment, cloud)).verify(claims, {})
    assert [item.claim for item in found if item.claim in claims] == claims
    assert not [item for item in found if item.holds is True]
    assert all(item.detail and item.source for item in found)


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_is_started_without_a_ledger(experiment: Experiment, cloud: str) -> None:
    """A gateway that cannot write an intent creates nothing."""
    opened = open_cloud(reference(experiment, cloud))
    before = {(item.kind, item.identity) for item in opened.list_owned()}
    recipe = {"base": "rayproject/ray:2.9.0", "pip": ["a==1"]}
    with pytest.raises(ConfigurationError, match="there is no results store to record it in"):
        opened.start("build_image", {"recipe": recipe, "repository": "never", "keep_days": 1})
    assert {(item.kind, item.identity) for item in opened.list_owned()} == before


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_build_is_kept_found_again_and_listed(experiment: Experiment, cloud: str) -> None:
    """The operator through the triggerer: image with digest and size, a row beside the results, simulated; the same
    recipe again is the same image, reused; what was made is listed by tag.
    """
    target = next(item for item in experiment.targets if item.cloud == cloud and item.delivery != "pull")
    recipe = plan_serving(workload(experiment.profile), "improved", cloud).recipe
    built = []
    for _ in range(2):
        operator = BuildServingImage(
            task_id="b", cloud=reference(experiment, cloud), recipe=recipe.as_dict(), target=target.name,
            deferrable=True,
        )  # fmt: skip
        built.append(run(operator, context()))
    first, second = built
    assert first["digest"].startswith("sha256:")
    assert first["size_bytes"] > 1_000_000_000
    assert recipe.tag() in first["image"]
    assert (second["image"], second["digest"], second["reused"]) == (first["image"], first["digest"], True)
    store = open_store()
    rows = store.preparations(target.name, "build_image")
    store.close()
    assert [(row.origin, row.content, row.reused) for row in rows] == [
        ("simulated", recipe.content, False),
        ("simulated", recipe.content, True),
    ]
    assert rows[0].seconds > rows[1].seconds
    assert open_cloud(reference(experiment, cloud)).list_owned()


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_listing_that_fails_raises(
    experiment: Experiment, environment: dict[str, str], cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is not an empty account: clean is only said of what was listed."""
    found = reference(experiment, cloud)
    variable = f"AIRFLOW_CONN_{found['conn_id'].upper()}"
    monkeypatch.setenv(variable, re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:9", environment[variable]))
    with pytest.raises(ProvisioningError) as raised:
        open_cloud(found).list_owned()
    assert "\n" not in str(raised.value)


def test_an_unknown_cloud_names_the_known() -> None:
    """One sentence."""
    with pytest.raises(ConfigurationError, match="Cloud 'oci' is unknown: choose one of eks, gke, aks, generic"):
        open_cloud({"cloud": "oci"})


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", ALL)
def test_an_ended_operation_stays_as_it_ended(experiment: Experiment, cloud: str) -> None:
    """A look at what is done changes nothing and asks nobody."""
    opened = open_cloud(reference(experiment, cloud))
    for ended in (Operation("build_image", {}).succeeded(image="x"), Operation("build_image", {}).failed("why")):
        assert opened.poll(ended) == ended


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
def test_a_strangers_object_is_refused_in_one_sentence(
    experiment: Experiment, running: BackgroundSimulator, strangers: Callable[[str], list[Owned]], cloud: str
) -> None:
    """Whoever says it is ours: its own marks are read again before it is deleted."""
    scene, opened = SCENES[cloud], open_cloud(reference(experiment, cloud))
    for thing in strangers(cloud):
        with pytest.raises(CloudError) as raised:
            opened.delete_owned(claimed(thing.kind, thing.identity))
        assert thing.identity.rpartition("/")[2] in str(raised.value)
        assert "\n" not in str(raised.value)
        assert scene.stands(running, thing), thing


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
    return open_cloud(found, results_conn_id="llm_provisioning_results", clock=clock.now)


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
