"""Whether a factorial plan gives the simulator's own effects, and finds by itself which treatment needs which.

The mechanism is the simulator without noise, one trial of each of the eight combinations of fast download, baked image
and image delivery, in virtual time. The plan is tried again with the simulator's noise, and what is estimated is held
against the mechanism, in points of its baseline.
"""

import random
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import NormalDist

from airflow_llm_provisioning.core.arm import Arm, Stratum
from airflow_llm_provisioning.core.factorial import Design, DesignKind
from airflow_llm_provisioning.core.factorial_effects import Effects, effects_of
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import resolved, treated_nodes
from airflow_llm_provisioning.core.trial import Served, Slot, Trial
from airflow_llm_provisioning.core.workload import ScalingSetup, builtin_workload
from llm_provisioning_simulator.experiment import simulated_experiment
from llm_provisioning_simulator.instant_trial import InstantTrial, run_trial

FACTORS = ("fast_download", "bake_packages", "image_delivery")
EXAMPLE = Path(__file__).parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
# What the origin of the experiment tells, and what the two workloads' mechanisms hold.
NEEDS = "fast_download needs bake_packages"

AT = datetime(2026, 1, 1, tzinfo=UTC)

Totals = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """A full plan of the three treatments on one simulated cloud."""

    target: Target
    workload: str

    @classmethod
    def of(cls, cloud: str, workload: str) -> "Plan":
        """Return the plan on the simulated example's plain target."""
        targets = simulated_experiment(EXAMPLE).targets
        return cls(next(one for one in targets if one.cloud == cloud and "baseline" in one.variants), workload)

    def instant(self, seed: int | None = None) -> dict[str, InstantTrial]:
        """Return a trial of each combination; `seed`: of the noise, None for none."""
        workload = builtin_workload(self.workload, self.workload)
        found: dict[str, InstantTrial] = {}
        for at, (name, names) in enumerate(Design(DesignKind.FULL, FACTORS).variants().items()):
            treatments = resolved(names, self.target.cloud)
            target = self.target.treated(treated_nodes(self.target.nodes, treatments))
            own = None if seed is None else 1000 * seed + at + 1
            found[name] = InstantTrial(target, ScalingSetup.STATIC, name, workload, treatments, seed=own)
        return found

    def totals(self, seed: int | None = None) -> Totals:
        """Run a trial of each combination: variant -> seconds."""
        return {name: _total_s(trial) for name, trial in self.instant(seed).items()}

    def trials(self, sets: Sequence[Totals]) -> list[TrialResult]:
        """Return the rows of so many whole experiments."""
        arms = {name: trial.treatments for name, trial in self.instant().items()}
        stratum = Stratum("simulated", self.target.cloud, "static", "content", workload=self.workload)
        return [
            _row(Arm(stratum, name, tuple(item.name for item in arms[name])), at, total_s)
            for at, totals in enumerate(sets)
            for name, total_s in totals.items()
        ]


def figures(sets: int, seed: int) -> dict[str, object]:
    """Return how far the estimated effects are from the mechanism's, over three clouds and both workloads, and whether
    the need of the baked image is told where the mechanism has it, and only there. `effects_half_width_points`: of the
    widest 95 % interval of a single effect; `effects_noise_points`: how far so many sets may be off by noise alone.
    """
    plans = [Plan.of(cloud, workload) for cloud in ("eks", "gke", "aks") for workload in ("phi3-2025", "phi3-current")]
    errors: list[float] = []
    covered: list[bool] = []
    widths: list[float] = []
    right = 0
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for plan in plans:
            truth = _effects(
                plan, [dict(zip(plan.instant(), pool.map(_total_s, plan.instant().values()), strict=True))]
            )
            jobs = [plan.instant(seed * sets + at) for at in range(1, sets + 1)]
            flat = pool.map(_total_s, [trial for job in jobs for trial in job.values()], chunksize=4)
            found = _effects(plan, [{name: next(flat) for name in job} for job in jobs])
            own = {(one.kind, one.term): one.change.middle for one in truth.effects}
            for one in found.effects:
                wanted, shift = own[one.kind, one.term], one.change
                errors.append(100 * abs(shift.middle - wanted) / truth.baseline_s)
                if shift.low is not None and shift.high is not None:
                    covered.append(shift.low <= wanted <= shift.high)
                    widths.append(100 * (shift.high - shift.low) / 2 / truth.baseline_s)
            told = any(sentence.startswith(NEEDS) for sentence in found.sentences)
            right += told == (plan.workload == "phi3-current")
            print(f"{plan.target.cloud} {plan.workload}: {found.sentences}", file=sys.stderr)
    return {
        "effects_error_points": round(max(errors), 2),
        "effects_half_width_points": round(max(widths), 2),
        "effects_noise_points": round(largest_by_noise(max(widths), len(widths)), 2),
        "effects_covered_ratio": round(sum(covered) / len(covered), 3),
        "effects_sets": sets,
        "need_found_ratio": round(right / len(plans), 3),
    } | synthetic(20 * sets, seed)


