"""A laboratory per cloud: the simulator on a thread, the shipped preparation DAG's own tasks, and one whole trial.

Everything goes over the wire: operators, gateways and the clouds' SDKs reach the stand-ins by Airflow connections only.
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from operator_harness import close_trial, run, stored, wait
from simulator_in_background import BackgroundSimulator, GearedClock, simulator_in_background

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.image_arrival import pulled_figures
from airflow_llm_provisioning.core.manifests import images, with_image
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import Workload, builtin_workload
from airflow_llm_provisioning.dag_factory import load_experiment, preparation
from airflow_llm_provisioning.exceptions import TrialFailedError
from airflow_llm_provisioning.operators.ray_service import ApplyRayService
from airflow_llm_provisioning.operators.trial import OpenTrial
from airflow_llm_provisioning.trials import render
from airflow_llm_provisioning.trials.render import Rendered, render_again
from llm_provisioning_simulator.infra import delivery
from llm_provisioning_simulator.profiles import NOISE, load_profile
from llm_provisioning_simulator.server import Simulator

Admission = Callable[[dict[str, Any]], dict[str, Any]]
"""Changes a manifest after it was rendered."""

# The experiments of the opened trials, by target: apply renders from them again.
EXPERIMENTS: dict[str, Experiment] = {}

# Virtual seconds a second. Nothing is measured while a trial's nodes go away. While a target is prepared, a machine
# that stands still for a second must not use up the 900 s that a builder has to go away. A pull in full lasts minutes
# and can be told from a mount at any speed; a mount of some seconds only where a hiccup of a fifth of a second stays
# below the 25 s that a full pull of this image cannot beat.
UNMEASURED = 800.0
PREPARING = 500.0
ROUGH = 400.0
EXACT = 80.0
SHIPPED = (
    Path(__file__).resolve().parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
)


@dataclass
class Laboratory:
    """One cloud's simulator. Its parts are touched through `call`, which runs on its loop."""

    experiment: Experiment
    running: BackgroundSimulator

    @property
    def simulator(self) -> Simulator:
        """What runs."""
        return self.running.simulator

    @property
    def clock(self) -> GearedClock:
        """Its clock."""
        return self.running.clock

    def prepare(
        self,
        target: Target,
        *,
        without: Collection[str] = (),
        workload: Workload | None = None,
        variants: Mapping[str, tuple[str, ...]] = BUILTIN_VARIANTS,
    ) -> dict[str, Any]:
        """Run the preparation's own tasks for a target; see `prepared`."""
        self.call(lambda: self.clock.shift(PREPARING))
        served = self.experiment.workloads if workload is None else (workload,)
        return prepared(target, without, Experiment("earned", (target,), served, dict(variants)))

    def trial(
        self,
        target: Target,
        *args: Any,
        speed: float = ROUGH,
        nodes_gone_s: float = 1800.0,
        before_close: Callable[[], None] = lambda: None,
        admission: Admission | None = None,
        **fields: Any,
    ) -> TrialResult:
        """Run one whole trial and return its row; its nodes are gone then."""
        trial = open_trial(target, *args, **fields)
        return self.finish(
            trial, speed=speed, nodes_gone_s=nodes_gone_s, before_close=before_close, admission=admission
        )

    def finish(
        self,
        trial: dict[str, Any],
        *,
        speed: float = ROUGH,
        nodes_gone_s: float = 1800.0,
        before_close: Callable[[], None] = lambda: None,
        admission: Admission | None = None,
    ) -> TrialResult:
        """Deploy an opened trial, record it, close it; return its row. `before_close` runs on the simulator's loop;
        `admission` changes the manifest on its way, as an admission plug-in or a person may.
        """
        self.call(lambda: self.clock.shift(speed))
        with suppress(TrialFailedError):
            wait(trial, applied(trial, admission))
        self.call(before_close)
        self.call(lambda: self.clock.shift(UNMEASURED))
        return closed(trial, nodes_gone_s=nodes_gone_s)

    def target(self, kind: str) -> Target:
        """Return the shipped experiment's target: `plain` or `fast`."""
        return next(target for target in self.experiment.targets if target.name.endswith(kind))

    def call(self, work: Callable[[], Any]) -> Any:
        """Run a function on the simulator's loop and return its result."""
        return self.running.call(work)


