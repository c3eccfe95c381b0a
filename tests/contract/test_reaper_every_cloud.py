"""The reaper on every cloud, over its real wire: what a preparation made goes when it expired, and nothing else."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from scenes import CLOUDS, SCENES, build, reference
from simulator_in_background import BackgroundSimulator
from test_every_cloud_after_a_kill import step, until, with_ledger

from airflow_llm_provisioning.connections import open_cloud, open_cluster, open_store, store_url
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.names import LABEL_EXPIRES, label_value
from airflow_llm_provisioning.core.owned import OwnedThing, State, labelled_expiry
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.reaping.owned import survey
from airflow_llm_provisioning.reaping.places import Place, places_of
from airflow_llm_provisioning.reaping.reap import Reaped, reap

# Days: fourteen minutes.
SHORT = 0.01
Refusal = tuple[dict[str, Any], str]
# Cloud -> faults of single deletions, one after the other, and what is told of each: credentials that ended in the
# middle, a locked image, too many requests. AWS's client repeats a throttled call once by itself.
REFUSALS: dict[str, tuple[Refusal, ...]] = {
    "eks": (
        ({"expired_token": {"ecr.BatchDeleteImage": 1}}, "security token included in the request is expired"),
        ({"throttle": {"ecr.DeleteRepository": 2}}, "ThrottlingException"),
    ),
    "gke": (
        (
            {
                "artifactregistry.projects.locations.repositories.packages.versions.delete": {
                    "kind": "http",
                    "code": "FAILED_PRECONDITION",
                    "message": "The version is locked.",
                }
            },
            "The version is locked",
        ),
    ),
    "aks": (
        ({"manifest.delete": {"kind": "http", "status": 405, "code": "UNSUPPORTED", "message": "Locked."}}, "Locked"),
        (
            {
                "manifest.delete": {
                    "kind": "http",
                    "status": 429,
                    "code": "TOOMANYREQUESTS",
                    "message": "Slow down.",
                    "retry_after_s": 1,
                }
            },
            "429",
        ),
    ),
}


class Refusing:
    """Switches one refusal after the other: the next one when the log has told the one before."""

    def __init__(self, running: BackgroundSimulator, cloud: str) -> None:
        self._running, self._cloud = running, cloud
        self.due = list(REFUSALS.get(cloud, ()))
        self.told: list[str] = []
        self._switch()

    def log(self, line: str) -> None:
        """Take a line of the reaper."""
        self.told.append(line)
        if self.due and line.startswith("Not deleted: ") and self.due[0][1] in line:
            del self.due[0]
            self._switch()

    def _switch(self) -> None:
        if self.due:
            fault, _ = self.due[0]
            self._running.call(lambda: self._running.simulator.cloud(self._cloud).faults.update(fault))


def targets_on(experiment: Experiment, cloud: str) -> list[Target]:
    """Return the targets of a cloud; the toy's is made of the first one."""
    if cloud != "toy":
        return [target for target in experiment.targets if target.cloud == cloud]
    first = experiment.targets[0]
    nodes = replace(first.nodes, cloud="toy", autoscaler="native")
    return [replace(first, name="toy-plain", cloud_conn_id="toy", nodes=nodes)]


def cloud_place(targets: list[Target]) -> list[Place]:
    return [place for place in places_of(targets) if place["kind"] == "cloud"]


def prepare(experiment: Experiment, cloud: str, target: str, *, keep_days: float, **env: str) -> str:
    """Build an image to the end; return its content."""
    verb, request = build(**env)
    opened = with_ledger(experiment, cloud)
    looks = [opened.start(verb, {**request, "target": target, "repository": f"reaped-{cloud}", "keep_days": keep_days})]
    until(lambda: step(opened, looks))
    assert looks[-1].state == "succeeded", looks[-1].error
    return ImageRecipe.from_dict(request["recipe"]).content


def of_content(items: Any, content: str) -> list[OwnedThing]:
    return [item for item in items if item.of and content in item.of and item.thing is not None]


