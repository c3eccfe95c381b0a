"""What runs: one target of a cloud is prepared and then measured in one trial, by the tasks of `dag_factory`."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

from airflow.sdk import DAG, BaseOperator

from airflow_llm_provisioning.core.budget import Amount, Budget
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.dag_factory import load_experiment, preparation
from airflow_llm_provisioning.dag_factory.slots import trial_slot
from crashes.machine import Machine
from crashes.runs import DagRun
from llm_provisioning_simulator import server
from llm_provisioning_simulator.server import Simulator
from llm_provisioning_simulator.virtual_time import EPOCH, VirtualClock

CLOUDS: Final = ("eks", "gke", "aks")
_SHIPPED: Final = (
    Path(__file__).resolve().parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
)
# The GPU's node is there for longer before the endpoint is ready.
BUDGET_S: Final = 2.0
_STORE: Final = "AIRFLOW_CONN_LLM_PROVISIONING_RESULTS"


class MachineClock(VirtualClock):
    """The simulator's clock: the machine's."""

    __slots__ = ()

    @classmethod
    def start(cls, speed: float) -> "MachineClock":
        """Return it; the machine has one speed."""
        return cls(speed=1.0, wall_epoch=EPOCH.timestamp(), virtual_epoch=EPOCH)


@dataclass(frozen=True)
class Scene:
    """The tasks of both DAGs in their order, and the planned trial."""

    experiment: Experiment
    prepare: tuple[BaseOperator, ...]
    trial: tuple[BaseOperator, ...]
    planned: Trial


def scene(cloud: str, *, budget: bool = False) -> Scene:
    """Return the scene of a cloud. `budget`: the trial may use a GPU for BUDGET_S only, so its wait is ended."""
    shipped = load_experiment(_SHIPPED).on_clouds([cloud])
    (target,) = [item for item in shipped.targets if item.name.endswith("fast")]
    experiment = replace(
        shipped.narrowed(target=target.name, workload="phi3-2025", setup="static", variant="improved"), replicates=1
    )
    if budget:
        limit = Budget(trial=Amount(gpu_hours=BUDGET_S / 3600), node_hour_at_most=1.0)
        experiment = replace(experiment, budget=limit)
    (planned,) = experiment.plan(1, dag_id="nightly", run_id="run-1")
    with DAG("prepare", schedule=None) as before:
        preparation(experiment)
    with DAG("nightly", schedule=None) as nightly:
        trial_slot(planned.as_dict(), experiment)
    return Scene(experiment, _in_order(before), _in_order(nightly), planned)


def _in_order(dag: DAG) -> tuple[BaseOperator, ...]:
    sort: Any = dag.topological_sort
    return tuple(sort())


async def play(scene: Scene, loop: Machine, *, goes_on: Callable[[DagRun], Awaitable[bool]]) -> tuple[DagRun, ...]:
    """Prepare, with a second run where the first failed, then run the trial as Airflow would.

    `goes_on`: asked between the two DAGs, with the run of the first.
    """
    for number in range(1, 4):
        before = DagRun(loop, "prepare", f"run-{number}")
        for task in scene.prepare:
            if await before.task(task) == "failed":
                break
        else:
            break
    if not await goes_on(before):
        return (before,)
    nightly = DagRun(loop, "nightly", scene.planned.slot.run_id)
    opened, applied, waited, closed = scene.trial
    if await nightly.task(opened) == "success":
        if await nightly.task(applied) == "success":
            await nightly.task(waited)
        await nightly.task(closed)
    return before, nightly


async def reaped(scene: Scene, loop: Machine) -> dict[str, Any]:
    """Reap everything, as cron would: a reaper that was killed is started again; return what the last one said."""
    told: dict[str, Any] = {"clean": False, "sentence": "never ended"}
    for _ in range(4):
        ending = await loop.start("reaper", lambda: asyncio.run(_reap(scene))).ended
        if ending.error is not None:
            told = {"clean": False, "sentence": repr(ending.error)}
        elif not ending.killed:
            told = ending.value
        if told["clean"]:
            break
        await asyncio.sleep(600.0)
    return told


async def _reap(scene: Scene) -> dict[str, Any]:
    from airflow_llm_provisioning.connections import store_url
    from airflow_llm_provisioning.reaping.reap import reap

    return (await reap(scene.experiment.targets, store_url(), everything=True, wait_s=600.0)).as_dict()


@contextmanager
def simulated(scene: Scene) -> Iterator[Simulator]:
    """Make the simulator of a scene; `start` is the caller's."""
    with mock.patch.object(server, "SimClock", MachineClock):
        yield Simulator(scene.experiment, speed=1.0, seed=1)


@contextmanager
def connected(environment: dict[str, str], store: str) -> Iterator[None]:
    """Lead Airflow's connections to the simulator and to a results store."""
    results = json.dumps({"conn_type": "sqlite", "host": store})
    with mock.patch.dict(os.environ, {**environment, _STORE: results}):
        yield


def trial_id(scene: Scene) -> Any:
    """Return the name of the planned trial."""
    return scene.planned.trial_id