@contextmanager
def laboratory(cloud: str, *more: Target) -> Iterator[Laboratory]:
    """Run one cloud of the shipped experiment, with `more` targets, and lead Airflow's connections to it."""
    shipped = load_experiment(SHIPPED).on_clouds([cloud])
    experiment = replace(shipped)
    object.__setattr__(experiment, "targets", (*shipped.targets, *more))
    with (
        simulator_in_background(experiment, speed=UNMEASURED, seed=7) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in running.environment().items():
            patch.setenv(name, value)
        yield Laboratory(experiment, running)


def prepared(target: Target, without: Collection[str], experiment: Experiment) -> dict[str, Any]:
    """Run the tasks of the shipped preparation for one target in their order; return task -> result. The target's nodes
    are prepared as they are given.

    `without`: tasks that are left out; tasks that need their results get none.
    """
    with DAG("prepare", schedule=None) as dag:
        preparation(_as_given(experiment, target))
    results: dict[str, Any] = {}
    for task in dag.tasks:
        name = task.task_id.rpartition(".")[2]
        if name in without:
            results[name] = {}
            continue
        for attribute in task.template_fields:
            value = getattr(task, attribute)
            if isinstance(value, PlainXComArg):
                setattr(task, attribute, results[value.operator.task_id.rpartition(".")[2]])
        results[name] = stored(run(task))
    return results


def open_trial(target: Target, variant: str = "improved", setup: str = "static", **fields: Any) -> dict[str, Any]:
    """Open a trial as a slot of the trial DAG does."""
    workload = fields.pop("workload", None) or builtin_workload()
    variants = fields.pop("variants", BUILTIN_VARIANTS)
    whole = Experiment("earned", (target,), (workload,), dict(variants))
    one = whole.narrowed(target=target.name, workload=workload.name, setup=setup, variant=variant)
    (planned,) = one.plan(1, dag_id="nightly", run_id="run-1")
    EXPERIMENTS[target.name] = _as_given(whole, target)
    operator = OpenTrial(task_id="open", planned=planned.as_dict(), experiment=EXPERIMENTS[target.name], timeout_s=7200)
    opened: dict[str, Any] = run(operator)
    return opened


def applied(trial: dict[str, Any], admission: Admission | None = None) -> dict[str, Any]:
    """Apply an opened trial's RayService, changed by `admission` on its way."""
    operator = ApplyRayService(task_id="apply", trial=trial, experiment=EXPERIMENTS[trial["target"]])
    with pytest.MonkeyPatch.context() as patch:
        if admission is not None:
            changed = admission
            patch.setattr(render, "render_again", lambda *given: _changed(render_again(*given), changed))
        found: dict[str, Any] = run(operator)
    return found


def _changed(rendered: Rendered, admission: Admission) -> Rendered:
    return replace(rendered, manifest=admission(rendered.manifest))


def with_images(image: str) -> Admission:
    """Give every Ray container another image."""

    def change(manifest: dict[str, Any]) -> dict[str, Any]:
        return with_image(manifest, dict.fromkeys(images(manifest), image))

    return change


def _as_given(experiment: Experiment, target: Target) -> Experiment:
    """Return the experiment with a target whose nodes stay as they are given: a treatment changes them no more."""
    object.__setattr__(experiment, "targets", (target,))
    return experiment


def closed(trial: dict[str, Any], **fields: Any) -> TrialResult:
    """Close a trial and return its row."""
    close_trial(trial, **fields)
    store = open_store()
    try:
        return next(row for row in store.trials() if row.trial_id == trial["trial_id"])
    finally:
        store.close()


def seconds_of(row: TrialResult, *names: str) -> float:
    """Return how long the phases of these names took on the deciding path, head's and worker's together."""
    return sum(
        phase.duration_s
        for phase in row.phases
        if {part.removeprefix("head_").removeprefix("worker_") for part in phase.name.split("+")} & set(names)
    )


def verdict(row: TrialResult, claim: str) -> tuple[str, str]:
    """Return a treatment's verdict and its evidence as one text."""
    (found,) = [item for item in row.verdicts if item["claim"] == claim]
    return str(found["value"]), " ".join(found["evidence"])


def pulls_s(row: TrialResult) -> Sequence[float]:
    """Return the kubelets' own figures of the trial's pulls, head's and worker's."""
    (cold,) = [item for item in row.verdicts if item["claim"] == "cold_start"]
    found = (pulled_figures(sentence)[0] for sentence in cold["evidence"])
    return [seconds for seconds in found if seconds is not None]


def pulled_in_full(lab: Laboratory, row: TrialResult) -> bool:
    """Say whether head and worker each pulled for as long as anybody must who has nothing prepared.

    What that takes follows from the image's bytes and the cloud's rates; their noise is a few per cent.
    """
    image = lab.call(lambda: lab.simulator.world.find_image(row.trial.served.image))
    profile = load_profile(row.arm.stratum.cloud, "luna").with_values(**{NOISE: 0.0})
    expected_s = delivery.pull_s(image, profile, random.Random(0))
    return len(pulls_s(row)) == 2 and min(pulls_s(row)) > 0.75 * expected_s


def disbelieved(lab: Laboratory, row: TrialResult, claim: str) -> str:
    """Return why an image delivery was not believed, of a trial that pulled in full and says so."""
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "not applied")
    value, why = verdict(row, claim)
    assert value == "no"
    assert pulled_in_full(lab, row), pulls_s(row)
    return why