def reap_cloud(targets: list[Target], **fields: Any) -> Reaped:
    return asyncio.run(reap(targets, store_url(), places=cloud_place(targets), pause_s=0.2, wait_s=30, **fields))


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_a_preparation_made_goes_after_its_expiry_and_nothing_else(
    experiment: Experiment,
    running: BackgroundSimulator,
    strangers: Callable[[str], list[Owned]],
    cloud: str,
) -> None:
    """Kept while a trial runs, although it has expired; then deleted, although deletions are refused at first, seen to
    be gone, and its entries closed.
    """
    targets, foreign = targets_on(experiment, cloud), strangers(cloud)
    content = prepare(experiment, cloud, targets[0].name, keep_days=SHORT, REAPED="1")
    place = cloud_place(targets)

    def look() -> list[OwnedThing]:
        return of_content(asyncio.run(survey(targets, store_url(), place)).items, content)

    made = look()
    assert made
    expires_at = max(item.expires_at for item in made if item.expires_at)
    until(lambda: running_time(targets[0]) > expires_at)
    held = asyncio.run(_lock(targets[0]))
    assert {item.state for item in look()} == {State.IN_USE}
    assert reap_cloud(targets).deleted == ()
    asyncio.run(_unlock(targets[0], held))
    refusing = Refusing(running, cloud)
    done = reap_cloud(targets, log=refusing.log)
    assert refusing.due == [], refusing.told
    # An image whose deletion was refused may have gone with its repository.
    assert of_content(done.deleted, content)
    assert look() == []
    store = open_store()
    left = [entry for entry in store.ledger.open_entries() if label_value(entry.tags.get("content", "")) == content]
    store.close()
    assert left == []
    assert (done.left, done.clean) == ((), True), done.sentence()
    assert [item.kind for item in foreign if not SCENES[cloud].stands(running, item)] == []


async def _lock(target: Target) -> str:
    async with open_cluster(target.cluster_reference()) as cluster:
        await cluster.acquire_lock("a/run/of-trials", namespace=target.namespace, duration_s=10**6)
    return "a/run/of-trials"


async def _unlock(target: Target, holder: str) -> None:
    async with open_cluster(target.cluster_reference()) as cluster:
        assert await cluster.release_lock(holder, namespace=target.namespace)


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", ["toy"])
def test_an_account_that_cannot_be_listed_is_unknown(
    experiment: Experiment, environment: dict[str, str], cloud: str, monkeypatch: pytest.MonkeyPatch, results_db: Path
) -> None:
    """The cloud's own sentence; its entries stay open although they expired, and it is never clean."""
    targets = targets_on(experiment, cloud)
    opened = open_cloud(reference(experiment, cloud))
    store = open_store()
    at = running_time(targets[0]) - timedelta(days=1)
    store.ledger.intend("image", "long-gone", opened.place, {"llm-provisioning/target": targets[0].name}, at)
    variable = f"AIRFLOW_CONN_{str(targets[0].cloud_conn_id).upper()}"
    monkeypatch.setenv(variable, SCENES[cloud].unreachable(environment[variable]))
    done = asyncio.run(reap(targets, store_url(), wait_s=0))
    assert not done.clean
    told = [item for item in done.survey.unknown if item.place.startswith("cloud:")]
    assert {item.name for item in told} >= {"", "long-gone"}
    assert len({item.why for item in told}) == 1
    assert len(store.ledger.open_entries()) == 1
    store.close()


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", [each for each in CLOUDS if each != "toy"])
def test_what_lost_its_mark_is_never_called_gone(
    experiment: Experiment, strangers: Callable[[str], list[Owned]], cloud: str
) -> None:
    """A thing of every kind that the ledger knows by the cloud's own name, and that no list has because its tags were
    edited: unknown, its entry stays open, not clean. An entry whose thing is gone is closed beside it.
    """
    targets, opened, store = targets_on(experiment, cloud), open_cloud(reference(experiment, cloud)), open_store()
    at, tags = running_time(targets[0]) - timedelta(days=1), {"llm-provisioning/target": targets[0].name}
    # A build is over in minutes, and is gone then.
    things = [one for one in strangers(cloud) if one.kind != "build"]
    edited, gone = {one.identity for one in things}, set()
    for number, one in enumerate(things):
        # AWS and Google may keep another name than ours; a name that was never told is our own.
        for name in (one.identity, f"{one.identity[:-4]}0000", f"ours-{number}"):
            entry = store.ledger.intend(one.kind, name, opened.place, tags, at)
            if name != f"ours-{number}":
                store.ledger.created(entry, name)
            gone |= {name} - edited
    done = asyncio.run(reap(targets, store_url(), wait_s=0))
    left = {entry.name for entry in store.ledger.open_entries()}
    opened.close()
    store.close()
    assert (left, {item.name for item in done.closed}) == (edited, gone)
    told = [item for item in done.survey.unknown if item.place == opened.place]
    assert {item.name for item in told} == edited
    assert {item.why for item in told} == {told[0].why}
    assert told[0].why.startswith("the ledger names it, and it does not carry our label: it was edited")
    assert not done.clean


def running_time(target: Target) -> Any:
    async def now() -> Any:
        async with open_cluster(target.cluster_reference()) as cluster:
            return cluster.clock()

    return asyncio.run(now())


def test_an_expiry_in_every_spelling_is_read() -> None:
    """As Kubernetes, Google and Azure keep the key."""
    for key in (LABEL_EXPIRES, LABEL_EXPIRES.replace("/", "_")):
        assert labelled_expiry({key: "20260101t000000z"})
