"""How rarely an alarm is false, how soon a step is told, and whether its phase and cause are right.

A night has three trials. Each phase of a trial has log-normal noise of 8 %, each phase of a night an effect of 3 %, and
5 % of the trials have one phase that takes 1.5 to 4 times as long. A change makes the total 15 % slower by one phase.
One fact changes with it, one that acts on that phase; in half of the cases another fact, drawn from all others, changes
in the same night, and in all of them two more facts change in other nights.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from airflow_llm_provisioning.core.alarm import PHASE_BOUND, watch, watch_phases
from airflow_llm_provisioning.core.nights import Night

NIGHTS = 60
STEP = 0.15
PHASES: Mapping[str, float] = {
    "operator_start": 5.0, "head_pod_creation": 1.0, "worker_scheduling": 2.0, "worker_node_request": 20.0,
    "worker_node_boot": 90.0, "worker_gpu_setup": 60.0, "worker_image_pull": 300.0, "worker_container_start": 4.0,
    "worker_ray_start": 25.0, "replica_start": 20.0, "engine_init": 30.0, "weight_download": 120.0,
    "model_load": 40.0, "compile": 60.0, "graph_capture": 20.0, "endpoint_publish": 1.0,
}  # fmt: skip
# What can make a phase slower, by what it does; written down here apart from the table that is tested.
MECHANISMS: Sequence[tuple[str, str]] = (
    ("worker_node_request", "node autoscaler"), ("worker_node_boot", "worker instance type"),
    ("worker_node_boot", "node image"), ("worker_gpu_setup", "driver"), ("worker_image_pull", "image digest"),
    ("worker_image_pull", "worker zone"), ("weight_download", "model revision"), ("model_load", "model revision"),
    ("model_load", "worker instance type"), ("engine_init", "image digest"), ("compile", "image digest"),
    ("worker_ray_start", "Ray"), ("operator_start", "KubeRay"), ("endpoint_publish", "KubeRay"),
)  # fmt: skip
FACTS = sorted({fact for _, fact in MECHANISMS} | {"Kubernetes minor", "GPU", "region", "head instance type"})
FIRST = datetime(2026, 1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """What a series is made of."""

    trials: int = 3
    noise: float = 0.08
    night: float = 0.03
    outliers: float = 0.05


def figures(repeats: int, seed: int) -> dict[str, object]:
    """Return the figures over so many series without a change and as many with one."""
    rng = random.Random(f"{seed} nights")
    false = sum(len(watch(series(World(), rng)).changes) for _ in range(repeats))
    noisy = sum(len(watch(series(World(night=0.05, noise=0.1), rng)).changes) for _ in range(repeats))
    waits, phases, causes, early = [], 0, 0, 0
    for _ in range(repeats):
        at = rng.randrange(15, NIGHTS - 10)
        phase, cause = rng.choice(MECHANISMS)
        changes = watch(series(World(), rng, at, phase, cause)).changes
        told = next((change for change in changes if change.told >= at), None)
        early += any(change.told < at for change in changes)
        waits.append(told.told - at + 1 if told else NIGHTS)
        if told is not None:
            phases += told.phase is not None and told.phase.name == phase
            causes += bool(told.causes) and told.causes[0].fact == cause
    found = sum(wait < NIGHTS for wait in waits)
    return {
        "false_alarms_per_60_nights": round(false / repeats, 4),
        "false_alarms_noisy": round(noisy / repeats, 4),
        "step_nights_p90": sorted(waits)[int(0.9 * len(waits))],
        "step_found_ratio": round(found / repeats, 4),
        "right_phase_ratio": round(phases / repeats, 4),
        "right_cause_ratio": round(causes / repeats, 4),
        "series": repeats,
    }


def calibration(repeats: int, seed: int) -> dict[str, float]:
    """Return the false alarms per series without a change for several bounds: how `core.alarm.BOUND` was chosen."""
    bounds = (3.0, 3.5, 4.0, 4.5, 5.0)
    rng = random.Random(f"{seed} calibration")
    quiet = [series(World(), rng) for _ in range(repeats)]
    found = {
        f"{bound:g}": round(sum(len(watch(one, bound=bound).changes) for one in quiet) / repeats, 4) for bound in bounds
    }
    return found | {
        f"phases {bound:g}": round(sum(_phase_changes(one, bound) for one in quiet) / repeats, 4)
        for bound in (4.0, 5.0, 6.0, 7.0, 8.0)
    }


def _phase_changes(nights: Sequence[Night], bound: float = PHASE_BOUND) -> int:
    """Return how many changes are told of all phases together."""
    return sum(len(seen.changes) for seen in watch_phases(nights, bound=bound).values())


def series(world: World, rng: random.Random, at: int | None = None, phase: str = "", cause: str = "") -> list[Night]:
    """Return the nights of a cell; from night `at` on, one phase makes the total slower."""
    changes: dict[str, int] = {}
    if at is not None:
        others = rng.sample([fact for fact in FACTS if fact != cause], 3)
        changes = {others[1]: rng.randrange(1, NIGHTS), others[2]: rng.randrange(1, NIGHTS)} | {cause: at}
        if rng.random() < 0.5:
            changes[others[0]] = at
    extra_s = STEP * sum(PHASES.values())
    return [
        _night(world, rng, day, {phase: extra_s} if at is not None and day >= at else {}, changes)
        for day in range(NIGHTS)
    ]


def _night(
    world: World, rng: random.Random, day: int, extra_s: Mapping[str, float], changes: Mapping[str, int]
) -> Night:
    effects = {name: rng.lognormvariate(0, world.night) for name in PHASES}
    trials = []
    for _ in range(world.trials):
        times = {
            name: (base + extra_s.get(name, 0.0)) * effects[name] * rng.lognormvariate(0, world.noise)
            for name, base in PHASES.items()
        }
        if rng.random() < world.outliers:
            times[rng.choice(list(PHASES))] *= rng.uniform(1.5, 4)
        trials.append(times)
    return Night(
        at=FIRST + timedelta(days=day),
        run_id=f"night-{day}",
        arm="made-up",
        n=len(trials),
        total_s=median(sum(times.values()) for times in trials),
        phases={name: median(times[name] for times in trials) for name in PHASES},
        facts={fact: frozenset({"new" if day >= changes.get(fact, NIGHTS) else "old"}) for fact in FACTS},
    )