def largest_by_noise(half_width: float, effects: int) -> float:
    """Return what the largest error of so many effects stays below in 95 % of the runs where nothing but noise moves
    them. `half_width`: of a 95 % interval of one (Bonferroni; effects that share sets are less apart than that).
    """
    normal = NormalDist()
    return half_width * normal.inv_cdf(1 - 0.025 / effects) / normal.inv_cdf(0.975)


def synthetic(repeats: int, seed: int) -> dict[str, object]:
    """Return how often the 95 % interval of an effect holds the truth: 12 sets in four nights, 8 % noise, 5 % outliers,
    nights of 10 %.
    """
    rng = random.Random(f"{seed} effects")
    plan = Plan.of("gke", "phi3-2025")
    variants = Design(DesignKind.FULL, FACTORS).variants()
    saved = {"fast_download": 60.0, "bake_packages": 150.0, "image_delivery": 300.0}
    truth = {name: 1000.0 - sum(saved[one] for one in names) for name, names in variants.items()}
    arms = {name: trial.treatments for name, trial in plan.instant().items()}
    stratum = Stratum("simulated", "gke", "static", "content", workload="w")
    wanted: dict[tuple[str, ...], float] = {
        ("gke_image_streaming",): -300.0,
        ("bake_packages",): -150.0,
        ("fast_download",): -60.0,
    }
    hits = made = 0
    for _ in range(repeats):
        rows = []
        nights = [rng.lognormvariate(0, 0.1) for _ in range(4)]
        for at in range(12):
            night = nights[at // 3]
            for name, total_s in truth.items():
                late = rng.uniform(1.3, 3) if rng.random() < 0.05 else 1.0
                arm = Arm(stratum, name, tuple(item.name for item in arms[name]))
                rows.append(_row(arm, at, total_s * night * late * rng.lognormvariate(0, 0.08)))
        (found,) = effects_of(rows)
        for one in found.effects:
            low, high = one.change.low, one.change.high
            if one.kind == "effect" and low is not None and high is not None:
                made += 1
                hits += low <= wanted[one.term] <= high
    return {"effects_coverage_95": round(hits / made, 4)}


def _effects(plan: Plan, sets: Sequence[Totals]) -> Effects:
    (found,) = effects_of(plan.trials(sets))
    return found


def _total_s(trial: InstantTrial) -> float:
    total_s = run_trial(trial).total_s
    if total_s is None:
        raise RuntimeError(f"The simulated trial {trial.key} never became ready.")
    return total_s


def _row(arm: Arm, at: int, total_s: float) -> TrialResult:
    slot = Slot(
        experiment="e",
        dag_id="d",
        run_id=f"night-{at // 3}",
        cluster="c",
        number=at,
        replicate=at,
        seed=1,
        fixed_id=f"{arm.variant}-{at}",
    )
    return TrialResult(
        trial=Trial(slot=slot, arm=arm, target="here", served=Served(workload=arm.stratum.workload)),
        status=TrialStatus.SUCCEEDED, opened_at=AT, closed_at=AT, total_s=total_s, start="cold",
        applied="applied" if arm.treatments else "none",
    )  # fmt: skip
